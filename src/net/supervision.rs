//! [`Supervised`]: what a segmentation model computes in training: its output, the logits of extra heads on coarser
//! steps of the decoder (deep supervision, arXiv:1409.5185), and those of a classification head.

use alloc::{format, vec, vec::Vec};

use burn::tensor::Tensor;

use super::segmentation::MODEL;
use super::{Decoder, Encoder, SegmentationModel};
use crate::fuse::fit::Fit;
use crate::graph::{Map, MapPlan, Planner};
use crate::layers::layer::Layer;
use crate::layers::resize::ResizeMode;
use crate::plan::{Plan, Trace};
use crate::shape::{ShapeError, expect, spatial};

/// What a [`SegmentationModel`] computes in training. `P` is what has a value for each position and `C` what has one for
/// each class of the image: tensors, shapes or maps of a plan.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::loss::{CrossEntropyLoss, DeepSupervision};
/// use burn_skip::net::{
///     AnySegmentationModel, ClassificationHeadConfig, EncoderConfig, PlainEncoderConfig, SegmentationConfig,
///     Supervised, UnetDecoderConfig,
/// };
///
/// let device = Device::flex();
/// let encoder = EncoderConfig::Plain(PlainEncoderConfig::new(1, vec![4, 8, 16]));
/// let net: AnySegmentationModel = SegmentationConfig::new(encoder, UnetDecoderConfig::new(vec![4, 8]), 2)
///     .with_supervised_steps(1)
///     .with_classification_head(ClassificationHeadConfig::new(3))
///     .init(&device);
/// let Supervised { logits, class_logits } = net.forward_supervised(Tensor::zeros([2, 1, 24, 32], &device));
/// assert_eq!(logits[0].dims(), [2, 2, 24, 32]);
/// assert_eq!(logits[1].dims(), [2, 2, 12, 16]);
/// assert_eq!(class_logits.unwrap().dims(), [2, 3]);
/// let labels = Tensor::<4, Int>::zeros([2, 1, 24, 32], &device);
/// let loss = DeepSupervision::new(CrossEntropyLoss::new()).forward(logits, labels);
/// assert_eq!(loss.dims(), [1]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Supervised<P, C> {
    /// The output of the model; after it what its extra heads give, the finest first.
    pub logits: Vec<P>,
    /// What its classification head gives, if it has one.
    pub class_logits: Option<C>,
}

/// A [`Supervised`] of a plan.
type SupervisedMaps<const R: usize> = Supervised<Map<R>, Map<2>>;

impl<const R: usize> SupervisedMaps<R> {
    /// All maps, for the node of the model.
    pub(super) fn plans(&self) -> Vec<MapPlan> {
        let logits = self.logits.iter().map(Map::plan);
        logits
            .chain(self.class_logits.iter().map(Map::plan))
            .collect()
    }
}

/// Records what a model computes in training; implemented by models and by their configurations. What
/// [`Trace`] records is inference, without the extra heads.
///
/// # Example
/// ```
/// use burn_skip::Trace;
/// use burn_skip::net::{
///     EncoderConfig, PlainEncoderConfig, SegmentationConfig, TraceSupervised, UnetDecoderConfig,
/// };
///
/// let encoder = EncoderConfig::Plain(PlainEncoderConfig::new(1, vec![4, 8, 16]));
/// let config = SegmentationConfig::new(encoder, UnetDecoderConfig::new(vec![4, 8]), 2);
/// let supervised = config.clone().with_supervised_steps(1);
/// let shapes = supervised.supervised_shapes([1, 1, 24, 32]).unwrap();
/// assert_eq!(shapes.logits, [[1, 2, 24, 32], [1, 2, 12, 16]]);
/// // Inference is as without the heads; training has eight weights and a bias for each class more.
/// let shape = [1, 1, 24, 32];
/// assert_eq!(supervised.plan(shape).root, config.plan(shape).root);
/// let parameters = |plan: burn_skip::plan::Plan| plan.root.total_parameters();
/// assert_eq!(parameters(supervised.plan_supervised(shape)), parameters(config.plan(shape)) + 2 * (8 + 1));
/// ```
pub trait TraceSupervised<const R: usize> {
    /// Records the model and its extra heads for the image `x`.
    ///
    /// # Errors
    /// When the image does not fit the model, or the decoder gives fewer maps than there are heads.
    fn trace_supervised(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
    ) -> Result<Supervised<Map<R>, Map<2>>, ShapeError>;

