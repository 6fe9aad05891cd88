//! [`SurfaceDistances`]: how far the surfaces of a predicted and a true region are apart.

use alloc::{format, vec, vec::Vec};

use burn::tensor::{Int, Tensor};

use super::distance::resolve_spacing;
use super::label_map::LabelMap;
use super::reduction::mean_of_defined;
use super::surface_score::Surface;
use crate::distance_transform::squared_distances;
use crate::distance_transform::strides;
use crate::shape::{ShapeError, expect};

const NAME: &str = "SurfaceDistances";

/// The distances between the surfaces of two regions.
///
/// The surface of a region are its positions that have a neighbour (sharing a face) outside of it or lie at the
/// edge of the map: what a binary erosion takes away. Any number of axes.
///
/// What the scores are where a region is empty, as MONAI has it:
///
/// | empty | Hausdorff and average distances | surface Dice |
/// | --- | --- | --- |
/// | both | NaN | NaN |
/// | one of them | infinite | 0 |
///
/// (MONAI 1.6 has NaN for a percentile of infinite distances; here it is infinite.) [`mean_of_defined`] is the mean
/// over images or classes that leaves NaN out.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::metric::{SurfaceDistances, mean_of_defined};
///
/// let device = Device::flex();
/// let predicted = Tensor::<3, Int>::from_ints([[[1, 1, 0], [1, 1, 0]], [[0, 0, 0], [0, 0, 0]]], &device);
/// let labels = Tensor::<3, Int>::from_ints([[[0, 1, 1], [0, 1, 1]], [[0, 0, 0], [0, 0, 0]]], &device);
/// // Rows are 2 apart, columns 0.5.
/// let images = SurfaceDistances::of_batch(&predicted, &labels, 1, &[2.0, 0.5]);
/// assert_eq!(images[0].hausdorff(), 0.5);
/// assert_eq!(images[0].average_symmetric(), 0.25);
/// assert!(images[1].hausdorff().is_nan());
/// assert_eq!(mean_of_defined(images.iter().map(|image| image.hausdorff())), 0.5);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SurfaceDistances {
    from_predicted: Vec<f64>,
    from_truth: Vec<f64>,
}

impl SurfaceDistances {
    /// Between the regions of `label` in two maps. `spacing` is the distance of neighbours, one number or one for
    /// each axis.
    ///
    /// # Errors
    /// When the maps have different sizes, or the spacing is not positive or has another number of axes.
    pub fn between(
        predicted: &LabelMap,
        truth: &LabelMap,
        label: i64,
        spacing: &[f64],
    ) -> Result<Self, ShapeError> {
        predicted.check_same_size(truth, NAME)?;
        let spacing = resolve_spacing(NAME, spacing, truth.size().len())?;
        let masks = [predicted, truth].map(|map| map.mask(label));
        let Some(region) = BoundingBox::of(&masks, truth.size()) else {
            return Ok(Self {
                from_predicted: vec![],
                from_truth: vec![],
            });
        };
        // What lies outside of the box is in neither region, and so nothing there is nearest to anything.
        let surfaces = masks.map(|mask| surface(&region.crop(&mask), &region.size));
        let distances = |from: usize, to: usize| -> Vec<f64> {
            let squares = squared_distances(&surfaces[to], &region.size, &spacing);
            let places = squares.into_iter().zip(&surfaces[from]);
            let on_surface = places.filter(|&(_, &on_surface)| on_surface);
            on_surface.map(|(square, _)| square.sqrt()).collect()
        };
        Ok(Self {
            from_predicted: distances(0, 1),
            from_truth: distances(1, 0),
        })
    }

    /// Between the regions of `label` in each image of a batch.
    ///
    /// # Shapes
    /// - `predicted`, `labels`: `[batch, spatial...]`, without an axis of channels
    /// - `spacing`: one number, or one for each spatial axis
    ///
    /// # Panics
    /// When [`try_of_batch`](Self::try_of_batch) returns an error, with its message.
    pub fn of_batch<const L: usize>(
        predicted: &Tensor<L, Int>,
        labels: &Tensor<L, Int>,
        label: i64,
        spacing: &[f64],
    ) -> Vec<Self> {
        expect(Self::try_of_batch(predicted, labels, label, spacing))
    }

