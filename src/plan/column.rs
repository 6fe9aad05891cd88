//! [`Column`]: what a summary says of each layer.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::str::FromStr;

use super::{Grid, MapPlan, Node, fails};

/// A column of a summary.
///
/// # Example
/// ```
/// use burn_skip::{Trace, net::UnetConfig, plan::Column};
///
/// let plan = UnetConfig::new(3, 2, vec![8, 16]).plan([1, 3, 32, 32]);
/// let text = plan.summary().with_columns([Column::Output, Column::Bytes]).markdown();
/// assert!(text.starts_with("| layer | output | bytes |"));
/// assert_eq!("mult-adds".parse::<Column>().unwrap(), Column::MultAdds);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Column {
    /// The shapes of the inputs.
    Input,
    /// The shapes of the outputs.
    Output,
    /// The learned parameters.
    Parameters,
    /// The multiply-adds of the batch.
    MultAdds,
    /// The bytes of the outputs, in f32.
    Bytes,
    /// The bytes that are saved for the backward pass of a training step.
    Saved,
    /// The stride of the output's positions on the input of the network, one number an axis.
    Stride,
    /// The receptive field of the output's positions, one number an axis.
    Field,
}

impl FromStr for Column {
    type Err = String;

    /// By its title.
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|column| column.title() == text);
        found.ok_or_else(|| {
            let titles = Self::ALL.map(Self::title).join(", ");
            format!("there is no column {text}; choose from {titles}")
        })
    }
}

impl Column {
    /// All columns.
    pub const ALL: [Self; 8] = [
        Self::Input,
        Self::Output,
        Self::Parameters,
        Self::MultAdds,
        Self::Bytes,
        Self::Saved,
        Self::Stride,
        Self::Field,
    ];

    /// The title of the column.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Parameters => "parameters",
            Self::MultAdds => "mult-adds",
            Self::Bytes => "bytes",
            Self::Saved => "saved",
            Self::Stride => "stride",
            Self::Field => "field",
        }
    }

    pub(super) const fn is_number(self) -> bool {
        matches!(
            self,
            Self::Parameters | Self::MultAdds | Self::Bytes | Self::Saved
        )
    }

    /// The cell of a node. With `with_children` the numbers include those of its children, which have no rows of their
    /// own.
    pub(super) fn cell(self, node: &Node, with_children: bool) -> String {
        match self {
            Self::Input => shapes(&node.inputs),
            Self::Output => match node.error.is_some() || (with_children && fails(node)) {
                true => "does not fit".to_string(),
                false => shapes(&node.outputs),
            },
            Self::Parameters if with_children => number(node.total_parameters()),
            Self::Parameters => number(node.own_parameters()),
            Self::MultAdds if with_children => number(node.total_mult_adds()),
            Self::MultAdds => number(node.mult_adds),
            Self::Bytes if with_children => {
                let bytes = node.outputs.iter().map(MapPlan::bytes);
                number(bytes.fold(0, u64::saturating_add))
            }
            Self::Bytes => String::new(),
            Self::Saved if with_children => number(node.total_saved_for_backward()),
            Self::Saved => number(node.saved_for_backward),
            Self::Stride => of_axes(node, |grid| grid.stride),
            Self::Field => of_axes(node, |grid| grid.field),
        }
    }
}

fn shapes(maps: &[MapPlan]) -> String {
    match maps {
        [] => String::new(),
        [one] => shape_text(one),
        [.., last] => format!("{} maps, {}", maps.len(), shape_text(last)),
    }
}

/// The shape of a map, as `1x3x32x32`.
pub(super) fn shape_text(map: &MapPlan) -> String {
    let axes: Vec<String> = map.shape.iter().map(ToString::to_string).collect();
    axes.join("x")
}

/// A number of each spatial axis, or one if all are equal.
fn of_axes(node: &Node, number: impl Fn(&Grid) -> f64) -> String {
    let grid = node.outputs.last().and_then(|map| map.grid.as_ref());
    let axes = grid.iter().flat_map(|grid| grid.iter());
    let axes: Vec<String> = axes.map(|grid| rounded(number(grid))).collect();
    match axes.split_first() {
        Some((first, rest)) if rest.iter().all(|axis| axis == first) => first.clone(),
        _ => axes.join("x"),
    }
}

/// A number that is left out where it is 0.
fn number(number: u64) -> String {
    match number {
        0 => String::new(),
        number => with_separators(number),
    }
}

/// `1234567` as `1,234,567`.
pub(super) fn with_separators(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// With two decimals, if it has any.
fn rounded(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}
