//! [`LazyConcat`]: a lazy concatenation.

use alloc::{format, vec, vec::Vec};

use burn::tensor::{DType, Tensor};

use super::deferred_norm::DeferredNorm;
use super::{dispatch, nearest};
use crate::shape::{ShapeError, axis_name, check_not_empty, expect};

/// A feature map in a lazy concatenation, and how it is read.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, conv::{ConvConfig, Part, LazyConcat}};
///
/// let device = Device::flex();
/// let part = Part::new(Tensor::<4>::ones([1, 4, 8, 8], &device));
/// assert_eq!(part.dims(), [1, 4, 8, 8]);
/// // One part is a concatenation too.
/// let conv = ConvConfig::new([4, 2], 1).init::<4>(&device);
/// assert_eq!(conv.forward_parts(LazyConcat::from(part)).into_tensor().dims(), [1, 2, 8, 8]);
/// ```
#[derive(Clone, Debug)]
pub struct Part<const R: usize = 4> {
    pub(super) map: Tensor<R>,
    /// How often each position is repeated along each spatial axis: nearest upsampling by a whole factor.
    pub(super) factors: Vec<usize>,
    /// Mean and variance of each channel of the map, computed on first use.
    #[cfg(feature = "kernels")]
    moments: alloc::sync::Arc<std::sync::OnceLock<dispatch::Moments>>,
    /// The norm that is applied while the map is read, before it is enlarged.
    pub(super) norm: Option<DeferredNorm>,
}

impl<const R: usize> Part<R> {
    /// A map that is read without change.
    pub fn new(map: Tensor<R>) -> Self {
        Self {
            factors: vec![1; R - 2],
            #[cfg(feature = "kernels")]
            moments: Default::default(),
            norm: None,
            map,
        }
    }

    /// A map that is read through a norm.
    pub(super) fn normed(map: Tensor<R>, norm: DeferredNorm) -> Self {
        Self {
            norm: Some(norm),
            ..Self::new(map)
        }
    }

    /// The shape of the map as it is read, after enlargement.
    pub fn dims(&self) -> [usize; R] {
        let mut dims = self.map.dims();
        for (size, factor) in dims[2..].iter_mut().zip(&self.factors) {
            *size *= factor;
        }
        dims
    }

    /// Mean and variance of each channel of the map. (Enlargement does not change them.)
    #[cfg(feature = "kernels")]
    pub(super) fn moments(&self) -> dispatch::Moments {
        let compute = || dispatch::moments(&self.map);
        self.moments.get_or_init(compute).clone()
    }

    /// Materialises the map: applies the norm and the enlargement.
    pub fn into_tensor(self) -> Tensor<R> {
        let map = match &self.norm {
            Some(norm) => dispatch::normalize(self.map, norm),
            None => self.map,
        };
        nearest::enlarge(map, &self.factors)
    }
}

/// A lazy concatenation: feature maps that stand for their concatenation on the channels, without a copy.
///
/// Layers pass it on with [`forward_parts`](crate::Layer::forward_parts); a convolution reads the maps where they are,
/// since `conv(concat([a, b]), w) = conv(a, w_a) + conv(b, w_b)`.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, block::ConvNormActConfig, conv::{Part, LazyConcat}};
///
/// let device = Device::flex();
/// let [a, b] = [4, 2].map(|channels| Tensor::<4>::ones([1, channels, 8, 8], &device));
/// let parts = LazyConcat::new(vec![Part::new(a), Part::new(b)]);
/// assert_eq!(parts.dims(), [1, 6, 8, 8]);
/// let conv = ConvNormActConfig::new([6, 3], 3).init::<4>(&device);
/// assert_eq!(conv.forward_parts(parts).into_tensor().dims(), [1, 3, 8, 8]);
/// ```
#[derive(Clone, Debug)]
pub struct LazyConcat<const R: usize = 4>(Vec<Part<R>>);

impl<const R: usize> From<Tensor<R>> for LazyConcat<R> {
    fn from(map: Tensor<R>) -> Self {
        Self(vec![Part::new(map)])
    }
}

impl<const R: usize> From<Part<R>> for LazyConcat<R> {
    fn from(part: Part<R>) -> Self {
        Self(vec![part])
    }
}

impl<const R: usize> LazyConcat<R> {
    /// The concatenation of `parts`, which must have the same batch and spatial size.
    ///
    /// # Panics
    /// When there are no parts, or they differ in anything but their channels.
    pub fn new(parts: Vec<Part<R>>) -> Self {
        let shapes: Vec<_> = parts.iter().map(Part::dims).collect();
        expect(check_parts(&shapes));
        Self(parts)
    }

    /// The shape of the concatenation.
    pub fn dims(&self) -> [usize; R] {
        let mut dims = self.0[0].dims();
        dims[1] = self.0.iter().map(|part| part.dims()[1]).sum();
        dims
    }

    /// The concatenation with each position repeated so many times along each spatial axis.
    pub(crate) fn enlarged(mut self, factors: &[usize]) -> Self {
        for part in &mut self.0 {
            for (all, more) in part.factors.iter_mut().zip(factors) {
                *all *= more;
            }
        }
        self
    }

    /// The type of the values.
    pub(crate) fn dtype(&self) -> DType {
        self.0[0].map.dtype()
    }

    /// These maps, followed by `more`.
    pub(crate) fn then(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }

    /// The parts.
    pub fn into_inner(self) -> Vec<Part<R>> {
        self.0
    }

    #[cfg(feature = "kernels")]
    pub(super) fn as_slice(&self) -> &[Part<R>] {
        &self.0
    }

    /// Materialises the concatenation. A single map is returned without a copy.
    pub fn into_tensor(self) -> Tensor<R> {
        let mut maps: Vec<_> = self.0.into_iter().map(Part::into_tensor).collect();
        match maps.len() {
            1 => maps.remove(0),
            _ => Tensor::cat(maps, 1),
        }
    }
}

/// Checks that maps of these shapes can be concatenated on the channels.
fn check_parts<const R: usize>(shapes: &[[usize; R]]) -> Result<(), ShapeError> {
    const NAME: &str = "LazyConcat";
    let Some((first, others)) = shapes.split_first() else {
        return Err(ShapeError::new(
            NAME,
            "there are no maps",
            "Give at least one",
        ));
    };
    check_not_empty(NAME, *first)?;
    for (index, other) in others.iter().enumerate() {
        check_not_empty(NAME, *other)?;
        let differs = |&axis: &usize| axis != 1 && first[axis] != other[axis];
        if let Some(axis) = (0..R).find(differs) {
            let axis_name = axis_name(axis, R);
            return Err(ShapeError::new(
                NAME,
                format!(
                    "{axis_name} differs: map 0 has {}, map {} has {}",
                    first[axis],
                    index + 1,
                    other[axis]
                ),
                "Fit the maps to one size first",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_that_differ_in_more_than_the_channels_are_refused() {
        let text = |shapes: &[[usize; 4]]| check_parts(shapes).unwrap_err().to_string();
        assert!(check_parts(&[[1, 2, 4, 4], [1, 3, 4, 4]]).is_ok());
        assert_eq!(
            text(&[[1, 2, 4, 4], [1, 2, 4, 4], [1, 3, 4, 5]]),
            "LazyConcat: width differs: map 0 has 4, map 2 has 5. Fit the maps to one size first."
        );
        assert_eq!(
            text(&[]),
            "LazyConcat: there are no maps. Give at least one."
        );
    }
}
