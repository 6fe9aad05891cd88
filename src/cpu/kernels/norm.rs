//! Batch norm with what follows it, `y = act(scale x + shift + residual)`, in two passes over the map;
//! its gradient in two more. Sums go on in f64 after every block.

use alloc::{vec, vec::Vec};

use pulp::Simd;

use super::raw::blank::{Blank, Piece};
use super::threads::{self, Scratch, Work};

/// Values that are added in f32 before they go on in f64.
const BLOCK: usize = 1024;
const LANES: usize = 16;

/// Sums of `N` terms of each of `len` positions.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // lanes of vectors
fn sums<const N: usize>(len: usize, term: impl Fn(usize) -> [f32; N]) -> [f64; N] {
    let mut total = [0.0f64; N];
    let mut start = 0;
    while start < len {
        let end = len.min(start + BLOCK);
        let mut lanes = [[0.0f32; LANES]; N];
        let mut i = start;
        while i + LANES <= end {
            for lane in 0..LANES {
                let term = term(i + lane);
                for n in 0..N {
                    lanes[n][lane] += term[n];
                }
            }
            i += LANES;
        }
        while i < end {
            let term = term(i);
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
            let values = self.0;
            sums(values.len(), |i| [values[i]])[0]
        }
    }
    threads::instructions().dispatch(Sum(values))
}

/// A map as batch norm sees it.
#[derive(Clone, Copy)]
pub(crate) struct Map<'a> {
    /// `[batch, channels, positions]`
    pub(crate) values: &'a [f32],
    pub(crate) channels: usize,
    pub(crate) positions: usize,
}

impl<'a> Map<'a> {
    /// The planes of a channel.
    fn planes(self, channel: usize) -> impl Iterator<Item = &'a [f32]> {
        let planes = self.values.chunks_exact(self.positions);
        planes.skip(channel).step_by(self.channels)
    }

    fn of_a_channel(self) -> f64 {
        (self.values.len() / self.channels) as f64
    }
}

/// The planes of a map that is written, by channels.
fn planes_by_channel(values: &mut Blank, channels: usize, positions: usize) -> Vec<Vec<Piece<'_>>> {
    let mut planes: Vec<Vec<Piece>> = (0..channels).map(|_| Vec::new()).collect();
    for (index, _, plane) in values.pieces([positions; 2], [positions, 1]) {
        planes[index % channels].push(plane);
    }
    planes
}

/// Mean and biased variance of each channel.
pub(crate) fn moments(x: Map) -> (Vec<f32>, Vec<f32>) {
    struct Moments<'a>(Map<'a>);
    impl Work<(usize, (&mut f32, &mut f32))> for Moments<'_> {
        #[inline(always)]
        fn run<S: Simd>(
            &self,
            _: S,
            (channel, (mean, variance)): (usize, (&mut f32, &mut f32)),
            _: &mut Scratch,
        ) {
            let count = self.0.of_a_channel();
            let mut total = 0.0;
            for plane in self.0.planes(channel) {
                total += sums(plane.len(), |i| [plane[i]])[0];
            }
            let center = (total / count) as f32;
            let mut squares = [0.0; 2];
            for plane in self.0.planes(channel) {
                let more = sums(plane.len(), |i| {
                    let d = plane[i] - center;
                    [d, d * d]
                });
                squares = [squares[0] + more[0], squares[1] + more[1]];
            }
            *mean = (total / count) as f32;
            let off = squares[0] / count;
            *variance = (squares[1] / count - off * off) as f32;
        }
    }
    let (mut mean, mut variance) = (vec![0.0; x.channels], vec![0.0; x.channels]);
    let tasks = mean.iter_mut().zip(&mut variance).enumerate();
    threads::run(&Moments(x), tasks.collect());
    (mean, variance)
}

/// `act(scale x + shift + residual)`
pub(crate) fn affine(
    x: Map,
    scale: &[f32],
    shift: &[f32],
    residual: Option<&[f32]>,
    relu: bool,
) -> Vec<f32> {
    struct Affine<'a> {
        x: Map<'a>,
        scale: &'a [f32],
        shift: &'a [f32],
        residual: Option<Map<'a>>,
        relu: bool,
    }
    impl Work<(usize, Vec<Piece<'_>>)> for Affine<'_> {
        #[inline(always)]
        fn run<S: Simd>(&self, _: S, (channel, planes): (usize, Vec<Piece>), _: &mut Scratch) {
            let (scale, shift) = (self.scale[channel], self.shift[channel]);
            let low = if self.relu { 0.0 } else { f32::NEG_INFINITY };
            let finish = |v: f32| if v < low { low } else { v };
            let mut residuals = self.residual.map(|residual| residual.planes(channel));
            for (x, y) in self.x.planes(channel).zip(planes) {
                match residuals.as_mut().and_then(Iterator::next) {
                    Some(residual) => {
                        let both = x.iter().zip(residual);
                        y.fill(both.map(|(x, r)| finish(x * scale + shift + r)));
                    }
                    None => {
                        y.fill(x.iter().map(|x| finish(x * scale + shift)));
                    }
                }
            }
        }
    }
    let mut y = Blank::new(x.values.len());
    let planes = planes_by_channel(&mut y, x.channels, x.positions);
    let residual = residual.map(|values| Map { values, ..x });
    let work = Affine {
        x,
        scale,
        shift,
        residual,
        relu,
    };
    threads::run(&work, planes.into_iter().enumerate().collect());
    y.finish()
}

/// What a gradient that comes to `y = act(scale x + shift + residual)` passes on, where `scale` and
/// `shift` come from the moments of `x`.
pub(crate) struct Gradients {
    pub(crate) x: Vec<f32>,
    pub(crate) gamma: Vec<f32>,
    pub(crate) beta: Vec<f32>,
    /// To the residual, if there was one.
    pub(crate) residual: Option<Vec<f32>>,
}

