//! Checks of the numbers that are options of transforms.

use alloc::format;

use crate::shape::ShapeError;

/// Refuses a range `[lowest, highest]` that does not lie between two numbers.
pub(super) fn check_range(
    transform: &str,
    what: &str,
    range: [f64; 2],
    [least, most]: [f64; 2],
) -> Result<(), ShapeError> {
    let [low, high] = range;
    let remedy = match low >= least && high <= most && high >= least && low <= most {
        true if low <= high => return Ok(()),
        true => "Give the lowest number first".into(),
        false => format!("Give the lowest and the highest number, both from {least} to {most}"),
    };
    Err(ShapeError::new(
        transform,
        format!("{what} is {range:?}"),
        remedy,
    ))
}

/// Refuses a number that does not lie between two.
pub(super) fn check_number(
    transform: &str,
    what: &str,
    value: f64,
    [least, most]: [f64; 2],
) -> Result<(), ShapeError> {
    match value >= least && value <= most {
        true => Ok(()),
        false => Err(ShapeError::new(
            transform,
            format!("{what} is {value}"),
            format!("Give a number from {least} to {most}"),
        )),
    }
}