    /// The shapes for an image of shape `input`.
    ///
    /// # Errors
    /// As [`trace_supervised`](Self::trace_supervised).
    fn supervised_shapes(
        &self,
        input: [usize; R],
    ) -> Result<Supervised<[usize; R], [usize; 2]>, ShapeError> {
        let maps = Planner::silently(input, |planner, x| self.trace_supervised(planner, x))?;
        Ok(Supervised {
            logits: maps.logits.into_iter().map(|map| map.shape).collect(),
            class_logits: maps.class_logits.map(|map| map.shape),
        })
    }

    /// The [plan](crate::plan) of training for an image of shape `input`.
    fn plan_supervised(&self, input: [usize; R]) -> Plan {
        Plan::new(input, |planner, x| {
            Ok(self.trace_supervised(planner, x)?.logits)
        })
    }
}

/// The heads of a model, as modules or as configurations.
pub(super) struct Heads<'a, H, S, C> {
    /// The head of the output.
    pub head: &'a H,
    /// How the output is resized to the size of the image, if it is.
    pub resize: Option<ResizeMode>,
    /// How many extra heads there are.
    pub steps: usize,
    /// Records the extra head of this index.
    pub extra: S,
    /// Records the classification head, if there is one.
    pub classes: C,
}

/// Records the parts of a model in training. `decoder` gives the maps of its steps where it is told to.
pub(super) fn trace_supervised_parts<const R: usize>(
    planner: &mut Planner,
    x: &Map<R>,
    encoder: impl FnOnce(&mut Planner, &Map<R>) -> Result<Vec<Map<R>>, ShapeError>,
    decoder: impl FnOnce(&mut Planner, &[Map<R>], bool) -> Result<Vec<Map<R>>, ShapeError>,
    heads: Heads<
        '_,
        impl Trace<R>,
        impl Fn(&mut Planner, usize, &Map<R>) -> Result<Map<R>, ShapeError>,
        impl FnOnce(&mut Planner, &Map<R>) -> Result<Option<Map<2>>, ShapeError>,
    >,
) -> Result<SupervisedMaps<R>, ShapeError> {
    let maps = encoder(planner.at("encoder"), x)?;
    let decoded = decoder(planner.at("decoder"), &maps, heads.steps > 0)?;
    check_steps(heads.steps, decoded.len())?;
    let mut y = heads.head.trace(planner.at("head"), &decoded[0])?;
    if let Some(mode) = heads.resize {
        y = Fit::Resize(mode).trace(planner.at(""), &y, spatial(&x.shape))?;
    }
    let mut logits = vec![y];
    for (index, map) in decoded[1..].iter().take(heads.steps).enumerate() {
        let name = format!("supervision_heads.{index}");
        logits.push((heads.extra)(planner.at(name), index, map)?);
    }
    let class_logits = match maps.last() {
        Some(coarsest) => (heads.classes)(planner.at("classification_head"), coarsest)?,
        None => None,
    };
    planner.at("");
    Ok(Supervised {
        logits,
        class_logits,
    })
}

/// Refuses more heads than the decoder has maps for, beside its output.
pub(super) fn check_steps(heads: usize, maps: usize) -> Result<(), ShapeError> {
    if heads < maps {
        return Ok(());
    }
    let others = maps.saturating_sub(1);
    Err(ShapeError::new(
        MODEL,
        format!(
            "supervised_steps is {heads}, and the decoder gives {others} maps beside its output"
        ),
        match others {
            0 => "Set supervised_steps to 0, or choose the decoder of a U-Net".into(),
            _ => format!("Set supervised_steps to {others} or less"),
        },
    ))
}

