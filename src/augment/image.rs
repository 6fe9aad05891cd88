//! [`ImageView`] and [`Crop`]: what is read, and which part of it.

use alloc::{format, vec, vec::Vec};

use crate::shape::ShapeError;

/// The name in errors about sizes.
const NAME: &str = "Augment";

/// Values on a grid of two or three axes, borrowed: channel by channel, the last axis fastest.
#[derive(Clone, Copy, Debug)]
pub struct ImageView<'a, T = f32> {
    /// How many channels there are.
    pub channels: usize,
    /// `[height, width]` or `[depth, height, width]`.
    pub size: &'a [usize],
    /// `channels` times the product of `size` values.
    pub values: &'a [T],
}

/// A box of an image: where it begins on each axis, and how long it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crop {
    /// The first position on each axis, in pixels.
    pub start: Vec<usize>,
    /// The length on each axis, in pixels.
    pub size: Vec<usize>,
}

impl Crop {
    /// A box of the size `size` that begins at `start`.
    pub fn new(start: impl Into<Vec<usize>>, size: impl Into<Vec<usize>>) -> Self {
        Self {
            start: start.into(),
            size: size.into(),
        }
    }

    /// The whole of an image.
    pub fn whole(size: &[usize]) -> Self {
        Self::new(vec![0; size.len()], size)
    }

    /// Checks that an image and its mask are whole, of one size, and hold this box.
    pub(super) fn check<T>(
        &self,
        image: ImageView<'_>,
        mask: ImageView<'_, T>,
    ) -> Result<(), ShapeError> {
        let axes = image.size.len();
        if !matches!(axes, 2 | 3) {
            return Err(ShapeError::new(
                NAME,
                format!("the image has {axes} axes"),
                "Give an image of 2 axes, or a volume of 3",
            ));
        }
        if image.size != mask.size {
            return Err(ShapeError::new(
                NAME,
                format!("sizes differ: image {:?}, mask {:?}", image.size, mask.size),
                "Give a mask of the image's size",
            ));
        }
        image.check("image")?;
        mask.check("mask")?;
        let is_inside = self.start.len() == axes
            && self.size.len() == axes
            && self.size.iter().all(|&length| length > 0)
            && (0..axes).all(|axis| {
                let end = self.start[axis].checked_add(self.size[axis]);
                end.is_some_and(|end| end <= image.size[axis])
            });
        match is_inside {
            true => Ok(()),
            false => Err(ShapeError::new(
                NAME,
                format!(
                    "the crop of the size {:?} at {:?} does not lie in the image of the size {:?}",
                    self.size, self.start, image.size
                ),
                "Give a crop that begins and ends in the image, with one pixel or more on each axis",
            )),
        }
    }
}

impl<T> ImageView<'_, T> {
    fn check(&self, what: &str) -> Result<(), ShapeError> {
        let mut lengths = self.size.iter();
        let expected = lengths.try_fold(self.channels, |n, &length| n.checked_mul(length));
        match expected == Some(self.values.len()) {
            true => Ok(()),
            false => Err(ShapeError::new(
                NAME,
                format!(
                    "{what} has {} values for {} channels of the size {:?}",
                    self.values.len(),
                    self.channels,
                    self.size
                ),
                "Give one value for each channel of each pixel",
            )),
        }
    }
}

/// `[depth, height, width]` of a size of two or three axes; an image is one slice deep.
pub(super) fn as_volume(size: &[usize], missing: usize) -> [usize; 3] {
    match *size {
        [depth, height, width] => [depth, height, width],
        [height, width] => [missing, height, width],
        _ => [missing; 3],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn what_does_not_fit_is_refused() {
        let values = [0.0; 12];
        let view = |channels, size| ImageView {
            channels,
            size,
            values: &values[..],
        };
        let error = |crop: Crop, image, mask| crop.check(image, mask).unwrap_err().to_string();
        let whole = Crop::whole(&[3, 4]);
        assert_eq!(whole.check(view(1, &[3, 4]), view(1, &[3, 4])), Ok(()));
        assert_eq!(
            error(whole.clone(), view(1, &[3, 4]), view(1, &[4, 3])),
            "Augment: sizes differ: image [3, 4], mask [4, 3]. Give a mask of the image's size."
        );
        assert_eq!(
            error(whole.clone(), view(1, &[3, 4]), view(2, &[3, 4])),
            "Augment: mask has 12 values for 2 channels of the size [3, 4]. Give one value for each channel of each \
             pixel."
        );
        assert_eq!(
            error(whole, view(1, &[12]), view(1, &[12])),
            "Augment: the image has 1 axes. Give an image of 2 axes, or a volume of 3."
        );
        for crop in [
            Crop::new([1, 0], [3, 4]),
            Crop::new([0, 0], [3, 0]),
            Crop::new([0, 0, 0], [1, 3, 4]),
            Crop::new([usize::MAX, 0], [3, 4]),
        ] {
            let error = error(crop, view(1, &[3, 4]), view(1, &[3, 4]));
            assert!(
                error.contains("does not lie in the image of the size [3, 4]"),
                "{error}"
            );
        }
    }
}
