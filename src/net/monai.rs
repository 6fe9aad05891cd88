//! The networks of MONAI (`monai.networks.nets`), as configurations.

use alloc::vec::Vec;

use super::{
    EncoderConfig, ResidualActivation, ResidualStage, SegmentationConfig, StageBlock, StageConfig,
    StageEntry, StagedDecoderConfig, StagedEncoderConfig, StagedStepConfig, StepOrder,
};
use crate::fuse::Shortcut;
use crate::fuse::gate::{AttentionGateConfig, GateConfig};
use crate::fuse::merge::{Merge, Order};
use crate::graph::TransposedPadding;
use crate::graph::window::Padding;
use crate::layers::activation::ActivationConfig;
use crate::layers::norm::NormConfig;
use crate::layers::style::{ConvStyle, LayerOrder};
use crate::layers::up::UpConfig;
use crate::shape::{Axis, PerAxis};

/// The groups of SegResNet's norms.
const GROUPS: usize = 8;

/// The levels of V-Net: the channels of the encoder's and of the decoder's, and the convolutions of each, the finest
/// first.
const VNET_WIDTHS: [usize; 5] = [16, 32, 64, 128, 256];
const VNET_CONVS: [usize; 5] = [1, 1, 2, 3, 2];
const VNET_UP_WIDTHS: [usize; 4] = [32, 64, 128, 256];
const VNET_UP_CONVS: [usize; 4] = [1, 1, 2, 2];

/// Convolutions with bias, padded by one position.
fn style(norm: NormConfig, activation: ActivationConfig) -> ConvStyle {
    ConvStyle::new()
        .with_padding(Padding::explicit(1))
        .with_norm(norm)
        .with_activation(activation)
        .with_bias(true)
}

/// The convolutions of MONAI's `Convolution` with its defaults: instance norm, which learns nothing, and PReLU.
fn default_style() -> ConvStyle {
    let prelu = ActivationConfig::PRelu {
        num_parameters: 1,
        alpha: 0.25,
    };
    style(NormConfig::instance(), prelu)
}

/// A concatenation along the channels, the skip first.
const fn skip_first() -> Merge {
    Merge::Concat {
        axis: Axis::Channels,
        order: Order::SkipFirst,
    }
}

fn transposed(kernel_size: impl Into<PerAxis>, stride: impl Into<PerAxis>, bias: bool) -> UpConfig {
    UpConfig::ConvTranspose {
        kernel_size: kernel_size.into(),
        stride: stride.into(),
        padding: TransposedPadding::Solved,
        bias,
    }
}

/// `f` of the numbers of each axis.
fn map_axes(a: &PerAxis, b: &PerAxis, f: impl Fn(usize, usize) -> usize) -> PerAxis {
    match (a, b) {
        (PerAxis::All(a), PerAxis::All(b)) => f(*a, *b).into(),
        (PerAxis::All(a), PerAxis::Each(b)) => {
            b.iter().map(|b| f(*a, *b)).collect::<Vec<_>>().into()
        }
        (PerAxis::Each(a), PerAxis::All(b)) => {
            a.iter().map(|a| f(*a, *b)).collect::<Vec<_>>().into()
        }
        (PerAxis::Each(a), PerAxis::Each(b)) => {
            let pairs = a.iter().zip(b);
            pairs.map(|(a, b)| f(*a, *b)).collect::<Vec<_>>().into()
        }
    }
}

/// A network whose levels are given one by one; its output has the size that the decoder gives.
fn network(
    [in_channels, out_channels]: [usize; 2],
    stages: Vec<StageConfig>,
    decoder: StagedDecoderConfig,
) -> SegmentationConfig {
    let encoder = EncoderConfig::Staged(StagedEncoderConfig::new(in_channels, stages));
    SegmentationConfig::new(encoder, decoder, out_channels).with_resize(None)
}

