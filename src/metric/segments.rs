//! [`Segments`]: the objects of one image, each with a class.

use alloc::{collections::BTreeSet, format, vec::Vec};

use burn::tensor::{Int, Tensor};

use super::label_map::LabelMap;
use crate::shape::{ShapeError, expect};

const NAME: &str = "Segments";

/// An object at a position: its class and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    pub class: i64,
    pub instance: i64,
}

impl Segment {
    /// Itself, unless it is background.
    pub fn object(self) -> Option<Self> {
        (self.class != 0 && self.instance != 0).then_some(self)
    }
}

/// The objects (segments) of one image: a position belongs to the object of its class and instance number, and to
/// none if one of them is 0. A region without objects ("stuff", such as sky) has any one number.
///
/// # Example
/// ```
/// use burn_skip::metric::{Connectivity, LabelMap, Segments};
///
/// // The objects of a semantic segmentation are its connected regions.
/// let classes = LabelMap::new([6], vec![1, 1, 0, 1, 2, 2]).unwrap();
/// let instances = classes.connected_components(Connectivity::Faces).map;
/// let segments = Segments::new(&instances, &classes).unwrap();
/// assert_eq!(segments.count(), 3);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Segments {
    pub(super) size: Vec<usize>,
    pub(super) segments: Vec<Segment>,
}

impl Segments {
    /// Objects by their instance numbers and classes.
    ///
    /// # Errors
    /// When the maps have different sizes.
    pub fn new(instances: &LabelMap, classes: &LabelMap) -> Result<Self, ShapeError> {
        instances.check_same_size(classes, NAME)?;
        let positions = instances.labels().iter().zip(classes.labels());
        let segment = |(&instance, &class)| Segment { class, instance };
        Ok(Self {
            size: instances.size().to_vec(),
            segments: positions.map(segment).collect(),
        })
    }

    /// Objects by their instance numbers, all of class 1.
    pub fn of_one_class(instances: &LabelMap) -> Self {
        let segment = |&instance| Segment { class: 1, instance };
        Self {
            size: instances.size().to_vec(),
            segments: instances.labels().iter().map(segment).collect(),
        }
    }

    /// The objects of each image of a batch.
    ///
    /// # Shapes
    /// - `instances`, `classes`: `[batch, spatial...]`, without an axis of channels
    ///
    /// # Panics
    /// When [`try_of_batch`](Self::try_of_batch) returns an error, with its message.
    pub fn of_batch<const L: usize>(
        instances: &Tensor<L, Int>,
        classes: &Tensor<L, Int>,
    ) -> Vec<Self> {
        expect(Self::try_of_batch(instances, classes))
    }

    /// As [`of_batch`](Self::of_batch).
    ///
    /// # Errors
    /// When the shapes differ, there is no spatial axis or an empty one, or a tensor cannot be read.
    pub fn try_of_batch<const L: usize>(
        instances: &Tensor<L, Int>,
        classes: &Tensor<L, Int>,
    ) -> Result<Vec<Self>, ShapeError> {
        let shapes = [instances, classes].map(|labels| labels.dims());
        if shapes[0] != shapes[1] {
            return Err(ShapeError::new(
                NAME,
                format!(
                    "the instances have the shape {:?}, the classes {:?}",
                    shapes[0], shapes[1]
                ),
                "Give both as [batch, spatial...], of one size",
            ));
        }
        let instances = LabelMap::try_of_batch(instances)?;
        let classes = LabelMap::try_of_batch(classes)?;
        let images = instances.iter().zip(&classes);
        images
            .map(|(instances, classes)| Self::new(instances, classes))
            .collect()
    }

    /// How many objects there are.
    pub fn count(&self) -> usize {
        let objects = self.segments.iter().filter_map(|segment| segment.object());
        objects.collect::<BTreeSet<_>>().len()
    }
}
