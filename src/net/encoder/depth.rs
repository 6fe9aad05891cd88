//! [`EncoderConfig::with_depth`]: an encoder up to one of its feature maps.

use alloc::format;

use super::EncoderConfig;
use crate::shape::ShapeError;

impl EncoderConfig {
    /// The encoder with its first `depth` feature maps, the finest ones: segmentation_models.pytorch's `encoder_depth`, for
    /// encoders whose finest map has half the size of the image. What comes after them is left out, and has no parameters
    /// here.
    ///
    /// # Errors
    /// When the encoder has fewer maps, or nothing but its first convolution would be left.
    ///
    /// # Example
    /// ```
    /// use burn_skip::net::{EncoderConfig, ResNetEncoderConfig, SegmentationConfig};
    /// use burn_skip::Trace;
    ///
    /// let resnet = EncoderConfig::ResNet(ResNetEncoderConfig::resnet34());
    /// let shallow = resnet.with_depth(3).unwrap();
    /// assert_eq!(shallow.feature_channels(), [64, 64, 128]);
    /// let net = SegmentationConfig::smp_unet(shallow, 2);
    /// assert_eq!(net.output_shape([1, 3, 64, 96]).unwrap(), [1, 2, 64, 96]);
    /// ```
    pub fn with_depth(mut self, depth: usize) -> Result<Self, ShapeError> {
        let maps = self.feature_channels().len();
        let least = 1 + usize::from(self.begins_with_stem());
        if !(least..=maps).contains(&depth) {
            return Err(ShapeError::new(
                "EncoderConfig",
                format!("the depth is {depth}, and the encoder has {maps} feature maps"),
                format!("Choose {least} to {maps}"),
            ));
        }
        if depth == maps {
            return Ok(self);
        }
        match &mut self {
            Self::Plain(config) => config.widths.truncate(depth),
            Self::ResNet(config) => config.depths.truncate(depth - 1),
            Self::DenseNet(config) => config.truncate(depth),
            Self::ConvNext(config) => {
                config.widths.truncate(depth);
                config.depths.truncate(depth);
            }
            Self::Vgg(config) => {
                let stages = depth + usize::from(!config.full_size_map);
                config.widths.truncate(stages);
                config.depths.truncate(stages);
                config.last_pool = false;
            }
            Self::MobileNetV2(config) => config.truncate(depth),
            Self::MobileNetV3(config) => config.truncate(depth),
            Self::EfficientNet(config) => config.truncate(depth),
            Self::Mit(config) => config.stages.truncate(depth),
            Self::Staged(config) => config.stages.truncate(depth),
        }
        Ok(self)
    }