impl<E, D, const R: usize, H> TraceSupervised<R> for SegmentationModel<E, D, R, H>
where
    E: Encoder<R>,
    D: Decoder<R>,
    H: Trace<R>,
{
    fn trace_supervised(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
    ) -> Result<SupervisedMaps<R>, ShapeError> {
        let encoder = |planner: &mut Planner, x: &Map<R>| self.encoder.trace(planner, x);
        let image = spatial(&x.shape);
        let decoder = |planner: &mut Planner, maps: &[Map<R>], has_steps: bool| match has_steps {
            true => self.decoder.trace_steps(planner, maps, image),
            false => Ok(vec![self.decoder.trace(planner, maps, image)?]),
        };
        let heads = Heads {
            head: &self.head,
            resize: self.resize,
            steps: self.supervision_heads.len(),
            extra: |planner: &mut Planner, index: usize, map: &Map<R>| {
                self.supervision_heads[index].trace(planner, map)
            },
            classes: |planner: &mut Planner, map: &Map<R>| {
                let head = self.classification_head.as_ref();
                head.map(|head| head.trace(planner, map)).transpose()
            },
        };
        let body =
            |planner: &mut Planner| trace_supervised_parts(planner, x, encoder, decoder, heads);
        planner.node_of(MODEL, &[x], body, Supervised::plans)
    }
}

impl<E: Encoder<R>, D: Decoder<R>, const R: usize, H: Layer<R>> SegmentationModel<E, D, R, H> {
    /// The output, and what the extra heads and the classification head give. The output is that of
    /// [`forward`](Layer::forward); with a classification head alone it is segmentation_models.pytorch's `forward` with
    /// `aux_params`.
    ///
    /// [`DeepSupervision`](crate::loss::DeepSupervision) makes one loss of the logits.
    ///
    /// # Panics
    /// When [`supervised_shapes`](TraceSupervised::supervised_shapes) returns an error, with its message.
    pub fn forward_supervised(&self, x: Tensor<R>) -> Supervised<Tensor<R>, Tensor<2>> {
        let input = x.dims();
        expect(self.supervised_shapes(input));
        let maps = self.features(x);
        let head = self.classification_head.as_ref();
        let class_logits = head
            .zip(maps.last())
            .map(|(head, coarsest)| head.forward(coarsest.clone()));
        let image = spatial(&input);
        let heads = &self.supervision_heads;
        let (decoded, steps) = match heads.is_empty() {
            true => (self.decoder.forward_parts(maps, image), Vec::new()),
            false => {
                let mut steps = self.decoder.forward_steps(maps, image).into_iter();
                let Some(output) = steps.next() else {
                    unreachable!("the check sees an output")
                };
                (output.into(), steps.collect())
            }
        };
        let mut y = self.head.forward_parts(decoded).into_tensor();
        if let Some(mode) = self.resize {
            y = Fit::Resize(mode).forward(y, image);
        }
        let extra = heads.iter().zip(steps).map(|(head, map)| head.forward(map));
        Supervised {
            logits: [y].into_iter().chain(extra).collect(),
            class_logits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::resize::resize;
    use crate::net::{
        AnyDecoder, AnySegmentationModel, ClassificationHeadConfig, DecoderConfig, EncoderConfig,
        FpnDecoderConfig, PlainEncoderConfig, SegmentationConfig, StagedDecoderConfig,
        StagedStepConfig, UnetDecoderConfig, UnetPlusPlusDecoderConfig,
    };
    use alloc::string::ToString;
    use burn::module::{Module, Param};
    use burn::tensor::{Device, Distribution, Gradients, Tolerance};

    fn config(decoder: impl Into<DecoderConfig>) -> SegmentationConfig {
        let encoder = EncoderConfig::Plain(PlainEncoderConfig::new(2, vec![4, 6, 8]));
        SegmentationConfig::new(encoder, decoder, 3)
            .with_supervised_steps(1)
            .with_classification_head(ClassificationHeadConfig::new(5).with_dropout(0.0))
    }

    fn random<const R: usize>(shape: [usize; R], device: &Device) -> Tensor<R> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
    }

    fn check_rank<const R: usize>(input: [usize; R]) {
        for (decoder, coarse) in [
            (UnetDecoderConfig::new(vec![4, 6]).into(), 2),
            // (The blocks of U-Net++ have the size of the finest map.)
            (
                DecoderConfig::from(UnetPlusPlusDecoderConfig::new(vec![4, 4, 6])),
                1,
            ),
            (
                StagedDecoderConfig::new(vec![StagedStepConfig::new(4), StagedStepConfig::new(6)])
                    .into(),
                2,
            ),
        ] {
            let config = config(decoder);
            let net: AnySegmentationModel<R> = config.init(&Device::flex());
            let shapes = net.supervised_shapes(input).unwrap();
            let mut fine = input;
            fine[1] = 3;
            let mut extra = fine;
            for size in &mut extra[2..] {
                *size = size.div_ceil(coarse);
            }
            assert_eq!(shapes.logits, [fine, extra]);
            assert_eq!(shapes.class_logits, Some([input[0], 5]));
            let y = net.forward_supervised(random(input, &Device::flex()));
            let dims: Vec<_> = y.logits.iter().map(Tensor::dims).collect();
            assert_eq!(dims, shapes.logits);
            assert_eq!(y.class_logits.unwrap().dims(), [input[0], 5]);
            let plan = net.plan_supervised(input);
            assert_eq!(plan.root, config.plan_supervised(input).root);
            assert_eq!(plan.root.outputs.len(), 3);
            assert!(plan.memory.training > config.plan(input).memory.training);
        }
    }

    #[test]
    fn every_rank() {
        check_rank([2, 2, 20]);
        check_rank([2, 2, 20, 12]);
        check_rank([2, 2, 8, 12, 8]);
    }

    #[test]
    fn the_file_keeps_the_heads_and_an_old_one_has_none() {
        let config = config(UnetDecoderConfig::new(vec![4, 6]));
        let net: AnySegmentationModel = config.init(&Device::flex());
        let text = burn::config::config_to_json(&config);
        assert_eq!(burn::config::config_to_json(&net.config()), text);
        let old = r#"{"encoder": {"Plain": {"in_channels": 2, "widths": [4, 6]}},
            "decoder": {"Unet": {"widths": [4]}}, "out_channels": 3}"#;
        let old: SegmentationConfig = serde_json::from_str(old).unwrap();
        assert_eq!((old.supervised_steps, old.classification_head), (0, None));
    }