    /// As [`of_batch`](Self::of_batch).
    ///
    /// # Errors
    /// As [`between`](Self::between); when the tensors differ in shape, have an empty axis or cannot be read.
    pub fn try_of_batch<const L: usize>(
        predicted: &Tensor<L, Int>,
        labels: &Tensor<L, Int>,
        label: i64,
        spacing: &[f64],
    ) -> Result<Vec<Self>, ShapeError> {
        let shapes = [predicted, labels].map(|labels| labels.dims());
        if shapes[0] != shapes[1] {
            return Err(ShapeError::new(
                NAME,
                format!(
                    "the prediction has the shape {:?}, the labels {:?}",
                    shapes[0], shapes[1]
                ),
                "Give both as [batch, spatial...], of one size",
            ));
        }
        let predicted = LabelMap::try_of_batch(predicted)?;
        let labels = LabelMap::try_of_batch(labels)?;
        let images = predicted.iter().zip(&labels);
        images
            .map(|(predicted, truth)| Self::between(predicted, truth, label, spacing))
            .collect()
    }

    /// The distance of each position of the predicted surface to the true surface; infinite if that is empty.
    pub fn from_predicted(&self) -> &[f64] {
        &self.from_predicted
    }

    /// The distance of each position of the true surface to the predicted surface; infinite if that is empty.
    pub fn from_truth(&self) -> &[f64] {
        &self.from_truth
    }

    /// The score.
    ///
    /// # Panics
    /// When [`Surface::validate`] returns an error, with its message.
    pub fn score(&self, surface: Surface) -> f64 {
        expect(surface.validate());
        let [predicted, truth] = [&self.from_predicted[..], &self.from_truth];
        if predicted.is_empty() && truth.is_empty() {
            return f64::NAN;
        }
        if predicted.is_empty() || truth.is_empty() {
            return match surface {
                Surface::Dice { .. } => 0.0,
                _ => f64::INFINITY,
            };
        }
        let both = || predicted.iter().chain(truth);
        match surface {
            Surface::Hausdorff { percentile: p } => {
                percentile(predicted, p).max(percentile(truth, p))
            }
            Surface::DirectedHausdorff { percentile: p } => percentile(predicted, p),
            Surface::AverageDistance => mean_of_defined(predicted.iter().copied()),
            Surface::AverageSymmetricDistance => mean_of_defined(both().copied()),
            Surface::Dice { tolerance } => {
                let near = |distance: &&f64| **distance as f32 <= tolerance as f32;
                both().filter(near).count() as f64 / both().count() as f64
            }
        }
    }

    /// The largest distance: [`Surface::Hausdorff`].
    pub fn hausdorff(&self) -> f64 {
        self.score(Surface::Hausdorff { percentile: 100.0 })
    }

    /// A percentile of the distances, mostly 95: [`Surface::Hausdorff`].
    ///
    /// # Panics
    /// When it is not in `[0, 100]`.
    pub fn hausdorff_percentile(&self, percentile: f64) -> f64 {
        self.score(Surface::Hausdorff { percentile })
    }

    /// [`Surface::AverageDistance`]
    pub fn average(&self) -> f64 {
        self.score(Surface::AverageDistance)
    }

    /// [`Surface::AverageSymmetricDistance`]
    pub fn average_symmetric(&self) -> f64 {
        self.score(Surface::AverageSymmetricDistance)
    }

    /// [`Surface::Dice`]
    ///
    /// # Panics
    /// When the tolerance is negative or not finite.
    pub fn surface_dice(&self, tolerance: f64) -> f64 {
        self.score(Surface::Dice { tolerance })
    }
}

/// The percentile of some values, interpolated linearly as by numpy and PyTorch.
fn percentile(values: &[f64], percentile: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = percentile / 100.0 * (sorted.len() - 1) as f64;
    let below = rank.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (rank - below as f64) * (sorted[above] - sorted[below])
}

/// The positions of a region that have a neighbour outside of it or of the map.
fn surface(region: &[bool], size: &[usize]) -> Vec<bool> {
    let strides = strides(size);
    let inner = |position: usize| {
        size.iter().zip(&strides).all(|(&len, &stride)| {
            let coordinate = position / stride % len;
            let inside = coordinate > 0 && coordinate + 1 < len;
            inside && region[position - stride] && region[position + stride]
        })
    };
    let positions = region.iter().enumerate();
    positions
        .map(|(position, &inside)| inside && !inner(position))
        .collect()
}

/// The part of a map that holds two regions.
struct BoundingBox {
    /// The positions of the part in the map, the last axis running fastest.
    positions: Vec<usize>,
    size: Vec<usize>,
}