impl SegmentationConfig {
    /// MONAI's `SegResNet` (arXiv:1810.11654, without the autoencoder): pre-activation residual blocks with group norm
    /// of 8 groups, strided convolutions down, a 1x1 convolution and `up` on the way up, and sums of the maps.
    ///
    /// `channels` are those of the input and of the output, `width` is MONAI's `init_filters`, `blocks_down` and
    /// `blocks_up` are the numbers of residual blocks of each level in MONAI's order (the finest first, and the
    /// coarsest first). `up` is [`UpConfig::linear`] (MONAI's `nontrainable`, its default) or
    /// [`UpConfig::conv_transpose`] (`deconv`).
    ///
    /// # Example
    /// ```
    /// use burn_skip::{Trace, net::SegmentationConfig, up::UpConfig};
    ///
    /// let net = SegmentationConfig::monai_segresnet([1, 2], 8, &[1, 2, 2, 4], &[1, 1, 1], UpConfig::linear());
    /// let plan = net.plan([1, 1, 32, 48, 40]);
    /// assert_eq!(plan.root.outputs[0].shape, [1, 2, 32, 48, 40]);
    /// assert_eq!(plan.root.total_parameters(), 1_176_186);
    /// ```
    pub fn monai_segresnet(
        channels: [usize; 2],
        width: usize,
        blocks_down: &[usize],
        blocks_up: &[usize],
        up: UpConfig,
    ) -> Self {
        let width_of = |level: usize| {
            let power = u32::try_from(level).unwrap_or(u32::MAX);
            width.saturating_mul(2_usize.saturating_pow(power))
        };
        let style = style(NormConfig::group(GROUPS), ActivationConfig::Relu)
            .with_order(LayerOrder::NormActConv);
        let entry = StageEntry {
            kernel_size: 3.into(),
            style: ConvStyle::bare()
                .with_padding(Padding::explicit(1))
                .with_bias(false),
        };
        let stage = |level: usize, blocks: usize, entry: Option<StageEntry>| {
            let blocks = ResidualStage::new(blocks)
                .with_entry(entry)
                .with_activation(ResidualActivation::BeforeSum);
            StageConfig::new(width_of(level))
                .with_style(style.clone().with_bias(false))
                .with_block(StageBlock::Residual(blocks))
        };
        let down = blocks_down.iter().enumerate().map(|(level, &blocks)| {
            let stride = if level > 0 { 2 } else { 1 };
            stage(level, blocks, Some(entry.clone())).with_stride(stride)
        });
        let steps = blocks_up.iter().rev().enumerate().map(|(level, &blocks)| {
            StagedStepConfig::new(width_of(level))
                .with_project(true)
                .with_up(up.clone())
                .with_merge(Merge::Add)
                .with_stage(stage(level, blocks, None))
        });
        let last = StageConfig::new(channels[1])
            .with_kernel_size(1)
            .with_style(style.clone().with_padding(Padding::Same))
            .with_block(StageBlock::Convs { count: 1 });
        let decoder = StagedDecoderConfig::new(steps.collect()).with_last(last);
        network(channels, down.collect(), decoder).without_head()
    }

    /// MONAI's `UNet` with its defaults: strided convolutions down and transposed ones up, each at the beginning of its
    /// level, instance norm and PReLU. With `residual_convs` (MONAI's `num_res_units`) above 0 the levels are residual
    /// units of so many convolutions: the residual U-Net of Kerfoot et al. 2018 (doi:10.1007/978-3-030-12029-0_40).
    ///
    /// `channels` are those of the input and of the output; `widths` and `strides` are MONAI's `channels` and `strides`,
    /// the finest first, one stride less than widths.
    ///
    /// # Example
    /// ```
    /// use burn_skip::{Trace, net::SegmentationConfig};
    ///
    /// let net = SegmentationConfig::monai_unet([1, 2], &[16, 32, 64, 128, 256], &[2, 2, 2, 2], 2);
    /// let plan = net.plan([1, 1, 96, 64]);
    /// assert_eq!(plan.root.outputs[0].shape, [1, 2, 96, 64]);
    /// assert_eq!(plan.root.total_parameters(), 1_625_161);
    /// ```
    pub fn monai_unet(
        channels: [usize; 2],
        widths: &[usize],
        strides: &[usize],
        residual_convs: usize,
    ) -> Self {
        let block = |convs: usize| match convs {
            0 => StageBlock::Convs { count: 1 },
            _ => StageBlock::Residual(
                ResidualStage::new(1)
                    .with_convs(convs)
                    .with_shortcut(Shortcut::WideConv { kernel_size: 3 })
                    .with_shortcut_norm(None)
                    .with_activation(ResidualActivation::BeforeSum),
            ),
        };
        let stride = |level: usize| strides.get(level).copied().unwrap_or(1);
        let down = widths.iter().enumerate().map(|(level, &width)| {
            // (The deepest level keeps the size.)
            let stride = if level + 1 < widths.len() {
                stride(level)
            } else {
                1
            };
            StageConfig::new(width)
                .with_stride(stride)
                .with_style(default_style())
                .with_block(block(residual_convs))
        });
        let step = |level: usize| {
            let is_top = level == 0;
            let width = if is_top {
                channels[1]
            } else {
                widths[level - 1]
            };
            let step = StagedStepConfig::new(width)
                .with_up(transposed(3, stride(level), true))
                .with_merge(skip_first());
            if residual_convs == 0 && is_top {
                return step;
            }
            let full = default_style();
            let bare = ConvStyle::bare().with_padding(Padding::explicit(1));
            let stage = StageConfig::new(width)
                .with_style(if is_top { bare } else { full.clone() })
                .with_block(block(1));
            step.with_norm(full.norm)
                .with_activation(full.activation)
                .with_stage((residual_convs > 0).then_some(stage))
        };
        let steps = (0..widths.len().saturating_sub(1)).map(step);
        let decoder = StagedDecoderConfig::new(steps.collect()).with_order(StepOrder::MergeFirst);
        network(channels, down.collect(), decoder).without_head()
    }

