//! [`Layer`](super::layer::Layer) for the layers of `burn::nn`.

mod activations;
mod norms;
mod windows;

pub(crate) use norms::normalize;

#[cfg(test)]
mod tests {
    use crate::layers::layer::Layer;
    use crate::plan::Trace;
    use crate::shape::ShapeError;
    use alloc::string::ToString;
    use burn::nn::activation::Activation as BurnActivation;
    use burn::nn::conv::{
        Conv1dConfig, Conv2dConfig, Conv3dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig,
    };
    use burn::nn::pool::{
        AdaptiveAvgPool2dConfig, AvgPool1dConfig, MaxPool1dConfig, MaxPool2dConfig,
    };
    use burn::nn::{
        BatchNormConfig, GroupNormConfig, PReluConfig, PaddingConfig1d, PaddingConfig2d,
    };
    use burn::tensor::{Device, Tensor};

    /// Where the law gives a shape, Burn gives the same.
    fn assert_law<const R: usize>(layer: &impl Layer<R>, input: [usize; R]) {
        if let Ok(shape) = layer.output_shape(input) {
            let y = layer.forward(Tensor::ones(input, &Device::flex()));
            assert_eq!(y.dims(), shape, "{layer:?} of {input:?}");
        }
    }

    #[test]
    fn windows_of_every_kind() {
        let device = Device::flex();
        for kernel in 1..4 {
            for stride in 1..4 {
                for dilation in 1..3 {
                    for padding in [
                        PaddingConfig1d::Valid,
                        PaddingConfig1d::Same,
                        PaddingConfig1d::Explicit(1, 1),
                        PaddingConfig1d::Explicit(0, 2),
                    ] {
                        let conv = Conv1dConfig::new(2, 3, kernel)
                            .with_stride(stride)
                            .with_dilation(dilation)
                            .with_padding(padding.clone())
                            .init(&device);
                        let pool = |ceil_mode| {
                            MaxPool1dConfig::new(kernel)
                                .with_stride(stride)
                                .with_dilation(dilation)
                                .with_padding(padding.clone())
                                .with_ceil_mode(ceil_mode)
                                .init()
                        };
                        for length in 1..9 {
                            assert_law(&conv, [1, 2, length]);
                            assert_law(&pool(false), [1, 2, length]);
                            assert_law(&pool(true), [1, 2, length]);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn layers_of_other_ranks() {
        let device = Device::flex();
        let same = PaddingConfig2d::Same;
        assert_law(
            &Conv2dConfig::new([2, 4], [3, 2])
                .with_padding(same)
                .with_stride([2, 3])
                .init(&device),
            [1, 2, 7, 8],
        );
        assert_law(
            &Conv3dConfig::new([2, 4], [3, 2, 1])
                .with_stride([2, 1, 1])
                .init(&device),
            [1, 2, 7, 5, 3],
        );
        assert_law(
            &ConvTranspose1dConfig::new([2, 3], 4)
                .with_stride(2)
                .with_padding(1)
                .with_padding_out(1)
                .init(&device),
            [1, 2, 5],
        );
        assert_law(
            &ConvTranspose2dConfig::new([2, 3], [3, 2])
                .with_stride([3, 2])
                .with_dilation([2, 1])
                .init(&device),
            [1, 2, 4, 5],
        );
        assert_law(
            &MaxPool2dConfig::new([2, 3]).with_ceil_mode(true).init(),
            [1, 2, 7, 8],
        );
        assert_law(
            &AvgPool1dConfig::new(2)
                .with_padding(PaddingConfig1d::Explicit(1, 0))
                .init(),
            [1, 2, 7],
        );
        assert_law(&AdaptiveAvgPool2dConfig::new([3, 2]).init(), [1, 2, 7, 8]);
    }

    #[test]
    fn misfits_are_told_before_burn_panics() {
        let device = Device::flex();
        let text = |result: Result<[usize; 4], ShapeError>| result.unwrap_err().to_string();
        let conv = Conv2dConfig::new([3, 8], [5, 5]).init(&device);
        assert_eq!(
            text(conv.output_shape([1, 4, 9, 9])),
            "Conv2d: channels differ: expected 3, got 4. Build the layer for 4 input channels, or project the map to 3 with a 1x1 convolution."
        );
        assert!(
            text(conv.output_shape([1, 3, 4, 9]))
                .starts_with("Conv2d: height 4 with padding 0 + 0 is smaller")
        );
        let batch = BatchNormConfig::new(4).init(&device);
        assert!(text(batch.output_shape([1, 3, 4, 4])).starts_with("BatchNorm: channels differ"));
        let group = GroupNormConfig::new(2, 4).init(&device);
        assert!(text(group.output_shape([1, 3, 4, 4])).starts_with("GroupNorm: channels differ"));
        let prelu = PReluConfig::new().with_num_parameters(4).init(&device);
        assert!(text(prelu.output_shape([1, 3, 4, 4])).starts_with("PRelu: channels differ"));
        let swiglu = burn::nn::SwiGluConfig::new(4, 4).init(&device);
        assert!(
            text(BurnActivation::SwiGlu(swiglu).output_shape([1, 3, 4, 4])).contains("last axis")
        );
    }
}
