//! Batch and group norm with what follows them, `y = activation(scale (x - mean) + shift + residual)`, in two passes over
//! the map; the gradient in two more. Sums are accumulated in f64 after every block.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use pulp::Simd;

use super::activation::BLOCK;
use super::raw::piece::Piece;
use super::raw::uninit_buffer::{Cuts, UninitBuffer};
use super::source::{Affine, ChannelAffine};
use super::threads::{self, Scratch, Work};
use crate::policy::{FusedActivation, Piecewise};

const LANES: usize = 16;

/// The sums of `N` terms over the positions of `K` rows of one length.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // lanes of vectors
pub(super) fn sums<const K: usize, const N: usize>(
    rows: [&[f32]; K],
    term: impl Fn([f32; K]) -> [f32; N],
) -> [f64; N] {
    let len = rows[0].len();
    let mut total = [0.0f64; N];
    let mut start = 0;
    while start < len {
        // (So few values are added in f32 before their sum is added to an f64.)
        let end = len.min(start + BLOCK);
        let mut lanes = [[0.0f32; LANES]; N];
        let mut i = start;
        while i + LANES <= end {
            // (Bounds that are checked for every lane would make no vectors.)
            let mut vectors = [[0.0f32; LANES]; K];
            for k in 0..K {
                vectors[k].copy_from_slice(&rows[k][i..i + LANES]);
            }
            for lane in 0..LANES {
                let mut values = [0.0; K];
                for k in 0..K {
                    values[k] = vectors[k][lane];
                }
                let term = term(values);
                for n in 0..N {
                    lanes[n][lane] += term[n];
                }
            }
            i += LANES;
        }
        while i < end {
            let mut values = [0.0; K];
            for k in 0..K {
                values[k] = rows[k][i];
            }
            let term = term(values);
            for n in 0..N {
                lanes[n][0] += term[n];
            }
            i += 1;
        }
        for n in 0..N {
            total[n] += f64::from(lanes[n].iter().sum::<f32>());
        }
        start = end;
    }
    total
}

/// The sum of the values.
pub(super) fn sum(values: &[f32]) -> f64 {
    struct Sum<'a>(&'a [f32]);
    impl pulp::WithSimd for Sum<'_> {
        type Output = f64;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> f64 {
            sums([self.0], |value| value)[0]
        }
    }
    threads::instructions().dispatch(Sum(values))
}

/// A feature map as a norm reads it: channels and positions. (For group norm, each channel of each sample is a channel of
/// one sample.)
#[derive(Clone, Copy)]
pub struct ChannelMap<'a> {
    /// `[batch, channels, positions]`
    pub values: &'a [f32],
    /// The channels of a sample.
    pub channels: usize,
    /// The positions of a channel.
    pub positions: usize,
    /// The number of consecutive channels that share mean and variance.
    pub group: usize,
}

impl<'a> ChannelMap<'a> {
    /// The planes of a channel.
    fn planes(self, channel: usize) -> impl Iterator<Item = &'a [f32]> {
        let planes = self.values.chunks_exact(self.positions);
        planes.skip(channel).step_by(self.channels)
    }

    /// The values that share mean and variance.
    fn count(self) -> f64 {
        (self.values.len() / self.channels * self.group) as f64
    }
}

/// The planes of an output map, grouped by channel.
fn planes_by_channel(
    values: &mut UninitBuffer,
    channels: usize,
    positions: usize,
) -> Vec<Vec<Piece<'_>>> {
    let mut planes: Vec<Vec<Piece>> = (0..channels).map(|_| Vec::new()).collect();
    for plane in values.pieces(Cuts::planes(positions)) {
        planes[plane.plane % channels].push(plane.piece);
    }
    planes
}

/// Mean and biased variance of each channel.
pub struct Moments {
    /// One number per channel.
    pub mean: Vec<f32>,
    /// One number per channel.
    pub variance: Vec<f32>,
}

