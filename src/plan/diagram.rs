//! [`Diagram`]: a plan as a graph, and the graph in the languages of Mermaid and of Graphviz.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt::Write;

use super::{MapPlan, Node, Plan};

/// A plan as a graph: a box for each part, an arrow for each map that goes from one to another, with its shape.
///
/// In SVG and in Graphviz, boxes of one stride on the input stand on one level, so that a U-Net is a U.
///
/// # Example
/// ```
/// use burn_skip::{net::UnetConfig, plan::Trace};
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

/// A part that has a box.
pub(super) struct Box<'a> {
    pub(super) path: String,
    pub(super) node: &'a Node,
}

/// An arrow: the boxes that it goes from, or the input, and to, or the output; and its map.
pub(super) struct Arrow<'a> {
    pub(super) from: Option<usize>,
    pub(super) to: Option<usize>,
    pub(super) map: &'a MapPlan,
}

impl<'a> Diagram<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self { plan, depth: 2 }
    }

    /// Draws parts of parts down to so many levels. Default: 2.
    pub fn with_depth(mut self, depth: usize) -> Self {
        self.depth = depth;
        self
    }

    pub(super) fn boxes(&self) -> Vec<Box<'a>> {
        let mut boxes = Vec::new();
        collect(&self.plan.root, String::new(), self.depth, &mut boxes);
        boxes
    }

    pub(super) fn arrows(&self, boxes: &[Box<'a>]) -> Vec<Arrow<'a>> {
        let source = |map: &MapPlan| {
            let gives = |part: &Box| part.node.outputs.iter().any(|output| output.id == map.id);
            // (A part without anything of its own gives what it was given: the last before it made that.)
            boxes.iter().position(gives)
        };
        let mut arrows = Vec::new();
        for (to, part) in boxes.iter().enumerate() {
            let mut seen = Vec::new();
            for map in &part.node.inputs {
                if !seen.contains(&map.id) {
                    seen.push(map.id);
                    let from = source(map).filter(|&from| from != to);
                    let to = Some(to);
                    arrows.push(Arrow { from, to, map });
                }
            }
        }
        for map in &self.plan.root.outputs {
            let (from, to) = (source(map), None);
            arrows.push(Arrow { from, to, map });
        }
        arrows
    }

    /// For [Mermaid](https://mermaid.js.org), which many sites draw in Markdown.
    pub fn mermaid(&self) -> String {
        let boxes = self.boxes();
        let mut text = String::from("flowchart TD\n  input([input])\n  output([output])\n");
        for (index, part) in boxes.iter().enumerate() {
            let words = words(part)
                .iter()
                .map(|word| escaped(word))
                .collect::<Vec<_>>()
                .join("<br/>");
            let _ = writeln!(text, "  n{index}[\"{words}\"]");
        }
        for arrow in self.arrows(&boxes) {
            let [from, to] = ends(&arrow);
            let _ = writeln!(text, "  {from} -->|{}| {to}", shape(arrow.map));
        }
        text
    }

    /// For Graphviz: `dot -Tsvg`.
    pub fn dot(&self) -> String {
        let boxes = self.boxes();
        let mut text = String::from(
            "digraph {\n  node [shape=box fontname=\"sans-serif\"]\n  edge [fontname=\"sans-serif\" fontsize=10]\n  \
             input [shape=oval]\n  output [shape=oval]\n",
        );
        for (index, part) in boxes.iter().enumerate() {
            let words = words(part).join("\\n").replace('"', "\\\"");
            let _ = writeln!(text, "  n{index} [label=\"{words}\"]");
        }
        let mut levels: Vec<(String, Vec<String>)> = Vec::new();
        for (index, part) in boxes.iter().enumerate() {
            let Some(level) = level(part.node) else {
                continue;
            };
            let name = format!("n{index}");
            match levels.iter_mut().find(|(other, _)| *other == level) {
                Some((_, names)) => names.push(name),
                None => levels.push((level, Vec::from([name]))),
            }
        }
        for (_, names) in levels {
            let _ = writeln!(text, "  {{ rank=same; {} }}", names.join("; "));
        }
        for arrow in self.arrows(&boxes) {
            let [from, to] = ends(&arrow);
            let _ = writeln!(text, "  {from} -> {to} [label=\"{}\"]", shape(arrow.map));
        }
        text.push_str("}\n");
        text
    }
}

fn collect<'a>(node: &'a Node, path: String, depth: usize, boxes: &mut Vec<Box<'a>>) {
    if depth == 0 || node.children.is_empty() {
        boxes.push(Box { path, node });
        return;
    }
    for child in &node.children {
        let path = match (&path[..], &child.name[..]) {
            (path, "") => path.to_string(),
            ("", name) => name.to_string(),
            (path, name) => format!("{path}.{name}"),
        };
        collect(child, path, depth - 1, boxes);
    }
}

/// The lines of a box: its path, if it has one, and what it is.
pub(super) fn words(part: &Box) -> Vec<String> {
    let kind = match part.node.find_error() {
        Some(_) => format!("{}: does not fit", part.node.kind),
        None => part.node.kind.clone(),
    };
    let path = Some(part.path.clone()).filter(|path| !path.is_empty());
    path.into_iter().chain([kind]).collect()
}

/// Mermaid reads HTML.
pub(super) fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('"', "&quot;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

pub(super) fn shape(map: &MapPlan) -> String {
    let axes: Vec<String> = map.shape.iter().map(ToString::to_string).collect();
    axes.join("x")
}

fn ends(arrow: &Arrow) -> [String; 2] {
    let name =
        |part: Option<usize>, end: &str| part.map_or(end.into(), |index| format!("n{index}"));
    [name(arrow.from, "input"), name(arrow.to, "output")]
}

/// The stride of what comes out, as a name.
fn level(node: &Node) -> Option<String> {
    let grid = node.outputs.last()?.grid.as_ref()?;
    Some(format!("{:.3}", grid.first()?.stride))
}
