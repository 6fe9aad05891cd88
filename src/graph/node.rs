//! [`Node`]: a part of a plan, and the maps between parts.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use serde::Serialize;

use super::Grid;

/// A part: a layer, or what is made of layers.
///
/// # Example
/// ```
/// use burn_skip::{net::UnetConfig, plan::Trace};
///
/// let plan = UnetConfig::new(3, 2, vec![16, 32, 64]).plan([1, 3, 45, 61]);
/// let stem = &plan.root.children[0].children[0];
/// assert_eq!(stem.kind, "DoubleConv");
/// assert_eq!(stem.total_parameters(), 2_800);
/// assert_eq!(stem.total_mult_adds(), 7_510_384);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    /// The name of the field that holds it; empty for the whole.
    pub name: String,
    /// What it is: the name of its type.
    pub kind: String,
    /// What goes in.
    pub inputs: Vec<MapPlan>,
    /// What comes out; nothing where an error is.
    pub outputs: Vec<MapPlan>,
    /// The learned parameters of its own, those of its parts not among them.
    pub parameters: usize,
    /// The multiply-adds of its own, of the whole batch. As torchinfo counts them: a convolution's weights and
    /// biases once for each position of its output, those of a norm and of a linear layer once a sample. Those
    /// of a transposed convolution are counted once for each position of its *input*.
    pub mult_adds: u64,
    /// The bytes of what it writes that wait for the gradients in a training step, if it has no parts.
    pub kept: u64,
    /// The parts, in the order in which a map goes through them.
    pub children: Vec<Node>,
    /// Where maps are merged whose positions do not lie on each other.
    pub misalignments: Vec<Misalignment>,
    /// Why the input does not fit, if it is this part that says so.
    pub error: Option<String>,
}

/// A map in a plan.
///
/// # Example
/// ```
/// use burn_skip::{net::UnetConfig, plan::Trace};
///
/// let plan = UnetConfig::new(3, 2, vec![8, 16]).plan([1, 3, 32, 32]);
/// let [encoder, decoder] = [&plan.root.children[0], &plan.root.children[1]];
/// let skip = &encoder.outputs[0];
/// assert_eq!(skip.shape, [1, 8, 32, 32]);
/// assert_eq!(skip.bytes(), 4 * 8 * 32 * 32);
/// assert_eq!(decoder.inputs[0].id, skip.id); // the same map
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MapPlan {
    /// Its number. Maps of one number are one map.
    pub id: usize,
    /// `[batch, channels, spatial...]`
    pub shape: Vec<usize>,
    /// Where its positions lie on the input, an axis each; none where a layer has not said.
    pub grid: Option<Vec<Grid>>,
}

impl MapPlan {
    /// The bytes of its values, in f32.
    pub fn bytes(&self) -> usize {
        self.shape.iter().copied().fold(4, usize::saturating_mul)
    }
}

/// Two maps of one size that are merged, and whose positions do not lie on each other.
///
/// # Example
/// ```
/// use burn_skip::{down::DownConfig, net::{EncoderConfig, PlainEncoderConfig, UnetConfig}, plan::Trace};
///
/// // A strided convolution has its centres half a position behind those of a pool.
/// let encoder = PlainEncoderConfig::new(3, vec![8, 16]).with_down(DownConfig::conv());
/// let net = UnetConfig::new(3, 2, vec![8, 16]).with_encoder(EncoderConfig::Plain(encoder));
/// let plan = net.plan([1, 3, 64, 64]);
/// let (path, found) = plan.misalignments().remove(0);
/// assert_eq!(path, "decoder.steps.0");
/// assert_eq!([found.first, found.last], [0.5, 0.5]);
/// let text = "deep lies 0.50 positions behind skip along the height and the width";
/// assert_eq!(found.to_string(), text);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Misalignment {
    /// The two maps.
    pub maps: [String; 2],
    /// The axes, if it is the same on several.
    pub axes: Vec<String>,
    /// How many positions the first position of the first map lies behind that of the second.
    pub first: f64,
    /// The same of the last.
    pub last: f64,
}

impl fmt::Display for Misalignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([a, b], axis) = (&self.maps, self.axes.join(" and the "));
        let side = |apart: f64| if apart < 0.0 { "before" } else { "behind" };
        let (first, last) = (self.first, self.last);
        if (first - last).abs() < 1e-3 {
            let side = side(first);
            return write!(
                f,
                "{a} lies {:.2} positions {side} {b} along the {axis}",
                first.abs()
            );
        }
        write!(
            f,
            "{a} lies {:.2} positions {} {b} at the start of the {axis}, and {:.2} {} at its end",
            first.abs(),
            side(first),
            last.abs(),
            side(last),
        )
    }
}

impl Node {
    pub(crate) fn new(name: &str, kind: &str, inputs: Vec<MapPlan>) -> Self {
        Self {
            name: name.into(),
            kind: kind.into(),
            inputs,
            outputs: Vec::new(),
            parameters: 0,
            mult_adds: 0,
            kept: 0,
            children: Vec::new(),
            misalignments: Vec::new(),
            error: None,
        }
    }

    /// The learned parameters, those of its parts among them.
    pub fn total_parameters(&self) -> usize {
        self.sum(&|node| node.parameters as u64) as usize
    }

    /// The multiply-adds of the whole batch, those of its parts among them.
    pub fn total_mult_adds(&self) -> u64 {
        self.sum(&|node| node.mult_adds)
    }

    /// The bytes of all maps that its layers give, each written once, in f32. (On the CPU not all of them
    /// are [written](crate::fused).)
    pub fn map_bytes(&self) -> u64 {
        let outputs = |node: &Self| {
            let new = node.outputs.iter();
            let new = new.filter(|map| node.inputs.iter().all(|input| input.id != map.id));
            new.map(|map| map.bytes() as u64)
                .fold(0, u64::saturating_add)
        };
        self.sum(&|node| {
            if node.children.is_empty() {
                outputs(node)
            } else {
                0
            }
        })
    }

    /// The bytes of what waits for the gradients in a training step, those of its parts among them.
    pub fn total_kept(&self) -> u64 {
        self.sum(&|node| node.kept)
    }

    pub(crate) fn sum(&self, of: &impl Fn(&Self) -> u64) -> u64 {
        let parts = self.children.iter().map(|child| child.sum(of));
        parts.fold(of(self), u64::saturating_add)
    }

    /// The error of it or of a part.
    pub(crate) fn find_error(&self) -> Option<&str> {
        let own = self.error.as_deref();
        own.or_else(|| self.children.iter().find_map(Self::find_error))
    }

    pub(crate) fn walk<'a>(&'a self, path: &str, visit: &mut impl FnMut(&str, &'a Self)) {
        visit(path, self);
        for child in &self.children {
            let path = match (path, &child.name[..]) {
                (path, "") => path.to_string(),
                ("", name) => name.to_string(),
                (path, name) => format!("{path}.{name}"),
            };
            child.walk(&path, visit);
        }
    }
}
