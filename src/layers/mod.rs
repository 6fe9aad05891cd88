//! Layers that take one feature map and give one.

pub mod activation;
pub mod attention;
pub mod block;
mod burn_layers;
mod channel_dropout;
pub mod conv;
pub mod down;
mod drop_path;
pub(crate) mod layer;
mod layer_norm;
pub(crate) mod linear;
pub mod norm;
pub(crate) mod param;
pub(crate) mod pixel_shuffle;
pub mod pool;
pub mod resize;
#[cfg(feature = "schema")]
pub(crate) mod schema;
pub(crate) mod style;
pub mod up;

pub use channel_dropout::ChannelDropout;
pub use drop_path::DropPath;
pub(crate) use drop_path::check_probability;
pub use layer::Layer;
pub use pixel_shuffle::BlockOrder;