/// The moments of each channel: a first estimate of the mean, then the moments of the differences to it. This does not
/// cancel where the values are large and nearly constant.
pub fn moments(x: ChannelMap) -> Moments {
    let mut found = Moments {
        mean: vec![0.0; x.channels],
        variance: vec![0.0; x.channels],
    };
    let means = found.mean.chunks_exact_mut(x.group);
    let groups = means.zip(found.variance.chunks_exact_mut(x.group));
    let groups = groups
        .enumerate()
        .map(|(index, (mean, variance))| GroupMoments {
            first: index * x.group,
            mean,
            variance,
        });
    threads::run(&MomentsOf(x), groups.collect());
    found
}

struct MomentsOf<'a>(ChannelMap<'a>);

/// The channels from `first` on that share mean and variance.
struct GroupMoments<'a> {
    first: usize,
    mean: &'a mut [f32],
    variance: &'a mut [f32],
}

impl Work<GroupMoments<'_>> for MomentsOf<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, _: S, group: GroupMoments, _: &mut Scratch) {
        let count = self.0.count();
        let channels = group.first..group.first + self.0.group;
        let mut total = 0.0;
        for channel in channels.clone() {
            for plane in self.0.planes(channel) {
                total += sums([plane], |value| value)[0];
            }
        }
        let center = (total / count) as f32;
        let mut off = [0.0; 2];
        for channel in channels {
            for plane in self.0.planes(channel) {
                let more = sums([plane], |[x]| {
                    let d = x - center;
                    [d, d * d]
                });
                off = [off[0] + more[0], off[1] + more[1]];
            }
        }
        let [mean, square] = off.map(|sum| sum / count);
        group.mean.fill((f64::from(center) + mean) as f32);
        let variance = (square - mean * mean) as f32;
        // (Not `max`, which would hide a NaN.)
        group
            .variance
            .fill(if variance < 0.0 { 0.0 } else { variance });
    }
}

/// `activation(affine(x) + residual)`
pub fn forward(
    x: ChannelMap,
    affine: ChannelAffine,
    residual: Option<&[f32]>,
    activation: FusedActivation,
) -> Vec<f32> {
    let mut y = UninitBuffer::new(x.values.len());
    let planes = planes_by_channel(&mut y, x.channels, x.positions);
    let planes = planes.into_iter().enumerate();
    let work = ApplyNorm {
        x,
        affine,
        residual: residual.map(|values| ChannelMap { values, ..x }),
        activation,
    };
    let channels = planes.map(|(index, planes)| ChannelOutput { index, planes });
    threads::run(&work, channels.collect());
    y.finish()
}

struct ApplyNorm<'a> {
    x: ChannelMap<'a>,
    affine: ChannelAffine<'a>,
    residual: Option<ChannelMap<'a>>,
    activation: FusedActivation,
}

struct ChannelOutput<'a> {
    index: usize,
    planes: Vec<Piece<'a>>,
}

impl Work<ChannelOutput<'_>> for ApplyNorm<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, channel: ChannelOutput, _: &mut Scratch) {
        let affine = self.affine.of(channel.index);
        let (piecewise, curved) = self.activation.parts();
        let finish = |x: f32, residual: f32| piecewise.value(affine.apply(x) + residual);
        let mut residuals = self.residual.map(|residual| residual.planes(channel.index));
        for (x, mut y) in self.x.planes(channel.index).zip(channel.planes) {
            let residual = residuals.as_mut().and_then(Iterator::next);
            for block in blocks(x.len()) {
                let residual = residual.map(|residual| &residual[block.clone()]);
                let written = y.write(0, block.clone(), [&x[block]], residual, finish);
                if let Some(curved) = curved {
                    curved.apply(simd, written);
                }
            }
        }
    }
}

/// The ranges of so many values that are computed at once.
#[inline(always)]
fn blocks(len: usize) -> impl Iterator<Item = Range<usize>> {
    let starts = (0..len).step_by(BLOCK);
    starts.map(move |start| start..len.min(start + BLOCK))
}