    #[test]
    fn a_gradient_reaches_every_head() {
        let device = Device::flex().autodiff();
        let net: AnySegmentationModel<3> = config(UnetDecoderConfig::new(vec![4, 6])).init(&device);
        let y = net.forward_supervised(random([2, 2, 20], &device));
        let mut loss = y.class_logits.unwrap().square().mean();
        for logits in y.logits {
            loss = loss + logits.square().mean();
        }
        let gradients = loss.backward();
        let largest = |weight: &Param<Tensor<3>>, gradients: &Gradients| {
            let gradient = weight.val().grad(gradients).unwrap();
            gradient.abs().max().into_scalar::<f32>()
        };
        assert!(largest(&net.head.unwrap().weight, &gradients) > 0.0);
        assert!(largest(&net.supervision_heads[0].weight, &gradients) > 0.0);
        let head = net.classification_head.unwrap().linear.weight.val();
        let gradient = head.grad(&gradients).unwrap();
        assert!(gradient.abs().max().into_scalar::<f32>() > 0.0);
    }

    #[test]
    fn the_heads_of_a_unet_read_its_steps() {
        let device = Device::flex();
        let net: AnySegmentationModel = config(UnetDecoderConfig::new(vec![4, 6])).init(&device);
        let x = random([1, 2, 12, 20], &device);
        let y = net.forward_supervised(x.clone());
        let tolerance = Tolerance::<f32>::default();
        let output = net.forward(x.clone()).into_data();
        y.logits[0].to_data().assert_approx_eq(&output, tolerance);
        let maps = net.features(x);
        let AnyDecoder::Unet(decoder) = &net.decoder else {
            unreachable!()
        };
        let step = decoder.steps[1].forward(maps[2].clone(), maps[1].clone());
        let logits = net.supervision_heads[0].forward(step).into_data();
        y.logits[1].to_data().assert_approx_eq(&logits, tolerance);
        let head = net.classification_head.unwrap();
        let means = maps[2].clone().mean_dim(2).mean_dim(3).reshape([1, 8]);
        let classes = head.linear.forward(means).into_data();
        let class_logits = y.class_logits.unwrap().into_data();
        class_logits.assert_approx_eq(&classes, tolerance);
    }