impl BoundingBox {
    /// None if both regions are empty.
    fn of(masks: &[Vec<bool>; 2], size: &[usize]) -> Option<Self> {
        let strides = strides(size);
        let mut ends: Option<Vec<[usize; 2]>> = None;
        let inside = |&position: &usize| masks.iter().any(|mask| mask[position]);
        for position in (0..masks[0].len()).filter(inside) {
            let coordinate = |axis: usize| position / strides[axis] % size[axis];
            let ends = ends.get_or_insert_with(|| vec![[usize::MAX, 0]; size.len()]);
            for (axis, [first, last]) in ends.iter_mut().enumerate() {
                *first = (*first).min(coordinate(axis));
                *last = (*last).max(coordinate(axis));
            }
        }
        let axes = ends?.into_iter().zip(strides);
        let mut positions = vec![0];
        let mut size = vec![];
        for ([first, last], stride) in axes {
            let along = |start: usize| (first..=last).map(move |place| start + place * stride);
            positions = positions.into_iter().flat_map(along).collect();
            size.push(last - first + 1);
        }
        Some(Self { positions, size })
    }

    fn crop(&self, mask: &[bool]) -> Vec<bool> {
        self.positions
            .iter()
            .map(|&position| mask[position])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use burn::tensor::Device;

    fn distances(size: &[usize], predicted: &[i64], truth: &[i64]) -> SurfaceDistances {
        let map = |labels: &[i64]| LabelMap::new(size, labels.to_vec()).unwrap();
        SurfaceDistances::between(&map(predicted), &map(truth), 1, &[1.0]).unwrap()
    }

    /// The middle of 3 x 3 is not on the surface.
    #[test]
    fn the_inside_of_a_region_does_not_count() {
        let full = [1; 9];
        let ring = [1, 1, 1, 1, 0, 1, 1, 1, 1];
        let found = distances(&[3, 3], &full, &ring);
        assert_eq!(found.from_predicted(), [0.0; 8]);
        assert_eq!(found.from_truth(), [0.0; 8]);
        let hole = [0, 0, 0, 0, 1, 0, 0, 0, 0];
        let found = distances(&[3, 3], &full, &hole);
        assert_eq!(found.from_truth(), [1.0]);
        assert_eq!(found.hausdorff(), 2f64.sqrt());
    }

    #[test]
    fn empty_regions_have_defined_results() {
        let none = distances(&[3], &[0, 0, 0], &[0, 0, 0]);
        let missed = distances(&[3], &[0, 0, 0], &[0, 1, 1]);
        let invented = distances(&[3], &[0, 1, 1], &[0, 0, 0]);
        for surface in [
            Surface::Hausdorff { percentile: 95.0 },
            Surface::DirectedHausdorff { percentile: 100.0 },
            Surface::AverageDistance,
            Surface::AverageSymmetricDistance,
        ] {
            assert!(none.score(surface).is_nan(), "{surface}");
            assert_eq!(missed.score(surface), f64::INFINITY, "{surface}");
            assert_eq!(invented.score(surface), f64::INFINITY, "{surface}");
        }
        assert!(none.surface_dice(1.0).is_nan());
        assert_eq!(missed.surface_dice(1.0), 0.0);
        assert_eq!(invented.surface_dice(1.0), 0.0);
        assert_eq!(missed.from_truth(), [f64::INFINITY; 2]);
    }

    #[test]
    fn percentiles_are_interpolated() {
        let values = [4.0, 1.0, 2.0, 3.0];
        assert_eq!(percentile(&values, 0.0), 1.0);
        assert_eq!(percentile(&values, 50.0), 2.5);
        assert_eq!(percentile(&values, 100.0), 4.0);
        assert_eq!(percentile(&[7.0], 95.0), 7.0);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let map = |size: [usize; 2]| LabelMap::new(size, vec![1; 6]).unwrap();
        let error = SurfaceDistances::between(&map([2, 3]), &map([3, 2]), 1, &[1.0]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "SurfaceDistances: the maps have the sizes [2, 3] and [3, 2]. Compare maps of one size."
        );
        let labels = |batch: usize| Tensor::<2, Int>::zeros([batch, 3], &Device::flex());
        let error = SurfaceDistances::try_of_batch(&labels(1), &labels(2), 1, &[1.0]).unwrap_err();
        assert_eq!(
            error.problem,
            "the prediction has the shape [1, 3], the labels [2, 3]"
        );
    }
}
