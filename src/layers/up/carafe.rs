//! [`Carafe`]: each new position is a weighted sum of the neighbourhood of the old one, by weights of its content.

use alloc::{format, string::String, vec::Vec};

use burn::module::Module;
use burn::nn::Initializer;
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, ops::PadMode};

use super::NAME;
use super::shuffle::trace_shuffle;
use crate::graph::{Map, Op, Planner, Record};
use crate::layers::conv::{Conv, ConvConfig};
use crate::layers::layer::Layer;
use crate::layers::pixel_shuffle::{BlockOrder, pixel_shuffle};
use crate::plan::Trace;
use crate::shape::{ShapeError, check_not_huge, check_positive, with_channels};

/// The numbers of a [`Carafe`] for maps of so many spatial axes.
pub(super) struct Reassembly {
    /// The channels of the map.
    pub channels: usize,
    /// The channels that the weights are computed from.
    pub compressed: usize,
    /// The size of the neighbourhood on each axis.
    pub kernel_size: Vec<usize>,
    /// The size of the kernel that computes the weights, on each axis.
    pub encoder_kernel_size: Vec<usize>,
    /// By how much each axis grows.
    pub scale: Vec<usize>,
}

/// The spread of the weights of the second convolution to begin with, as mmcv's: all neighbours count nearly the same.
const SPREAD: f64 = 0.001;

impl Reassembly {
    /// How many neighbours each position has, itself among them.
    fn neighbours(&self) -> usize {
        self.kernel_size
            .iter()
            .copied()
            .fold(1, usize::saturating_mul)
    }

    /// How many positions one becomes.
    fn cell(&self) -> usize {
        self.scale.iter().copied().fold(1, usize::saturating_mul)
    }

    /// Refuses neighbourhoods without a centre, and numbers that are too large.
    pub(super) fn check(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "compressed_channels", self.compressed)?;
        if let Some(even) = self.kernel_size.iter().find(|&size| size % 2 == 0) {
            return Err(ShapeError::new(
                NAME,
                format!("kernel_size is {even}, and a neighbourhood of CARAFE has a centre"),
                "Choose an odd kernel_size, such as 5",
            ));
        }
        let weights = self.neighbours().saturating_mul(self.cell());
        check_not_huge(NAME, "the number of weights of CARAFE", weights)?;
        let channels = self.channels.saturating_mul(self.cell());
        check_not_huge(NAME, "the channels before the pixel shuffle", channels)
    }

    /// The convolutions that compute the weights.
    fn convs(&self) -> [ConvConfig; 2] {
        let encoded = self.neighbours().saturating_mul(self.cell());
        let kernel = self.encoder_kernel_size.clone();
        let initializer = Initializer::Normal {
            mean: 0.0,
            std: SPREAD,
        };
        [
            ConvConfig::new([self.channels, self.compressed], 1),
            ConvConfig::new([self.compressed, encoded], kernel).with_initializer(initializer),
        ]
    }

    pub(super) fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        target: &[usize],
    ) -> Result<Map<R>, ShapeError> {
        let [compress, encode] = self.convs();
        let compressed = compress.trace(planner.at(String::from("layer.compress")), x)?;
        let weights = encode.trace(planner.at(String::from("layer.encode")), &compressed)?;
        let softmax = Op::Softmax {
            channels: self.neighbours(),
        };
        let weights = planner.at("").leaf("Softmax", &[&weights], || {
            Ok(Record::new(softmax, weights.shape).on_grid_of(&weights))
        })?;
        let op = Op::Reassemble {
            kernel_size: self.kernel_size.clone(),
        };
        let output = with_channels(x.shape, self.channels.saturating_mul(self.cell()));
        let sums = planner.leaf("Reassemble", &[x, &weights], || {
            Ok(Record::new(op, output).on_grid_of(x))
        })?;
        let cells = (self.scale.clone(), BlockOrder::ChannelMajor);
        trace_shuffle(planner, "CARAFE", &sums, self.channels, target, cells)
    }

    pub(super) fn init<const R: usize>(&self, device: &Device) -> Carafe<R> {
        let [compress, encode] = self.convs();
        Carafe {
            compress: compress.init(device),
            encode: encode.init(device),
        }
    }
}

