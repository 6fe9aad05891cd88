//! Lengths of the axes of crops and tiles.

use burn_skip::PerAxis;

/// One length for all axes, or one for each, on the command line: `96` or `16x64x64`.
///
/// # Errors
/// When one is no number from 1 to a million, or there are others than one, two or three.
pub fn parse(text: &str) -> Result<PerAxis, String> {
    let lengths = text.split('x').map(crate::train::options::count);
    let lengths: Vec<usize> = lengths.collect::<Result<_, _>>().map_err(|error| {
        format!("{error}, or one for each axis with an x between them, such as 16x64x64")
    })?;
    match lengths[..] {
        [length] => Ok(PerAxis::All(length)),
        [_, _] | [_, _, _] => Ok(PerAxis::Each(lengths)),
        _ => Err("it must be one number, or one for each axis, such as 16x64x64".into()),
    }
}

/// The lengths of so many axes; `option` is for the error.
///
/// # Errors
/// When there are others.
pub fn of_axes(lengths: &PerAxis, axes: usize, option: &str) -> Result<Vec<usize>, String> {
    match lengths {
        PerAxis::All(length) => Ok(vec![*length; axes]),
        PerAxis::Each(lengths) if lengths.len() == axes => Ok(lengths.clone()),
        PerAxis::Each(lengths) => Err(format!(
            "{option} {} has {} lengths, and the images have {axes} axes. Give one, or {axes}.",
            shown(lengths),
            lengths.len()
        )),
    }
}

/// "16x64x64"
pub fn shown(lengths: &[usize]) -> String {
    let lengths: Vec<String> = lengths.iter().map(usize::to_string).collect();
    lengths.join("x")
}

/// `[batch, channels, spatial...]`; the spatial axes are as many as the rank leaves.
pub fn shape<const R: usize>(batch: usize, channels: usize, size: &[usize]) -> [usize; R] {
    let mut axes = [batch, channels].into_iter().chain(size.iter().copied());
    std::array::from_fn(|_| axes.next().unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_one_or_one_for_each_axis() {
        let of = |text, axes| of_axes(&parse(text)?, axes, "--crop");
        assert_eq!(of("96", 2), Ok(vec![96, 96]));
        assert_eq!(of("8x32x16", 3), Ok(vec![8, 32, 16]));
        assert_eq!(
            of("8x32", 3).unwrap_err(),
            "--crop 8x32 has 2 lengths, and the images have 3 axes. Give one, or 3."
        );
        assert_eq!(
            parse("8,32").unwrap_err(),
            "it must be a whole number from 1 to 1000000, or one for each axis with an x between them, such as 16x64x64"
        );
        for wrong in ["", "0", "8x", "1x2x3x4", "-1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(shape::<5>(2, 1, &[8, 32, 16]), [2, 1, 8, 32, 16]);
    }
}