/// How the values that ReLU has cut are known again.
#[derive(Clone, Copy)]
pub(crate) enum Cut<'a> {
    /// There was no ReLU.
    None,
    /// Where the output is 0.
    Output(&'a [f32]),
    /// Where `scale x + shift` is not above 0; for norms without a residual.
    Input,
}

/// The numbers of a norm: `y = gamma (x - mean) / deviation + beta`.
#[derive(Clone, Copy)]
pub(crate) struct Norm<'a> {
    pub(crate) gamma: &'a [f32],
    pub(crate) beta: &'a [f32],
    pub(crate) mean: &'a [f32],
    /// `1 / sqrt(variance + epsilon)`
    pub(crate) inverse_deviation: &'a [f32],
    /// Whether mean and deviation are those of the map.
    pub(crate) of_batch: bool,
}

impl Norm<'_> {
    /// Scale and shift of each channel.
    pub(crate) fn affine(&self) -> (Vec<f32>, Vec<f32>) {
        let scale: Vec<f32> = self
            .gamma
            .iter()
            .zip(self.inverse_deviation)
            .map(|(g, d)| g * d)
            .collect();
        let shift = self
            .beta
            .iter()
            .zip(self.mean)
            .zip(&scale)
            .map(|((b, m), s)| b - m * s);
        let shift = shift.collect();
        (scale, shift)
    }
}

/// The gradients of a norm in training.
pub(crate) fn backward(
    x: Map,
    gradient: &[f32],
    norm: Norm,
    cut: Cut,
    residual: bool,
) -> Gradients {
    struct Backward<'a> {
        x: Map<'a>,
        gradient: Map<'a>,
        output: Option<Map<'a>>,
        cut_by_input: bool,
        norm: Norm<'a>,
        scale: Vec<f32>,
        shift: Vec<f32>,
    }
    struct Channel<'a> {
        index: usize,
        gamma: &'a mut f32,
        beta: &'a mut f32,
        x: Vec<Piece<'a>>,
        residual: Option<Vec<Piece<'a>>>,
    }
    impl Work<Channel<'_>> for Backward<'_> {
        #[inline(always)]
        fn run<S: Simd>(&self, _: S, channel: Channel, _: &mut Scratch) {
            let c = channel.index;
            let (mean, inverse) = (self.norm.mean[c], self.norm.inverse_deviation[c]);
            let (scale, shift) = (self.scale[c], self.shift[c]);
            // First the gradient behind the activation, with its sums; then what comes of them.
            let mut totals = [0.0f64; 2];
            let mut outputs = self.output.map(|output| output.planes(c));
            let planes = self.x.planes(c).zip(self.gradient.planes(c)).zip(channel.x);
            let mut behind = Vec::new();
            for ((x, gradient), into) in planes {
                let g = gradient.iter();
                let into = match outputs.as_mut().and_then(Iterator::next) {
                    Some(output) => {
                        let passes = output.iter().map(|y| *y > 0.0);
                        into.fill(
                            g.zip(passes)
                                .map(|(g, passes)| if passes { *g } else { 0.0 }),
                        )
                    }
                    None if self.cut_by_input => {
                        let passes = x.iter().map(|x| x * scale + shift > 0.0);
                        into.fill(
                            g.zip(passes)
                                .map(|(g, passes)| if passes { *g } else { 0.0 }),
                        )
                    }
                    None => into.fill(g.copied()),
                };
                let seen = &*into;
                let more = sums(x.len(), |i| [seen[i], seen[i] * ((x[i] - mean) * inverse)]);
                totals = [totals[0] + more[0], totals[1] + more[1]];
                behind.push(into);
            }
            *channel.beta = totals[0] as f32;
            *channel.gamma = totals[1] as f32;
            if let Some(residual) = channel.residual {
                for (into, g) in residual.into_iter().zip(&behind) {
                    into.fill(g.iter().copied());
                }
            }
            let count = self.x.of_a_channel();
            let [mean_g, mean_gx] = match self.norm.of_batch {
                true => totals.map(|total| (total / count) as f32),
                false => [0.0; 2],
            };
            for (x, into) in self.x.planes(c).zip(behind) {
                for (g, x) in into.iter_mut().zip(x) {
                    *g = scale * (*g - mean_g - (x - mean) * inverse * mean_gx);
                }
            }
        }
    }
    let [mut gamma, mut beta] = [(); 2].map(|()| vec![0.0; x.channels]);
    let mut to_x = Blank::new(x.values.len());
    let mut to_residual = residual.then(|| Blank::new(x.values.len()));
    let (scale, shift) = norm.affine();
    let work = Backward {
        x,
        gradient: Map {
            values: gradient,
            ..x
        },
        output: match cut {
            Cut::Output(values) => Some(Map { values, ..x }),
            _ => None,
        },
        cut_by_input: matches!(cut, Cut::Input),
        norm,
        scale,
        shift,
    };
    let mut residuals = to_residual
        .as_mut()
        .map(|values| planes_by_channel(values, x.channels, x.positions).into_iter());
    let planes = planes_by_channel(&mut to_x, x.channels, x.positions);
    let numbers = gamma.iter_mut().zip(&mut beta);
    let tasks = planes
        .into_iter()
        .zip(numbers)
        .enumerate()
        .map(|(index, (x, (gamma, beta)))| Channel {
            index,
            gamma,
            beta,
            x,
            residual: residuals.as_mut().and_then(Iterator::next),
        });
    let tasks = tasks.collect();
    drop(residuals);
    threads::run(&work, tasks);
    Gradients {
        x: to_x.finish(),
        gamma,
        beta,
        residual: to_residual.map(Blank::finish),
    }
}
