//! What refines a map between two merges: [`ConvNormAct`] and [`DoubleConv`].

mod conv_norm_act;
mod double_conv;

pub use super::style::{ConvStyle, LayerOrder};
pub use conv_norm_act::{ConvNormAct, ConvNormActConfig};
pub use double_conv::{DoubleConv, DoubleConvConfig};
