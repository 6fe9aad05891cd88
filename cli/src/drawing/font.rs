//! The typeface of the pictures. It is built in: a machine may have none installed.

use plotters::style::{FontStyle, register_font};

use crate::Result;

/// The name under which the pictures ask for it.
pub const FONT: &str = "sans-serif";

/// Registers [`FONT`] with the plotting library.
///
/// # Errors
/// When the built-in typeface is damaged.
pub fn register() -> Result<()> {
    register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
        .map_err(|_| "the built-in typeface cannot be read".into())
}