/// The gradients of `y = activation(norm(x) + residual)`.
pub struct Gradients {
    /// That of the map.
    pub x: Vec<f32>,
    /// That of the factors.
    pub gamma: Vec<f32>,
    /// That of the summands.
    pub beta: Vec<f32>,
    /// Of the residual, if it is needed.
    pub residual: Option<Vec<f32>>,
}

/// The activation after a norm, and where the backward pass finds its derivative.
#[derive(Clone, Copy)]
pub enum ActivationGradient<'a> {
    /// At the norm of the input, which is computed anew; for norms without a residual.
    AtInput(FusedActivation),
    /// At this output.
    AtOutput(Piecewise, &'a [f32]),
}

/// The numbers of a norm: `y = gamma (x - mean) / deviation + beta`.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    /// `gamma / deviation` is its scale.
    pub affine: ChannelAffine<'a>,
    /// `1 / sqrt(variance + epsilon)`
    pub inverse_deviation: &'a [f32],
    /// Whether mean and deviation were computed from this map.
    pub of_batch: bool,
}

/// The backward pass of a norm.
pub fn backward(
    x: ChannelMap,
    gradient: &[f32],
    norm: Norm,
    activation: ActivationGradient,
    wants_residual: bool,
) -> Gradients {
    let [mut gamma, mut beta] = [(); 2].map(|()| vec![0.0; x.channels]);
    let mut to_x = UninitBuffer::new(x.values.len());
    let mut to_residual = wants_residual.then(|| UninitBuffer::new(x.values.len()));
    let work = NormGradients {
        x,
        gradient: ChannelMap {
            values: gradient,
            ..x
        },
        activation,
        norm,
    };
    let mut residuals = to_residual
        .as_mut()
        .map(|values| planes_by_channel(values, x.channels, x.positions).into_iter());
    let planes = planes_by_channel(&mut to_x, x.channels, x.positions);
    let numbers = gamma.iter_mut().zip(&mut beta);
    let channels = planes.into_iter().zip(numbers).enumerate();
    let channels = channels.map(|(index, (x, (gamma, beta)))| ChannelGradients {
        index,
        gamma,
        beta,
        x,
        residual: residuals.as_mut().and_then(Iterator::next),
    });
    let groups = in_groups(channels, x.group);
    drop(residuals);
    threads::run(&work, groups);
    Gradients {
        x: to_x.finish(),
        gamma,
        beta,
        residual: to_residual.map(UninitBuffer::finish),
    }
}

/// The channels in groups of `group`.
fn in_groups<'a>(
    channels: impl ExactSizeIterator<Item = ChannelGradients<'a>>,
    group: usize,
) -> Vec<Vec<ChannelGradients<'a>>> {
    let count = channels.len() / group;
    let mut channels = channels;
    let groups = (0..count).map(|_| channels.by_ref().take(group).collect());
    groups.collect()
}

struct NormGradients<'a> {
    x: ChannelMap<'a>,
    gradient: ChannelMap<'a>,
    activation: ActivationGradient<'a>,
    norm: Norm<'a>,
}

struct ChannelGradients<'a> {
    index: usize,
    gamma: &'a mut f32,
    beta: &'a mut f32,
    x: Vec<Piece<'a>>,
    residual: Option<Vec<Piece<'a>>>,
}

/// A plane of a norm's backward pass.
struct Plane<'a> {
    x: &'a [f32],
    gradient: &'a [f32],
    /// What the activation has made of it, if that is needed.
    output: Option<&'a [f32]>,
}

