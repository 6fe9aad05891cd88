//! How weights start: the default, the check of an [`Initializer`], and the weights of a convolution.

use alloc::{format, string::String, vec::Vec};

use burn::module::Param;
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};

use crate::shape::ShapeError;

/// PyTorch's and Burn's default: uniform within `±1 / sqrt(fan_in)`.
pub(crate) fn default_initializer() -> Initializer {
    Initializer::KaimingUniform {
        gain: 0.577_350_269_189_625_8, // 1 / sqrt(3)
        fan_out_only: false,
    }
}

/// Refuses numbers for which Burn's initializer panics.
pub(crate) fn check_initializer(layer: &str, initializer: &Initializer) -> Result<(), ShapeError> {
    let refuse = |problem: String, remedy: &str| Err(ShapeError::new(layer, problem, remedy));
    match *initializer {
        Initializer::Uniform { min, max } if !(min.is_finite() && max.is_finite() && min < max) => {
            refuse(
                format!("the initializer is uniform from {min} to {max}"),
                "Choose finite numbers, the first smaller than the second",
            )
        }
        Initializer::Normal { mean, std }
            if !(mean.is_finite() && std.is_finite() && std > 0.0) =>
        {
            refuse(
                format!("the initializer is normal with mean {mean} and deviation {std}"),
                "Choose a finite mean and a positive deviation",
            )
        }
        Initializer::KaimingUniform { gain, .. }
        | Initializer::KaimingNormal { gain, .. }
        | Initializer::XavierUniform { gain }
        | Initializer::XavierNormal { gain }
        | Initializer::Orthogonal { gain }
            if !(gain.is_finite() && gain > 0.0) =>
        {
            refuse(
                format!("the gain of the initializer is {gain}"),
                "Choose a positive gain, or Initializer::Zeros",
            )
        }
        _ => Ok(()),
    }
}

/// A weight `[first, second, kernel...]` and, if wanted, a bias, as Burn's convolutions make them.
pub(super) fn init_weights<const R: usize>(
    initializer: &Initializer,
    [first, second]: [usize; 2],
    kernel_size: &[usize],
    bias: Option<usize>,
    device: &Device,
) -> (Param<Tensor<R>>, Option<Param<Tensor<1>>>) {
    let taps: usize = kernel_size.iter().product();
    let (fan_in, fan_out) = (Some(second * taps), Some(first * taps));
    let shape: Vec<usize> = [first, second].iter().chain(kernel_size).copied().collect();
    let weight = initializer.init_with(shape, fan_in, fan_out, device);
    // (A bias is no matrix that could be orthogonal.)
    let of_bias = match initializer {
        Initializer::Orthogonal { .. } => &Initializer::Zeros,
        other => other,
    };
    let bias = bias.map(|channels| of_bias.init_with([channels], fan_in, fan_out, device));
    (weight, bias)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::{ConvConfig, ConvTransposeConfig};
    use alloc::string::ToString;

    #[test]
    fn initializers_that_cannot_start_are_refused() {
        let gain = 0.0;
        let fan_out_only = false;
        for initializer in [
            Initializer::KaimingUniform { gain, fan_out_only },
            Initializer::KaimingNormal { gain, fan_out_only },
            Initializer::XavierUniform { gain: -1.0 },
            Initializer::XavierNormal { gain: f64::NAN },
            Initializer::Uniform { min: 1.0, max: 1.0 },
            Initializer::Normal {
                mean: 0.0,
                std: f64::INFINITY,
            },
        ] {
            let conv = ConvConfig::new([2, 2], 3).with_initializer(initializer.clone());
            let error = conv.validate::<4>().unwrap_err().to_string();
            assert!(error.starts_with("Conv: the "), "{error}");
            let up = ConvTransposeConfig::new([2, 2], 2, 2).with_initializer(initializer);
            assert!(up.validate::<4>().is_err());
        }
        assert_eq!(
            ConvConfig::new([2, 2], 3)
                .with_initializer(Initializer::XavierUniform { gain: 0.0 })
                .validate::<4>()
                .unwrap_err()
                .to_string(),
            "Conv: the gain of the initializer is 0. Choose a positive gain, or Initializer::Zeros."
        );
    }

    #[test]
    fn an_orthogonal_weight_has_a_bias_of_zeros() {
        let conv = ConvConfig::new([2, 2], 3)
            .with_initializer(Initializer::Orthogonal { gain: 1.0 })
            .init::<4>(&Device::flex());
        let bias = conv
            .bias
            .map(|bias| bias.val().to_data().try_to_vec::<f32>().unwrap());
        assert_eq!(bias, Some(alloc::vec![0.0, 0.0]));
    }
}