    /// MONAI's `DynUNet` with its defaults, the network of nnU-Net (arXiv:1809.10486, arXiv:1904.08128): levels with a
    /// kernel and a stride for each axis, instance norm, leaky ReLU with slope 0.01, and transposed convolutions without
    /// bias whose kernel is their stride.
    ///
    /// `channels` are those of the input and of the output; `kernel_sizes`, `strides` and `widths` (MONAI's `filters`) have
    /// one entry a level, the finest first. With `residual` the levels of the encoder are residual blocks (`res_block`).
    /// Its heads for deep supervision are [`supervised_steps`](Self::supervised_steps) (`deep_supr_num`). Each gives the size
    /// of its step, which MONAI resizes to that of the output.
    ///
    /// # Example
    /// ```
    /// use burn_skip::{PerAxis, Trace, net::SegmentationConfig};
    ///
    /// let kernels = [[1, 3, 3], [3, 3, 3], [3, 3, 3]].map(PerAxis::from);
    /// let strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2]].map(PerAxis::from);
    /// let net = SegmentationConfig::monai_dynunet([1, 2], &kernels, &strides, &[8, 16, 32], false);
    /// // The axes that are not halved may be odd.
    /// assert_eq!(net.output_shape([1, 1, 10, 32, 32]).unwrap(), [1, 2, 10, 32, 32]);
    /// ```
    pub fn monai_dynunet(
        channels: [usize; 2],
        kernel_sizes: &[PerAxis],
        strides: &[PerAxis],
        widths: &[usize],
        residual: bool,
    ) -> Self {
        let norm = NormConfig::Instance {
            epsilon: 1e-5,
            affine: true,
        };
        let activation = ActivationConfig::LeakyRelu {
            negative_slope: 0.01,
        };
        let style = style(norm.clone(), activation).with_bias(false);
        let one = PerAxis::from(1);
        let stage = |width: usize, kernel: &PerAxis, stride: &PerAxis| {
            let padding = |stride: &PerAxis| {
                let pad = |kernel: usize, stride: usize| (kernel + 1).saturating_sub(stride) / 2;
                Padding::explicit(map_axes(kernel, stride, pad))
            };
            let (usual, strided) = (padding(&one), padding(stride));
            let is_usual = map_axes(kernel, stride, |kernel, _| kernel / 2)
                == map_axes(kernel, stride, |kernel, stride| {
                    (kernel + 1).saturating_sub(stride) / 2
                });
            StageConfig::new(width)
                .with_kernel_size(kernel.clone())
                .with_stride(stride.clone())
                .with_style(style.clone().with_padding(usual))
                .with_strided_padding((!is_usual).then_some(strided))
        };
        let levels = kernel_sizes.iter().zip(strides).zip(widths);
        let down = levels.map(|((kernel, stride), &width)| {
            let stage = stage(width, kernel, stride);
            let blocks = ResidualStage::new(1).with_shortcut_norm(norm.clone());
            match residual {
                true => stage.with_block(StageBlock::Residual(blocks)),
                false => stage,
            }
        });
        let step = |level: usize| {
            let (kernel, stride) = (&kernel_sizes[level + 1], &strides[level + 1]);
            StagedStepConfig::new(widths[level])
                .with_up(transposed(stride.clone(), stride.clone(), false))
                .with_stage(stage(widths[level], kernel, &one))
        };
        let count = kernel_sizes.len().min(strides.len()).min(widths.len());
        let steps = (0..count.saturating_sub(1)).map(step);
        let decoder = StagedDecoderConfig::new(steps.collect());
        network(channels, down.collect(), decoder)
    }

