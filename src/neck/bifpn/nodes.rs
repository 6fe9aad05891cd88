//! [`PyramidNode`]: the graph of a [`BiFpn`](super::BiFpn) as a list.

use alloc::{format, vec, vec::Vec};

use serde::{Deserialize, Serialize};

use super::NAME;
use crate::shape::ShapeError;

/// A node of a pyramid: which maps it adds, and at which level its sum lies.
///
/// # Example
/// ```
/// use burn_skip::neck::PyramidNode;
///
/// // Of two levels: the finer gets the coarser one, and the coarser the sum (which is map 2) then.
/// let nodes = PyramidNode::bidirectional(2);
/// assert_eq!(nodes[0], PyramidNode { level: 0, inputs: vec![0, 1] });
/// assert_eq!(nodes[1], PyramidNode { level: 1, inputs: vec![1, 2] });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PyramidNode {
    /// The level, 0 for the finest. The node has the size of that level's input.
    pub level: usize,
    /// The maps that are added: of `n` levels, `0..n` are the inputs, and `n`, `n + 1`, ... the nodes in the order of
    /// the list.
    pub inputs: Vec<usize>,
}

impl PyramidNode {
    /// The nodes of a BiFPN of so many levels (arXiv:1911.09070, figure 2d): from the coarsest level up, each node adds
    /// its level's input and the node below; then from the finest down, each adds all maps of its level and the node
    /// above.
    pub fn bidirectional(levels: usize) -> Vec<Self> {
        let mut of_level: Vec<Vec<usize>> = (0..levels).map(|level| vec![level]).collect();
        let mut nodes: Vec<Self> = Vec::new();
        for level in (1..levels).rev().map(|level| level - 1) {
            let inputs = [level, level + 1].map(|level| last(&of_level[level]));
            of_level[level].push(levels + nodes.len());
            let inputs = inputs.to_vec();
            nodes.push(Self { level, inputs });
        }
        for level in 1..levels {
            let mut inputs = of_level[level].clone();
            inputs.push(last(&of_level[level - 1]));
            of_level[level].push(levels + nodes.len());
            nodes.push(Self { level, inputs });
        }
        nodes
    }
}

fn last(of_level: &[usize]) -> usize {
    of_level[of_level.len() - 1]
}

/// The level of each map: of the inputs, and of the nodes.
pub(super) fn levels_of(levels: usize, nodes: &[PyramidNode]) -> Vec<usize> {
    let of_nodes = nodes.iter().map(|node| node.level);
    (0..levels).chain(of_nodes).collect()
}

/// Refuses nodes that read what is not there yet, and levels without a node.
pub(super) fn check_nodes(levels: usize, nodes: &[PyramidNode]) -> Result<(), ShapeError> {
    let refuse = |problem, remedy| Err(ShapeError::new(NAME, problem, remedy));
    for (index, node) in nodes.iter().enumerate() {
        if node.level >= levels {
            return refuse(
                format!(
                    "node {index} lies at level {}, and there are {levels}",
                    node.level
                ),
                format!("Choose a level of 0 to {}", levels - 1),
            );
        }
        if node.inputs.is_empty() {
            return refuse(
                format!("node {index} adds nothing"),
                "List the maps that it adds".into(),
            );
        }
        let maps = levels + index;
        if let Some(input) = node.inputs.iter().find(|&&input| input >= maps) {
            return refuse(
                format!("node {index} reads map {input}, and there are {maps} before it"),
                format!("Choose maps of 0 to {}", maps - 1),
            );
        }
    }
    match (0..levels).find(|level| nodes.iter().all(|node| node.level != *level)) {
        None => Ok(()),
        Some(level) => refuse(
            format!("no node lies at level {level}"),
            "Add one: the last node of each level is its output".into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn the_nodes_of_the_paper() {
        let nodes = PyramidNode::bidirectional(5);
        let found: Vec<_> = nodes
            .iter()
            .map(|node| (node.level, &node.inputs[..]))
            .collect();
        let expected: [(usize, &[usize]); 8] = [
            (3, &[3, 4]),
            (2, &[2, 5]),
            (1, &[1, 6]),
            (0, &[0, 7]),
            (1, &[1, 7, 8]),
            (2, &[2, 6, 9]),
            (3, &[3, 5, 10]),
            (4, &[4, 11]),
        ];
        assert_eq!(found, expected);
        assert_eq!(check_nodes(5, &nodes), Ok(()));
    }

    #[test]
    fn nodes_that_make_no_pyramid_are_refused() {
        let text = |nodes: &[(usize, &[usize])]| {
            let node = |&(level, inputs): &(usize, &[usize])| PyramidNode {
                level,
                inputs: inputs.to_vec(),
            };
            let nodes: Vec<_> = nodes.iter().map(node).collect();
            check_nodes(2, &nodes).unwrap_err().to_string()
        };
        assert_eq!(
            text(&[(0, &[0, 1]), (1, &[3])]),
            "BiFpn: node 1 reads map 3, and there are 3 before it. Choose maps of 0 to 2."
        );
        assert_eq!(
            text(&[(2, &[0, 1])]),
            "BiFpn: node 0 lies at level 2, and there are 2. Choose a level of 0 to 1."
        );
        assert_eq!(
            text(&[(0, &[])]),
            "BiFpn: node 0 adds nothing. List the maps that it adds."
        );
        assert_eq!(
            text(&[(0, &[0, 1])]),
            "BiFpn: no node lies at level 1. Add one: the last node of each level is its output."
        );
    }
}
