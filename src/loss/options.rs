//! Checks of the numbers that are options of losses.

use alloc::format;

use crate::shape::ShapeError;

/// Refuses weights that are not one for each class, or negative, or all zero.
pub(super) fn check_weights(
    loss: &str,
    what: &str,
    weights: Option<&[f64]>,
    classes: usize,
) -> Result<(), ShapeError> {
    let Some(weights) = weights else {
        return Ok(());
    };
    if weights.len() != classes {
        return Err(ShapeError::new(
            loss,
            format!(
                "{what} has {} numbers for {classes} channels",
                weights.len()
            ),
            "Give one for each channel of the logits",
        ));
    }
    if weights.iter().all(|w| w.is_finite() && *w >= 0.0) && weights.iter().any(|w| *w > 0.0) {
        return Ok(());
    }
    Err(ShapeError::new(
        loss,
        format!("{what} is {weights:?}"),
        "Give numbers of 0 or more, not all of them 0",
    ))
}

/// Refuses a number outside of a range that `remedy` names.
pub(super) fn check_number(
    loss: &str,
    what: &str,
    value: f64,
    is_valid: bool,
    remedy: &str,
) -> Result<(), ShapeError> {
    if value.is_finite() && is_valid {
        return Ok(());
    }
    Err(ShapeError::new(loss, format!("{what} is {value}"), remedy))
}

/// Refuses a negative number.
pub(super) fn check_not_negative(loss: &str, what: &str, value: f64) -> Result<(), ShapeError> {
    check_number(loss, what, value, value >= 0.0, "Choose 0 or more")
}

/// Refuses a number that is not positive.
pub(super) fn check_positive_number(loss: &str, what: &str, value: f64) -> Result<(), ShapeError> {
    let remedy = "Choose a positive number, such as 1e-5";
    check_number(loss, what, value, value > 0.0, remedy)
}

/// Refuses a label smoothing outside of `[0, 1)`.
pub(super) fn check_smoothing(loss: &str, value: f64) -> Result<(), ShapeError> {
    let is_valid = (0.0..1.0).contains(&value);
    check_number(
        loss,
        "smoothing",
        value,
        is_valid,
        "Choose a number in [0, 1)",
    )
}