impl NormGradients<'_> {
    /// Writes a plane of the gradient before the activation.
    #[inline(always)]
    fn before_activation<'p, S: Simd>(
        &self,
        simd: S,
        affine: Affine,
        plane: Plane,
        mut into: Piece<'p>,
    ) -> &'p mut [f32] {
        let Plane {
            x,
            gradient,
            output,
        } = plane;
        match (self.activation, output) {
            (ActivationGradient::AtOutput(piecewise, _), Some(output)) => {
                let both = gradient.iter().zip(output);
                into.fill(both.map(|(g, y)| g * piecewise.derivative(*y)))
            }
            (ActivationGradient::AtInput(FusedActivation::IDENTITY), _) => {
                into.fill(gradient.iter().copied())
            }
            (ActivationGradient::AtInput(FusedActivation::Piecewise(piecewise)), _) => {
                let both = gradient.iter().zip(x);
                into.fill(both.map(|(g, x)| g * piecewise.derivative(affine.apply(*x))))
            }
            (ActivationGradient::AtInput(FusedActivation::Curved(curved)), _) => {
                for block in blocks(x.len()) {
                    let gradient = &gradient[block.clone()];
                    let x = [&x[block.clone()]];
                    let written = into.write(0, block, x, None, |x, _| affine.apply(x));
                    curved.scale_gradient(simd, written, gradient);
                }
                into.into_written()
            }
            (ActivationGradient::AtOutput(..), None) => unreachable!("the output has this plane"),
        }
    }

    /// Writes the gradient of a channel before the activation, and those of shift and scale, which it returns, too.
    #[inline(always)]
    fn of_channel<'p, S: Simd>(
        &self,
        simd: S,
        channel: ChannelGradients<'p>,
    ) -> ([f64; 2], Vec<&'p mut [f32]>) {
        let c = channel.index;
        let inverse = self.norm.inverse_deviation[c];
        let affine = self.norm.affine.of(c);
        let mut totals = [0.0f64; 2];
        let mut outputs = match self.activation {
            ActivationGradient::AtOutput(_, values) => {
                Some(ChannelMap { values, ..self.x }.planes(c))
            }
            ActivationGradient::AtInput(_) => None,
        };
        let planes = self.x.planes(c).zip(self.gradient.planes(c));
        let mut to_norm = Vec::with_capacity(channel.x.len());
        for ((x, gradient), into) in planes.zip(channel.x) {
            let output = outputs.as_mut().and_then(Iterator::next);
            let plane = Plane {
                x,
                gradient,
                output,
            };
            let into = self.before_activation(simd, affine, plane, into);
            let more = sums([x, &*into], |[x, g]| [g, g * ((x - affine.mean) * inverse)]);
            totals = [totals[0] + more[0], totals[1] + more[1]];
            to_norm.push(into);
        }
        *channel.beta = totals[0] as f32;
        *channel.gamma = totals[1] as f32;
        if let Some(residual) = channel.residual {
            for (into, g) in residual.into_iter().zip(&to_norm) {
                into.fill(g.iter().copied());
            }
        }
        (totals, to_norm)
    }
}

impl Work<Vec<ChannelGradients<'_>>> for NormGradients<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, group: Vec<ChannelGradients>, _: &mut Scratch) {
        // The sums over the channels that share mean and variance, of `scale g` and of `scale g (x - mean) / deviation`.
        let mut totals = [0.0f64; 2];
        let mut channels = Vec::with_capacity(group.len());
        for channel in group {
            let c = channel.index;
            let ([beta, gamma], to_norm) = self.of_channel(simd, channel);
            let scale = f64::from(self.norm.affine.of(c).scale);
            totals = [totals[0] + scale * beta, totals[1] + scale * gamma];
            channels.push((c, to_norm));
        }
        let [mean_g, mean_gx] = match self.norm.of_batch {
            true => totals.map(|total| (total / self.x.count()) as f32),
            false => [0.0; 2],
        };
        for (c, to_norm) in channels {
            let inverse = self.norm.inverse_deviation[c];
            let Affine { mean, scale, .. } = self.norm.affine.of(c);
            for (x, into) in self.x.planes(c).zip(to_norm) {
                for (g, x) in into.iter_mut().zip(x) {
                    *g = scale * *g - mean_g - (x - mean) * inverse * mean_gx;
                }
            }
        }
    }
}
