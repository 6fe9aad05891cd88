//! [`Parts`]: a concatenation that need not exist.

use alloc::{vec, vec::Vec};

use burn::tensor::{DType, Tensor};

use crate::cpu::{self, PendingNorm};
use crate::layers::resize::{ResizeMode, resize};
use crate::shape::spatial;

/// A map of a concatenation, and how it is read.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, conv::{ConvConfig, Part, Parts}};
///
/// let device = Device::flex();
/// let part = Part::new(Tensor::<4>::ones([1, 4, 8, 8], &device));
/// assert_eq!(part.dims(), [1, 4, 8, 8]);
/// // One part is a concatenation too.
/// let conv = ConvConfig::new([4, 2], 1).init::<4>(&device);
/// assert_eq!(conv.forward_parts(Parts::from(part)).into_tensor().dims(), [1, 2, 8, 8]);
/// ```
#[derive(Clone, Debug)]
pub struct Part<const R: usize = 4> {
    pub(crate) map: Tensor<R>,
    /// Each position is read so many times along each spatial axis: nearest upsampling by a whole factor.
    pub(crate) factors: Vec<usize>,
    /// Mean and variance of each channel of the map, once they were asked for.
    #[cfg(feature = "kernels")]
    moments: alloc::sync::Arc<std::sync::OnceLock<[Tensor<1>; 2]>>,
    /// The norm that it is read through, before it is enlarged.
    pub(crate) norm: Option<PendingNorm>,
}

impl<const R: usize> Part<R> {
    /// A map that is read as it is.
    pub fn new(map: Tensor<R>) -> Self {
        Self {
            map,
            factors: vec![1; R - 2],
            #[cfg(feature = "kernels")]
            moments: Default::default(),
            norm: None,
        }
    }

    /// A map that is read through a norm.
    pub(crate) fn normed(map: Tensor<R>, norm: PendingNorm) -> Self {
        Self {
            norm: Some(norm),
            ..Self::new(map)
        }
    }

    /// The shape that is read.
    pub fn dims(&self) -> [usize; R] {
        let mut dims = self.map.dims();
        for (size, factor) in dims[2..].iter_mut().zip(&self.factors) {
            *size *= factor;
        }
        dims
    }

    /// Mean and variance of each channel of the map; enlarged, they are the same.
    #[cfg(feature = "kernels")]
    pub(crate) fn moments(&self) -> [Tensor<1>; 2] {
        let compute = || cpu::moments(&self.map);
        self.moments.get_or_init(compute).clone()
    }

    /// Writes the map as it is read.
    pub fn into_tensor(self) -> Tensor<R> {
        let dims = self.dims();
        let map = match &self.norm {
            Some(norm) => cpu::normalize(self.map, norm, None),
            None => self.map,
        };
        match self.factors.iter().all(|&factor| factor == 1) {
            true => map,
            false => resize(map, spatial(&dims), ResizeMode::Nearest),
        }
    }
}

/// Maps that are one concatenation on the channels, in order, without being written as one.
///
/// A layer hands them on by [`forward_parts`](crate::Layer::forward_parts); a convolution reads them where
/// they are, since `conv(concat([a, b]), w) = conv(a, w_a) + conv(b, w_b)`.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, block::ConvNormActConfig, conv::{Part, Parts}};
///
/// let device = Device::flex();
/// let [a, b] = [4, 2].map(|channels| Tensor::<4>::ones([1, channels, 8, 8], &device));
/// let parts = Parts::new(vec![Part::new(a), Part::new(b)]);
/// assert_eq!(parts.dims(), [1, 6, 8, 8]);
/// let conv = ConvNormActConfig::new([6, 3], 3).init::<4>(&device);
/// assert_eq!(conv.forward_parts(parts).into_tensor().dims(), [1, 3, 8, 8]);
/// ```
#[derive(Clone, Debug)]
pub struct Parts<const R: usize = 4>(Vec<Part<R>>);

impl<const R: usize> From<Tensor<R>> for Parts<R> {
    fn from(map: Tensor<R>) -> Self {
        Self(vec![Part::new(map)])
    }
}

impl<const R: usize> From<Part<R>> for Parts<R> {
    fn from(part: Part<R>) -> Self {
        Self(vec![part])
    }
}

impl<const R: usize> Parts<R> {
    /// The concatenation of `parts`, which have the same batch and size.
    ///
    /// # Panics
    /// When there is none, or they differ in anything but their channels.
    pub fn new(parts: Vec<Part<R>>) -> Self {
        let shapes: Vec<_> = parts.iter().map(Part::dims).collect();
        crate::shape::expect(crate::fuse::merge::Merge::concat().output_shape(&shapes));
        Self(parts)
    }

    /// The shape of the concatenation.
    pub fn dims(&self) -> [usize; R] {
        let mut dims = self.0[0].dims();
        dims[1] = self.0.iter().map(|part| part.dims()[1]).sum();
        dims
    }

    /// The same, of which each position is read so many times along each spatial axis.
    pub(crate) fn enlarged(mut self, factors: &[usize]) -> Self {
        for part in &mut self.0 {
            for (all, more) in part.factors.iter_mut().zip(factors) {
                *all *= more;
            }
        }
        self
    }

    /// What the values are.
    pub(crate) fn dtype(&self) -> DType {
        self.0[0].map.dtype()
    }

    /// These, and after them `more`.
    pub(crate) fn then(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }

    /// The parts.
    pub fn into_inner(self) -> Vec<Part<R>> {
        self.0
    }

    #[cfg(feature = "kernels")]
    pub(crate) fn as_slice(&self) -> &[Part<R>] {
        &self.0
    }

    /// Writes the concatenation, unless it is one map already.
    pub fn into_tensor(self) -> Tensor<R> {
        let mut maps: Vec<_> = self.0.into_iter().map(Part::into_tensor).collect();
        match maps.len() {
            1 => maps.remove(0),
            _ => Tensor::cat(maps, 1),
        }
    }
}
