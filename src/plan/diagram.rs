//! [`Diagram`]: a plan as a graph, written for Mermaid and Graphviz or drawn in SVG.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt::Write;

use super::column::shape_text;
use super::{MapPlan, Node, Plan, fails};

/// A plan as a graph: a box for each layer, an arrow with a shape for each map that one layer hands to another.
///
/// In SVG and in Graphviz, boxes with the same stride on the input stand at the same height, so that a U-Net is a U.
///
/// # Example
/// ```
/// use burn_skip::{Trace, net::UnetConfig};
///
/// let plan = UnetConfig::new(3, 2, vec![8, 16]).plan([1, 3, 32, 32]);
/// // Three boxes: the encoder, the decoder and the head.
/// let text = plan.diagram().with_depth(1).mermaid();
/// assert!(text.contains("input -->|1x3x32x32| n0"));
/// assert!(text.contains("n0 -->|1x16x16x16| n1"));
/// assert_eq!(text.lines().last().unwrap().trim(), "n2 -->|1x2x32x32| output");
/// ```
#[derive(Clone, Debug)]
pub struct Diagram<'a> {
    plan: &'a Plan,
    depth: usize,
}

/// A node that is drawn as a box.
pub(super) struct Block<'a> {
    pub(super) path: String,
    pub(super) node: &'a Node,
    /// Which child of the root it belongs to.
    pub(super) group: usize,
}

/// An arrow with its map. It comes from the network's input or from a block, and goes to a block or to the output.
pub(super) struct Arrow<'a> {
    pub(super) from: Option<usize>,
    pub(super) to: Option<usize>,
    pub(super) map: &'a MapPlan,
}

impl Block<'_> {
    /// The lines of the box: the path, if there is one, and the label.
    pub(super) fn lines(&self) -> Vec<String> {
        let label = match fails(self.node) {
            true => format!("{}: does not fit", self.node.label),
            false => self.node.label.clone(),
        };
        let path = Some(self.path.clone()).filter(|path| !path.is_empty());
        path.into_iter().chain([label]).collect()
    }

    /// The stride of its last output on the input, along the first axis.
    pub(super) fn stride(&self) -> Option<f64> {
        let grid = self.node.outputs.last()?.grid.as_ref()?;
        Some(grid.first()?.stride)
    }
}

impl<'a> Diagram<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self { plan, depth: 2 }
    }

    /// Draws children down to this depth. Default: 2.
    pub fn with_depth(mut self, depth: usize) -> Self {
        self.depth = depth;
        self
    }

    pub(super) fn blocks(&self) -> Vec<Block<'a>> {
        let root = &self.plan.root;
        let mut blocks = Vec::new();
        if self.depth == 0 || root.children.is_empty() {
            collect(root, String::new(), 0, 0, &mut blocks);
            return blocks;
        }
        for (group, child) in root.children.iter().enumerate() {
            collect(
                child,
                child.name.clone(),
                self.depth - 1,
                group,
                &mut blocks,
            );
        }
        blocks
    }

    pub(super) fn arrows(&self, blocks: &[Block<'a>]) -> Vec<Arrow<'a>> {
        // (A block that does nothing outputs its own input: the first block that outputs a map made it.)
        let mut producers: BTreeMap<usize, usize> = BTreeMap::new();
        for (index, block) in blocks.iter().enumerate() {
            for output in &block.node.outputs {
                producers.entry(output.id).or_insert(index);
            }
        }
        let producer = |map: &MapPlan| producers.get(&map.id).copied();
        let mut arrows = Vec::new();
        for (to, block) in blocks.iter().enumerate() {
            let mut seen = BTreeSet::new();
            for map in block.node.inputs.iter().filter(|map| seen.insert(map.id)) {
                let from = producer(map).filter(|&from| from != to);
                let to = Some(to);
                arrows.push(Arrow { from, to, map });
            }
        }
        for map in &self.plan.root.outputs {
            let (from, to) = (producer(map), None);
            arrows.push(Arrow { from, to, map });
        }
        arrows
    }

    /// The graph for [Mermaid](https://mermaid.js.org), which many sites draw in Markdown.
    pub fn mermaid(&self) -> String {
        let blocks = self.blocks();
        let mut text = String::from("flowchart TD\n  input([input])\n  output([output])\n");
        for (index, block) in blocks.iter().enumerate() {
            let lines: Vec<_> = block.lines().iter().map(|line| escaped(line)).collect();
            let _ = writeln!(text, "  n{index}[\"{}\"]", lines.join("<br/>"));
        }
        for arrow in self.arrows(&blocks) {
            let [from, to] = ends(&arrow);
            let _ = writeln!(text, "  {from} -->|{}| {to}", shape_text(arrow.map));
        }
        text
    }

    /// The graph for Graphviz: `dot -Tsvg`.
    pub fn dot(&self) -> String {
        let blocks = self.blocks();
        let mut text = String::from(
            "digraph {\n  node [shape=box fontname=\"sans-serif\"]\n  edge [fontname=\"sans-serif\" fontsize=10]\n  \
             input [shape=oval]\n  output [shape=oval]\n",
        );
        for (index, block) in blocks.iter().enumerate() {
            let lines = block.lines().join("\\n").replace('"', "\\\"");
            let _ = writeln!(text, "  n{index} [label=\"{lines}\"]");
        }
        for names in names_by_stride(&blocks) {
            let _ = writeln!(text, "  {{ rank=same; {} }}", names.join("; "));
        }
        for arrow in self.arrows(&blocks) {
            let [from, to] = ends(&arrow);
            let shape = shape_text(arrow.map);
            let _ = writeln!(text, "  {from} -> {to} [label=\"{shape}\"]");
        }
        text.push_str("}\n");
        text
    }
}

fn collect<'a>(
    node: &'a Node,
    path: String,
    depth: usize,
    group: usize,
    blocks: &mut Vec<Block<'a>>,
) {
    if depth == 0 || node.children.is_empty() {
        blocks.push(Block { path, node, group });
        return;
    }
    for child in &node.children {
        let path = match (&path[..], &child.name[..]) {
            (path, "") => path.to_string(),
            ("", name) => name.to_string(),
            (path, name) => format!("{path}.{name}"),
        };
        collect(child, path, depth - 1, group, blocks);
    }
}

/// The names of the blocks of each stride, in the order in which the strides first occur.
fn names_by_stride(blocks: &[Block]) -> Vec<Vec<String>> {
    let mut levels: Vec<(f64, Vec<String>)> = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let Some(stride) = block.stride() else {
            continue;
        };
        let name = format!("n{index}");
        let is_near = |other: f64| (other - stride).abs() < 1e-3;
        match levels.iter_mut().find(|(other, _)| is_near(*other)) {
            Some((_, names)) => names.push(name),
            None => levels.push((stride, Vec::from([name]))),
        }
    }
    levels.into_iter().map(|(_, names)| names).collect()
}

/// Escaped for HTML, which Mermaid reads too.
pub(super) fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('"', "&quot;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

fn ends(arrow: &Arrow) -> [String; 2] {
    let name =
        |block: Option<usize>, end: &str| block.map_or(end.into(), |index| format!("n{index}"));
    [name(arrow.from, "input"), name(arrow.to, "output")]
}