    /// Whether the finest map is that of the first convolution, without a block.
    fn begins_with_stem(&self) -> bool {
        match self {
            Self::ResNet(_) | Self::DenseNet(_) => true,
            Self::MobileNetV2(config) => config.begins_with_stem(),
            Self::MobileNetV3(config) => config.begins_with_stem(),
            Self::EfficientNet(config) => config.begins_with_stem(),
            Self::Plain(_) | Self::ConvNext(_) | Self::Vgg(_) | Self::Mit(_) | Self::Staged(_) => {
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Trace;
    use crate::net::{
        ConvNextEncoderConfig, DenseNetEncoderConfig, EfficientNetEncoderConfig, MitEncoderConfig,
        MobileNetV2EncoderConfig, MobileNetV3EncoderConfig, PlainEncoderConfig,
        ResNetEncoderConfig, SegmentationConfig, VggEncoderConfig,
    };
    use alloc::string::ToString;
    use alloc::{vec, vec::Vec};

    /// Every encoder, and the channels of its maps: segmentation_models.pytorch's `out_channels` where it has the encoder.
    fn encoders() -> Vec<(EncoderConfig, Vec<usize>)> {
        let vgg = VggEncoderConfig::vgg16().with_full_size_map(false);
        let plain = PlainEncoderConfig::new(3, vec![8, 16, 24, 32, 40]);
        let efficientnet = EfficientNetEncoderConfig::b0().with_last_channels(None);
        let densenet = |config, last: [usize; 4]| {
            let maps = [[64].as_slice(), &last].concat();
            (EncoderConfig::DenseNet(config), maps)
        };
        vec![
            (EncoderConfig::Plain(plain), vec![8, 16, 24, 32, 40]),
            (
                EncoderConfig::ResNet(ResNetEncoderConfig::resnet18()),
                vec![64, 64, 128, 256, 512],
            ),
            (
                EncoderConfig::ResNet(ResNetEncoderConfig::seresnet50()),
                vec![64, 256, 512, 1024, 2048],
            ),
            densenet(DenseNetEncoderConfig::densenet121(), [256, 512, 1024, 1024]),
            densenet(DenseNetEncoderConfig::densenet169(), [256, 512, 1280, 1664]),
            densenet(DenseNetEncoderConfig::densenet201(), [256, 512, 1792, 1920]),
            (
                EncoderConfig::ConvNext(ConvNextEncoderConfig::tiny()),
                vec![96, 192, 384, 768],
            ),
            (
                EncoderConfig::Mit(MitEncoderConfig::b0()),
                vec![32, 64, 160, 256],
            ),
            (EncoderConfig::Vgg(vgg), vec![128, 256, 512, 512, 512]),
            (
                EncoderConfig::MobileNetV2(MobileNetV2EncoderConfig::new()),
                vec![16, 24, 32, 96, 1280],
            ),
            (
                EncoderConfig::MobileNetV3(MobileNetV3EncoderConfig::large()),
                vec![16, 24, 40, 112, 960],
            ),
            (
                EncoderConfig::MobileNetV3(MobileNetV3EncoderConfig::small()),
                vec![16, 16, 24, 48, 576],
            ),
            (
                EncoderConfig::EfficientNet(efficientnet),
                vec![32, 24, 40, 112, 320],
            ),
        ]
    }

    #[test]
    fn every_encoder_of_every_depth_has_a_unet() {
        let image = [2, 3, 65, 96];
        for (encoder, channels) in encoders() {
            let mut parameters = 0;
            let whole = encoder.feature_shapes(image).unwrap();
            for depth in 3..=channels.len() {
                let name = encoder.clone().with_depth(depth).unwrap();
                assert_eq!(name.feature_channels(), channels[..depth]);
                let sizes = |shapes: &[[usize; 4]]| -> Vec<_> {
                    shapes.iter().map(|shape| [shape[2], shape[3]]).collect()
                };
                let shapes = name.feature_shapes(image).unwrap();
                assert_eq!(sizes(&shapes), sizes(&whole[..depth]));
                let plan = name.plan(image);
                // (VGG's last map is a pool of the one before.)
                assert!(plan.root.total_parameters() >= parameters);
                parameters = plan.root.total_parameters();
                let unet = SegmentationConfig::smp_unet(name, 2);
                let plan = Trace::plan(&unet, image);
                assert!(plan.error().is_none(), "{:?}", plan.error());
                assert_eq!(unet.output_shape(image), Ok([2, 2, 65, 96]));
            }
        }
    }

    #[test]
    fn the_deepest_map_of_fewer_stages_has_no_last_convolution() {
        let config = EncoderConfig::MobileNetV2(MobileNetV2EncoderConfig::new());
        let EncoderConfig::MobileNetV2(config) = config.with_depth(4).unwrap() else {
            unreachable!()
        };
        assert_eq!((config.stages.len(), config.last_channels), (5, None));
    }

    #[test]
    fn a_depth_that_the_encoder_has_not_is_refused() {
        let resnet = || EncoderConfig::ResNet(ResNetEncoderConfig::resnet18());
        for depth in [1, 6] {
            assert_eq!(
                resnet().with_depth(depth).unwrap_err().to_string(),
                alloc::format!(
                    "EncoderConfig: the depth is {depth}, and the encoder has 5 feature maps. Choose 2 to 5."
                )
            );
        }
    }
}