    /// MONAI's `AttentionUnet` (arXiv:1804.03999) with its defaults: two convolutions with batch norm and ReLU a level, the
    /// first strided; transposed convolutions, attention gates of half the channels, and one convolution with instance norm
    /// and PReLU after each concatenation.
    ///
    /// `channels` are those of the input and of the output; `widths` and `strides` are MONAI's `channels` and `strides`,
    /// the finest first, one stride less than widths.
    ///
    /// # Example
    /// ```
    /// use burn_skip::{Trace, net::SegmentationConfig};
    ///
    /// let net = SegmentationConfig::monai_attention_unet([1, 2], &[8, 16, 32], &[2, 2]);
    /// assert_eq!(net.output_shape([1, 1, 32, 48]).unwrap(), [1, 2, 32, 48]);
    /// ```
    pub fn monai_attention_unet(channels: [usize; 2], widths: &[usize], strides: &[usize]) -> Self {
        let stride = |level: usize| strides.get(level).copied().unwrap_or(1);
        let conv = style(NormConfig::batch(), ActivationConfig::Relu);
        let down = widths.iter().enumerate().map(|(level, &width)| {
            let stride = level.checked_sub(1).map_or(1, stride);
            StageConfig::new(width)
                .with_stride(stride)
                .with_style(conv.clone())
        });
        let finer = widths.iter().take(widths.len().saturating_sub(1));
        let steps = finer.enumerate().map(|(level, &width)| {
            let merge = StageConfig::new(width)
                .with_style(default_style())
                .with_block(StageBlock::Convs { count: 1 });
            StagedStepConfig::new(width)
                .with_up(transposed(3, stride(level), true))
                .with_norm(conv.norm.clone())
                .with_activation(conv.activation)
                .with_gate(GateConfig::Attention(
                    AttentionGateConfig::new(width / 2).with_bias(true),
                ))
                .with_merge(skip_first())
                .with_stage(merge)
        });
        let decoder = StagedDecoderConfig::new(steps.collect());
        network(channels, down.collect(), decoder)
    }