/// Content-aware reassembly of features (CARAFE, arXiv:1905.02188, section 3): the weights of an enlargement
/// [`UpConfig::Carafe`](super::UpConfig::Carafe).
///
/// With `k` neighbours on an axis and the scale `s`, in two dimensions:
/// `y[c, s h + i, s w + j] = sum_(n, m) w[n, m, i, j, h, w] x[c, h + n, w + m]`, where `n` and `m` are of `-k/2..=k/2`,
/// positions outside of the map count as zeros, and `w = softmax_(n, m)(encode(compress(x)))`; mmcv's `CARAFEPack`
/// with one group.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::up::{UpConfig, UpLayer};
///
/// let up = UpConfig::carafe().init::<4>([32, 32], &Device::flex());
/// let UpLayer::Carafe(carafe) = up.layer else { unreachable!() };
/// assert_eq!(carafe.compress.config.channels, [32, 64]);
/// assert_eq!(carafe.encode.config.channels, [64, 5 * 5 * 2 * 2]);
/// ```
#[derive(Module, Debug)]
pub struct Carafe<const R: usize = 4> {
    /// The 1x1 convolution to fewer channels.
    pub compress: Conv<R>,
    /// The convolution to a weight for each neighbour and each new position, before the softmax.
    pub encode: Conv<R>,
}

impl<const R: usize> Carafe<R> {
    /// The sums over the neighbourhoods: those of the new positions of a cell are channels, which a pixel shuffle
    /// spreads. So nothing is enlarged but the result, and no tensor has more than four axes.
    pub(super) fn forward(&self, x: Tensor<R>, reassembly: &Reassembly) -> Tensor<R> {
        let mut shape = x.dims();
        let ([batch, channels], size) = ([shape[0], shape[1]], shape);
        let (neighbours, cell) = (reassembly.neighbours(), reassembly.cell());
        let positions: usize = shape[2..].iter().product();
        let encoded = self.encode.forward(self.compress.forward(x.clone()));
        let weights = softmax(encoded.reshape([batch, neighbours, cell, positions]), 1);
        let kernel = &reassembly.kernel_size;
        let pads: Vec<_> = kernel.iter().map(|size| (size / 2, size / 2)).collect();
        let padded = x.pad(pads, PadMode::Constant(0.0));
        let product = |neighbour: usize| {
            let mut rest = neighbour;
            // The last axis varies fastest.
            let shifted = (0..R - 2).rev().fold(padded.clone(), |x, n| {
                let start = rest % kernel[n];
                rest /= kernel[n];
                x.narrow(2 + n, start, size[2 + n])
            });
            let weight = weights.clone().narrow(1, neighbour, 1);
            shifted.reshape([batch, channels, 1, positions]) * weight
        };
        let sum = (1..neighbours).fold(product(0), |sum, neighbour| sum + product(neighbour));
        shape[1] = channels * cell;
        let sums = sum.reshape(shape);
        pixel_shuffle(sums, &reassembly.scale, BlockOrder::ChannelMajor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::up::{UpConfig, UpLayer};
    use alloc::string::ToString;
    use burn::module::Param;

    #[test]
    fn values() {
        let device = Device::flex();
        let config = UpConfig::Carafe {
            scale: 2.into(),
            kernel_size: 3.into(),
            encoder_kernel_size: 1.into(),
            compressed_channels: 1,
        };
        let mut up = config.init::<3>([1, 1], &device);
        let UpLayer::Carafe(carafe) = &mut up.layer else {
            unreachable!()
        };
        // The weights of the neighbours before, here and behind are softmax(0, 0, ln 2) for the first position of a
        // cell, and softmax(ln 2, 0, 0) for the second.
        let ln2 = core::f32::consts::LN_2;
        carafe.encode.weight = Param::from_tensor(Tensor::zeros([6, 1, 1], &device));
        let bias = Tensor::from_floats([0.0, ln2, 0.0, 0.0, ln2, 0.0], &device);
        carafe.encode.bias = Some(Param::from_tensor(bias));
        let x = Tensor::from_floats([[[4.0, 8.0, 12.0]]], &device);
        let y: Vec<f32> = up.forward(x).to_data().try_to_vec().unwrap();
        let expected = [5.0, 3.0, 9.0, 7.0, 5.0, 7.0];
        for (y, expected) in y.iter().zip(expected) {
            assert!((y - expected).abs() < 1e-5, "{y} is not {expected}");
        }
    }

    #[test]
    fn an_enlargement_that_cannot_be_built_is_refused() {
        let text = |kernel_size: usize, compressed_channels| {
            let config = UpConfig::Carafe {
                scale: 2.into(),
                kernel_size: kernel_size.into(),
                encoder_kernel_size: 3.into(),
                compressed_channels,
            };
            let error = config.output_shape([4, 4], [1, 4, 6, 6]).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            text(4, 8),
            "Up: kernel_size is 4, and a neighbourhood of CARAFE has a centre. Choose an odd kernel_size, such as 5."
        );
        assert_eq!(
            text(5, 0),
            "Up: compressed_channels is 0. Set compressed_channels to 1 or more."
        );
        let error = UpConfig::carafe()
            .output_shape_to([4, 4], [1, 4, 6, 6], &[12, 15])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "Up: CARAFE takes width 6 to 12, and 15 is wanted. Choose a fit for the rest (Fit::PadOrCrop, Fit::Resize), \
             or UpConfig::Resize."
        );
    }
}
