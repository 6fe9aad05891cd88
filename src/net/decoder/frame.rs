//! What all decoders of this crate share. A configuration says what it records ([`DecoderSpec`]), a module what it runs
//! ([`BuiltDecoder`]); checks, shapes, plans and [`Decoder`] follow from these.

use alloc::{vec, vec::Vec};

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;

use super::Decoder;
use crate::graph::{Map, Planner, check_maps};
use crate::layers::conv::LazyConcat;
use crate::shape::{ShapeError, expect, spatial};

/// The configuration of a decoder. (Not its construction: a plan of any rank would compile that, too.)
pub(super) trait DecoderSpec<const R: usize> {
    /// The name in plans and errors.
    fn name(&self) -> &'static str;

    /// The channels of the output, for maps with `channels` channels.
    fn out_channels(&self, channels: &[usize]) -> usize;

    /// Checks the options and records the parts. Returns the output and, after it, the other maps of
    /// [`Decoder::forward_steps`].
    fn trace_parts(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Vec<Map<R>>, ShapeError>;

    /// Records the decoder.
    fn trace(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Map<R>, ShapeError> {
        let inputs: Vec<&Map<R>> = maps.iter().collect();
        planner.node(self.name(), &inputs, |planner| {
            let mut steps = self.trace_parts(planner, maps, image)?;
            Ok(steps.swap_remove(0))
        })
    }

    /// Records the decoder, with the maps of [`Decoder::forward_steps`].
    fn trace_steps(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        let inputs: Vec<&Map<R>> = maps.iter().collect();
        planner.nodes(self.name(), &inputs, |planner| {
            self.trace_parts(planner, maps, image)
        })
    }
}

/// Checks the options of a decoder for maps with `channels` channels and of any size, and returns the channels of the
/// maps of [`Decoder::forward_steps`].
pub(super) fn check_decoder<const R: usize>(
    decoder: &(impl DecoderSpec<R> + ?Sized),
    channels: &[usize],
) -> Result<Vec<usize>, ShapeError> {
    let mut steps = Vec::new();
    Planner::check_options::<R, _>(channels, |planner, maps| {
        let image = maps.first().map_or(&[][..], |map| spatial(&map.shape));
        steps = decoder.trace_steps(planner, maps, image)?;
        Ok(())
    })?;
    Ok(steps.into_iter().map(|map| map.shape[1]).collect())
}

/// The options that a module was built with, and the channels of the maps that it was built for.
pub(super) struct Built<'a, const R: usize> {
    spec: &'a dyn DecoderSpec<R>,
    channels: &'a [usize],
}

impl<'a, const R: usize> Built<'a, R> {
    pub const fn new(spec: &'a dyn DecoderSpec<R>, channels: &'a [usize]) -> Self {
        Self { spec, channels }
    }
}

/// The same decoder, which refuses other maps than it was built for.
impl<const R: usize> DecoderSpec<R> for Built<'_, R> {
    fn name(&self) -> &'static str {
        self.spec.name()
    }

    fn out_channels(&self, channels: &[usize]) -> usize {
        self.spec.out_channels(channels)
    }

    fn trace_parts(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        check_maps(self.name(), maps, self.channels)?;
        self.spec.trace_parts(planner, maps, image)
    }
}

/// A decoder of this crate. [`Decoder`] follows.
pub(super) trait BuiltDecoder<const R: usize> {
    /// What it was built with and for.
    fn built(&self) -> Built<'_, R>;

    /// Decodes maps that fit.
    fn run(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> LazyConcat<R>;

    /// As [`run`](Self::run), with the other maps of [`Decoder::forward_steps`].
    fn run_steps(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> Vec<Tensor<R>> {
        vec![self.run(maps, image).into_tensor()]
    }
}

impl<const R: usize, D: BuiltDecoder<R> + Module + ModuleDisplay> Decoder<R> for D {
    fn forward(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> Tensor<R> {
        self.forward_parts(maps, image).into_tensor()
    }

    fn forward_parts(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> LazyConcat<R> {
        expect_fit(self, &maps, image);
        self.run(maps, image)
    }

    fn forward_steps(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> Vec<Tensor<R>> {
        expect_fit(self, &maps, image);
        self.run_steps(maps, image)
    }

    fn trace(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Map<R>, ShapeError> {
        self.built().trace(planner, maps, image)
    }

    fn trace_steps(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        self.built().trace_steps(planner, maps, image)
    }
}

/// Panics where `maps` do not fit.
pub(super) fn expect_fit<const R: usize>(
    decoder: &impl Decoder<R>,
    maps: &[Tensor<R>],
    image: &[usize],
) {
    let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
    expect(decoder.output_shape(&shapes, image));
}

/// Takes the coarsest of maps that fit, of which there is one at least.
pub(super) fn pop_deepest<const R: usize>(maps: &mut Vec<Tensor<R>>) -> Tensor<R> {
    match maps.pop() {
        Some(deepest) => deepest,
        None => unreachable!("without maps there is no output shape"),
    }
}

/// What the tests of all decoders do.
#[cfg(test)]
pub(super) mod testing {
    use crate::net::{AnyDecoder, Decoder, DecoderConfig};
    use alloc::string::{String, ToString};
    use burn::tensor::{Device, Tensor};

    /// The shape of what a decoder computes of maps of these shapes.
    pub fn dims<const R: usize>(
        config: impl Into<DecoderConfig>,
        maps: &[[usize; R]],
        image: &[usize],
    ) -> [usize; R] {
        let device = Device::flex();
        let channels: alloc::vec::Vec<_> = maps.iter().map(|map| map[1]).collect();
        let decoder: AnyDecoder<R> = config.into().init(&channels, &device);
        let maps = maps.iter().map(|&map| Tensor::zeros(map, &device));
        decoder.forward(maps.collect(), image).dims()
    }

    /// Why a decoder for maps with `channels` channels is refused.
    pub fn refused(config: impl Into<DecoderConfig>, channels: &[usize]) -> String {
        let checked = config.into().validate::<4>(channels);
        checked.unwrap_err().to_string()
    }
}