    /// MONAI's `VNet` (arXiv:1606.04797) with its defaults but without dropout: residual blocks of 5x5 convolutions with
    /// batch norm and ELU, and convolutions with kernel 2 and stride 2 down and up.
    ///
    /// `channels` are those of the input, which must divide 16, and of the output.
    ///
    /// # Example
    /// ```
    /// use burn_skip::{Trace, net::SegmentationConfig};
    ///
    /// let plan = SegmentationConfig::monai_vnet([1, 1]).plan([1, 1, 32, 32, 32]);
    /// assert_eq!(plan.root.outputs[0].shape, [1, 1, 32, 32, 32]);
    /// assert_eq!(plan.root.total_parameters(), 45_593_892);
    /// ```
    pub fn monai_vnet(channels: [usize; 2]) -> Self {
        let elu = ActivationConfig::Elu { alpha: 1.0 };
        let conv = style(NormConfig::batch(), elu)
            .with_padding(Padding::explicit(2))
            .with_bias(false);
        let entry = StageEntry {
            kernel_size: 2.into(),
            style: conv.clone().with_padding(Padding::Valid),
        };
        let stage = |width: usize, block: ResidualStage| {
            StageConfig::new(width)
                .with_kernel_size(5)
                .with_style(conv.clone())
                .with_block(StageBlock::Residual(block))
        };
        let residual = |convs: usize| {
            ResidualStage::new(1)
                .with_convs(convs)
                .with_activation(ResidualActivation::Both)
        };
        let levels = VNET_WIDTHS.into_iter().zip(VNET_CONVS).enumerate();
        let down = levels.map(|(level, (width, convs))| match level {
            0 => {
                let first = residual(convs)
                    .with_shortcut(Shortcut::Repeat)
                    .with_activation(ResidualActivation::AfterSum);
                stage(width, first)
            }
            _ => stage(width, residual(convs).with_entry(entry.clone())).with_stride(2),
        });
        let steps = VNET_UP_WIDTHS.into_iter().zip(VNET_UP_CONVS);
        let steps = steps.map(|(width, convs)| {
            StagedStepConfig::new(width / 2)
                .with_norm(conv.norm.clone())
                .with_activation(elu)
                .with_stage(stage(width, residual(convs)))
        });
        let last = StageConfig::new(channels[1])
            .with_kernel_size(5)
            .with_style(conv.clone())
            .with_block(StageBlock::Convs { count: 1 });
        let decoder = StagedDecoderConfig::new(steps.collect()).with_last(last);
        network(channels, down.collect(), decoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::TraceSupervised;
    use crate::plan::Trace;

    fn parameters<const R: usize>(net: &SegmentationConfig, shape: [usize; R]) -> u64 {
        let plan = net.plan(shape);
        assert!(plan.error().is_none(), "{:?}", plan.error());
        let mut output = shape;
        output[1] = net.out_channels;
        assert_eq!(plan.root.outputs[0].shape, output);
        plan.root.total_parameters()
    }

    /// As `sum(p.numel() for p in net.parameters())` of MONAI 1.5.
    #[test]
    fn as_many_parameters_as_monai() {
        let segresnet = |channels, up| {
            SegmentationConfig::monai_segresnet(channels, 8, &[1, 2, 2, 4], &[1, 1, 1], up)
        };
        let image = [1, 1, 32, 48];
        let volume = [1, 1, 16, 32, 32];
        let default = segresnet([1, 2], UpConfig::linear());
        assert_eq!(parameters(&default, volume), 1_176_186);
        let deconv = segresnet([3, 2], UpConfig::conv_transpose());
        assert_eq!(parameters(&deconv, [1, 3, 32, 48]), 400_562);
        let unet =
            |convs| SegmentationConfig::monai_unet([1, 2], &[16, 32, 64, 128, 256], &[2; 4], convs);
        assert_eq!(parameters(&unet(0), image), 660_282);
        assert_eq!(parameters(&unet(2), image), 1_625_161);
        let dynunet = |residual| {
            let kernels = [[1, 3, 3], [3, 3, 3], [3, 3, 3]].map(PerAxis::from);
            let strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2]].map(PerAxis::from);
            let widths = [8, 16, 32];
            let channels = [1, 2];
            SegmentationConfig::monai_dynunet(channels, &kernels, &strides, &widths, residual)
        };
        assert_eq!(parameters(&dynunet(false), volume), 83_354);
        let supervised = dynunet(true)
            .with_supervised_steps(1)
            .plan_supervised(volume);
        assert_eq!(supervised.root.total_parameters(), 84_148);
        let attention = SegmentationConfig::monai_attention_unet([1, 2], &[8, 16, 32], &[2, 2]);
        assert_eq!(parameters(&attention, image), 30_310);
        let vnet = SegmentationConfig::monai_vnet;
        assert_eq!(parameters(&vnet([1, 1]), [1, 1, 32, 32, 32]), 45_593_892);
        assert_eq!(parameters(&vnet([1, 2]), image), 9_358_730);
    }

    #[test]
    fn a_stride_of_three_pads_as_monai() {
        let (kernels, strides) = ([3, 3, 3].map(PerAxis::from), [1, 3, 2].map(PerAxis::from));
        let net = SegmentationConfig::monai_dynunet([1, 2], &kernels, &strides, &[4, 8, 8], false);
        let EncoderConfig::Staged(encoder) = &net.encoder else {
            unreachable!()
        };
        let paddings: Vec<_> = encoder
            .stages
            .iter()
            .map(|stage| stage.strided_padding.clone())
            .collect();
        assert_eq!(paddings, [None, Some(Padding::explicit(0)), None]);
    }

    #[test]
    fn options_that_do_not_fit_are_refused() {
        use alloc::string::ToString;
        let text = |net: SegmentationConfig| net.validate::<4>().unwrap_err().to_string();
        let up = UpConfig::linear;
        assert_eq!(
            text(SegmentationConfig::monai_segresnet(
                [1, 2],
                6,
                &[1, 1],
                &[1],
                up()
            )),
            "encoder.stages.0.blocks.0.block.0.norm.GroupNorm: groups (=8) do not divide the channels (=6). Choose groups \
             that do."
        );
        assert_eq!(
            text(SegmentationConfig::monai_segresnet(
                [1, 2],
                8,
                &[1, 1],
                &[1, 1],
                up()
            )),
            "decoder.StagedDecoder: 2 steps for 2 maps. Give 1 steps, the finest first."
        );
        assert_eq!(
            text(SegmentationConfig::monai_vnet([3, 2])),
            "encoder.stages.0.blocks.0.SkipAdd: 3 channels cannot be repeated to 16. Choose a multiple, or another \
             shortcut."
        );
        assert!(
            SegmentationConfig::monai_unet([1, 2], &[], &[], 0)
                .validate::<4>()
                .is_err()
        );
    }
}
