//! Whole networks, composed of the layers of this crate.

mod unet;

pub use unet::{Unet, UnetConfig, UnetLevel};
