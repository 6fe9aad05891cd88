//! [`LabelMap::distance_transform`]: the exact Euclidean distance to the nearest position of the background.

use alloc::{format, vec, vec::Vec};

use super::label_map::LabelMap;
use crate::distance_transform::squared_distances;
use crate::shape::ShapeError;

const NAME: &str = "LabelMap";

impl LabelMap {
    /// The Euclidean distance of each position to the nearest one with the label 0, in the unit of `spacing`:
    /// `scipy.ndimage.distance_transform_edt`. Infinite where there is no 0 at all. `spacing` is the distance of
    /// neighbours, one number or one for each axis.
    ///
    /// # Errors
    /// When the spacing is not positive, or has another number of axes.
    ///
    /// # Example
    /// ```
    /// use burn_skip::metric::LabelMap;
    ///
    /// let mask = LabelMap::new([2, 3], vec![0, 1, 1, 1, 1, 1]).unwrap();
    /// let distance = mask.distance_transform(&[3.0, 4.0]).unwrap();
    /// assert_eq!(distance, [0.0, 4.0, 8.0, 3.0, 5.0, 73f64.sqrt()]);
    /// ```
    pub fn distance_transform(&self, spacing: &[f64]) -> Result<Vec<f64>, ShapeError> {
        let spacing = resolve_spacing(NAME, spacing, self.size().len())?;
        let squares = squared_distances(&self.mask(0), self.size(), &spacing);
        Ok(squares.into_iter().map(f64::sqrt).collect())
    }
}

/// One distance of neighbours for each axis.
pub(super) fn resolve_spacing(
    layer: &str,
    spacing: &[f64],
    axes: usize,
) -> Result<Vec<f64>, ShapeError> {
    let valid = |spacing: &f64| spacing.is_finite() && *spacing > 0.0;
    if !spacing.iter().all(valid) {
        return Err(ShapeError::new(
            layer,
            format!("spacing is {spacing:?}"),
            "Choose positive numbers",
        ));
    }
    match spacing {
        [all] => Ok(vec![*all; axes]),
        each if each.len() == axes => Ok(each.to_vec()),
        _ => Err(ShapeError::new(
            layer,
            format!(
                "spacing {spacing:?} has {} numbers, the map has {axes} axes",
                spacing.len()
            ),
            format!("Give one number, or {axes}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn without_background_it_is_infinite() {
        let map = LabelMap::new([2, 2], vec![1; 4]).unwrap();
        let distance = map.distance_transform(&[1.0]).unwrap();
        assert_eq!(distance, [f64::INFINITY; 4]);
        let map = LabelMap::new([1], vec![0]).unwrap();
        assert_eq!(map.distance_transform(&[1.0]).unwrap(), [0.0]);
    }

    #[test]
    fn a_spacing_that_is_none_is_refused() {
        let map = LabelMap::new([2, 2], vec![0; 4]).unwrap();
        let text = |spacing: &[f64]| map.distance_transform(spacing).unwrap_err().to_string();
        assert_eq!(
            text(&[1.0, 0.0]),
            "LabelMap: spacing is [1.0, 0.0]. Choose positive numbers."
        );
        assert_eq!(
            text(&[1.0; 3]),
            "LabelMap: spacing [1.0, 1.0, 1.0] has 3 numbers, the map has 2 axes. Give one number, or 2."
        );
        assert!(text(&[]).contains("has 0 numbers"));
        assert!(text(&[f64::NAN]).contains("spacing is [NaN]"));
    }
}