    #[test]
    fn the_heads_of_a_nested_unet_read_the_finest_chain() {
        let device = Device::flex();
        let config = config(UnetPlusPlusDecoderConfig::new(vec![4, 4, 6])).with_supervised_steps(2);
        let net: AnySegmentationModel = config.init(&device);
        let x = random([1, 2, 12, 20], &device);
        let y = net.forward_supervised(x.clone());
        let output = net.forward(x.clone()).into_data();
        let tolerance = Tolerance::<f32>::default();
        y.logits[0].to_data().assert_approx_eq(&output, tolerance);
        let maps = net.features(x);
        let AnyDecoder::UnetPlusPlus(decoder) = &net.decoder else {
            unreachable!()
        };
        let up = |map: Tensor<4>, size| resize(map, size, ResizeMode::Nearest);
        // In the order in which they run: of the map 1, and twice of the map 0.
        let block = |index: usize, maps: Vec<Tensor<4>>| {
            decoder.blocks[index].1.forward(Tensor::cat(maps, 1))
        };
        let coarse = block(0, vec![up(maps[2].clone(), &[6, 10]), maps[1].clone()]);
        let first = block(1, vec![up(maps[1].clone(), &[12, 20]), maps[0].clone()]);
        let second = vec![up(coarse, &[12, 20]), first.clone(), maps[0].clone()];
        let second = block(2, second);
        for (index, step) in [second, first].into_iter().enumerate() {
            let logits = net.supervision_heads[index].forward(step).into_data();
            y.logits[index + 1]
                .to_data()
                .assert_approx_eq(&logits, tolerance);
        }
    }

    #[test]
    fn more_heads_than_steps_are_refused() {
        let text = |config: SegmentationConfig| config.validate::<4>().unwrap_err().to_string();
        assert_eq!(
            text(config(UnetDecoderConfig::new(vec![4, 6])).with_supervised_steps(2)),
            "SegmentationModel: supervised_steps is 2, and the decoder gives 1 maps beside its output. Set \
             supervised_steps to 1 or less."
        );
        assert_eq!(
            text(config(FpnDecoderConfig::new().with_levels(2))),
            "SegmentationModel: supervised_steps is 1, and the decoder gives 0 maps beside its output. Set \
             supervised_steps to 0, or choose the decoder of a U-Net."
        );
        let classes = config(UnetDecoderConfig::new(vec![4, 6]))
            .with_classification_head(ClassificationHeadConfig::new(0));
        assert_eq!(
            text(classes),
            "classification_head.ClassificationHead: classes is 0. Set classes to 1 or more."
        );
    }

    #[test]
    fn heads_of_any_model() {
        use crate::layers::conv::ConvConfig;
        use crate::net::{Encoder, PlainEncoder, UnetDecoder};
        let device = Device::flex();
        let encoder: PlainEncoder<3> = PlainEncoderConfig::new(1, vec![4, 6, 8]).init(&device);
        let decoder: UnetDecoder<3> =
            UnetDecoderConfig::new(vec![4, 6]).init(&encoder.feature_channels(), &device);
        let head = |channels| ConvConfig::new([channels, 2], 1).init(&device);
        let net = SegmentationModel::new(encoder, decoder, head(4));
        let without = net.num_params();
        let net = net
            .with_supervision_heads(vec![head(6)])
            .with_classification_head(ClassificationHeadConfig::new(3).init(8, &device));
        assert_eq!(net.num_params(), without + 2 * (6 + 1) + 3 * (8 + 1));
        let shapes = net.supervised_shapes([1, 1, 9]).unwrap();
        assert_eq!(shapes.logits, [[1, 2, 9], [1, 2, 4]]);
    }
}
