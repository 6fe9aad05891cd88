//! [`LabelMap`]: the labels of one image, in memory.

use alloc::{format, vec::Vec};

use burn::tensor::{Int, Tensor};

use crate::shape::{ShapeError, expect};

const NAME: &str = "LabelMap";

/// The labels of one image, of any number of axes, the last one running fastest. 0 is the background where there
/// is one.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::metric::LabelMap;
///
/// let batch = Tensor::<3, Int>::from_ints([[[0, 7], [7, 7]], [[0, 0], [0, 1]]], &Device::flex());
/// let maps = LabelMap::of_batch(&batch);
/// assert_eq!(maps[0], LabelMap::new([2, 2], vec![0, 7, 7, 7]).unwrap());
/// assert_eq!(maps[1].labels(), [0, 0, 0, 1]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMap {
    size: Vec<usize>,
    labels: Vec<i64>,
}

impl LabelMap {
    /// Labels of this size.
    ///
    /// # Errors
    /// When there are more or fewer labels than positions, or no positions.
    pub fn new(size: impl Into<Vec<usize>>, labels: Vec<i64>) -> Result<Self, ShapeError> {
        let size = size.into();
        let product = |count: usize, &axis: &usize| count.checked_mul(axis);
        let positions = size.iter().try_fold(1usize, product);
        check_size(&size)?;
        if positions != Some(labels.len()) {
            return Err(ShapeError::new(
                NAME,
                format!("{} labels for the size {size:?}", labels.len()),
                "Give one label for each position",
            ));
        }
        Ok(Self { size, labels })
    }

    /// The images of a batch.
    ///
    /// # Shapes
    /// - `labels`: `[batch, spatial...]`, without an axis of channels (`squeeze_dim(1)` takes it away)
    ///
    /// # Panics
    /// When [`try_of_batch`](Self::try_of_batch) returns an error, with its message.
    pub fn of_batch<const L: usize>(labels: &Tensor<L, Int>) -> Vec<Self> {
        expect(Self::try_of_batch(labels))
    }

    /// As [`of_batch`](Self::of_batch).
    ///
    /// # Errors
    /// When there is no spatial axis or an empty one, or the tensor cannot be read.
    pub fn try_of_batch<const L: usize>(labels: &Tensor<L, Int>) -> Result<Vec<Self>, ShapeError> {
        let size = labels.dims()[1..].to_vec();
        let labels = labels.try_to_vec_as::<i64>().map_err(|error| {
            ShapeError::new(
                NAME,
                format!("the labels cannot be read: {error}"),
                "Check the device",
            )
        })?;
        check_size(&size)?;
        let images = labels.chunks_exact(size.iter().product());
        images
            .map(|image| Self::new(size.clone(), image.to_vec()))
            .collect()
    }

    /// The number of positions on each axis.
    pub fn size(&self) -> &[usize] {
        &self.size
    }

    /// The labels, the last axis running fastest.
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// A map of the same size.
    pub(super) fn with_labels(&self, labels: Vec<i64>) -> Self {
        debug_assert_eq!(labels.len(), self.labels.len());
        let size = self.size.clone();
        Self { size, labels }
    }

    /// Which positions have this label.
    pub(super) fn mask(&self, label: i64) -> Vec<bool> {
        self.labels.iter().map(|&found| found == label).collect()
    }

    /// Refuses two maps of different sizes.
    pub(super) fn check_same_size(&self, other: &Self, layer: &str) -> Result<(), ShapeError> {
        if self.size == other.size {
            return Ok(());
        }
        Err(ShapeError::new(
            layer,
            format!(
                "the maps have the sizes {:?} and {:?}",
                self.size, other.size
            ),
            "Compare maps of one size",
        ))
    }
}

/// Refuses a size without positions.
fn check_size(size: &[usize]) -> Result<(), ShapeError> {
    if !size.is_empty() && !size.contains(&0) {
        return Ok(());
    }
    Err(ShapeError::new(
        NAME,
        format!("the size is {size:?}"),
        "Every axis needs a position",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;
    use burn::tensor::Device;

    #[test]
    fn labels_that_are_no_map_are_refused() {
        let text = |size: &[usize], labels: usize| {
            let map = LabelMap::new(size, vec![0; labels]);
            map.unwrap_err().to_string()
        };
        assert_eq!(
            text(&[2, 3], 5),
            "LabelMap: 5 labels for the size [2, 3]. Give one label for each position."
        );
        assert_eq!(
            text(&[2, 0], 0),
            "LabelMap: the size is [2, 0]. Every axis needs a position."
        );
        assert_eq!(
            text(&[usize::MAX, 2], 0),
            "LabelMap: 0 labels for the size [18446744073709551615, 2]. Give one label for each position."
        );
        let empty = Tensor::<3, Int>::zeros([2, 0, 3], &Device::flex());
        let error = LabelMap::try_of_batch(&empty).unwrap_err();
        assert_eq!(error.problem, "the size is [0, 3]");
    }
}
