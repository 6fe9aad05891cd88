//! [`Fit`]: gives a map a spatial size without parameters; and [`Target`]: which size that is.
//!
//! Every axis is decided on its own: a 15x6 and a 6x15 map become 15x15, each padded on one axis.

use alloc::{format, vec::Vec};

use burn::tensor::{Tensor, ops};
use serde::{Deserialize, Serialize};

pub use crate::graph::PadMode;

use crate::graph::{AxisPadding, Grid, Map, Op, Planner, Record};
use crate::layers::pool::{AdaptiveKind, adaptive_pool};
use crate::layers::resize::{ResizeMode, regrid, resize, resize_shape};
use crate::shape::{PerAxis, ShapeError, axis_name, expect, spatial, with_spatial};

/// Which part of a map stays where it is when positions are added or cut away.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::fit::{Anchor, Fit};
///
/// let cropped = |anchor| {
///     let x = Tensor::<3>::from_floats([[[1.0, 2.0, 3.0, 4.0]]], &Device::flex());
///     let y = Fit::Crop { anchor }.forward(x, &[2]);
///     y.to_data().try_to_vec::<f32>().unwrap()
/// };
/// assert_eq!(cropped(Anchor::Start), [1.0, 2.0]);
/// assert_eq!(cropped(Anchor::Center), [2.0, 3.0]);
/// assert_eq!(cropped(Anchor::End), [3.0, 4.0]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Anchor {
    /// The first positions: padding and cropping happen at the end.
    Start,
    /// The middle; the odd position is added or cut at the end.
    #[default]
    Center,
    /// The last positions.
    End,
}

impl Anchor {
    /// How many of `total` positions are added or cut at the start and at the end.
    const fn split(self, total: usize) -> AxisPadding {
        let start = match self {
            Self::Start => 0,
            Self::Center => total / 2,
            Self::End => total,
        };
        AxisPadding {
            start,
            end: total - start,
        }
    }
}

/// How a map is given a spatial size.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::fit::{Anchor, Fit};
///
/// let x = Tensor::<4>::ones([1, 8, 15, 6], &Device::flex());
/// let y = Fit::PadOrCrop { mode: Default::default(), anchor: Anchor::Center }.forward(x, &[9, 9]);
/// assert_eq!(y.dims(), [1, 8, 9, 9]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub enum Fit {
    /// Not at all: another size is an error.
    #[default]
    Exact,
    /// By interpolation.
    Resize(ResizeMode),
    /// By adding positions; a map that is too large is an error.
    Pad {
        /// What the new positions hold.
        #[serde(default)]
        mode: PadMode,
        /// Where the map lies among them.
        #[serde(default)]
        anchor: Anchor,
    },
    /// By cutting positions away; a map that is too small is an error.
    Crop {
        /// Which part stays.
        #[serde(default)]
        anchor: Anchor,
    },
    /// By adding positions on the axes that are too short, and cutting on those that are too long.
    PadOrCrop {
        /// What the new positions hold.
        #[serde(default)]
        mode: PadMode,
        /// Which part stays where it is.
        #[serde(default)]
        anchor: Anchor,
    },
    /// By adaptive pooling; a map that is too small is an error.
    Pool(AdaptiveKind),
}

const NAME: &str = "Fit";

impl Fit {
    /// Zeros around the map.
    pub const fn pad() -> Self {
        Self::Pad {
            mode: PadMode::Zero,
            anchor: Anchor::Center,
        }
    }

    /// The middle of the map.
    pub const fn crop() -> Self {
        Self::Crop {
            anchor: Anchor::Center,
        }
    }

    /// Zeros around the map, or the middle of it.
    pub const fn pad_or_crop() -> Self {
        Self::PadOrCrop {
            mode: PadMode::Zero,
            anchor: Anchor::Center,
        }
    }

    /// The shape of a map of shape `input` after it has been fitted to the spatial size `target`.
    ///
    /// # Errors
    /// When this fit cannot give the map that size.
    pub fn output_shape<const R: usize>(
        &self,
        input: [usize; R],
        target: &[usize],
    ) -> Result<[usize; R], ShapeError> {
        resize_shape(input, target).map_err(|e| e.with_layer(NAME))?;
        for (n, &to) in target.iter().enumerate() {
            self.check_axis(axis_name(2 + n, R), input[2 + n], to)?;
        }
        Ok(with_spatial(input, target))
    }

    /// Records the fit of a map to the spatial size `target`. A map that has that size is returned as it is.
    pub(crate) fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        target: &[usize],
    ) -> Result<Map<R>, ShapeError> {
        let has_size = spatial(&x.shape) == target && !planner.records_every_fit();
        if planner.is_any_size() || has_size || *self == Self::Exact && spatial(&x.shape) == target
        {
            return Ok(x.clone());
        }
        planner.leaf(NAME, &[x], || {
            let output = self.output_shape(x.shape, target)?;
            let op = self.op(spatial(&x.shape), target);
            Ok(Record::new(op, output).on_grid(self.regrid(x, target)))
        })
    }

    /// The operation that brings a map of the spatial size `from` to the size `to`.
    fn op(&self, from: &[usize], to: &[usize]) -> Op {
        let grows = from.iter().zip(to).any(|(from, to)| from < to);
        let shrinks = from.iter().zip(to).any(|(from, to)| from > to);
        // (All axes after the batch, of which the first is the channels.)
        let on_axes = |anchor: Anchor, more: &[usize], less: &[usize]| -> Vec<AxisPadding> {
            let axes = more.iter().zip(less);
            let split = axes.map(|(more, less)| anchor.split(more.saturating_sub(*less)));
            core::iter::once(AxisPadding::default())
                .chain(split)
                .collect()
        };
        let added = |anchor| on_axes(anchor, to, from);
        let cut = |anchor| on_axes(anchor, from, to);
        match *self {
            Self::Resize(mode) => Op::Resize(mode),
            Self::Pool(kind) => Op::AdaptivePool(kind),
            Self::PadOrCrop { mode, anchor } if grows && shrinks => Op::PadOrSlice {
                mode,
                added: added(anchor),
                cut: cut(anchor),
            },
            Self::Pad { mode, anchor } => Op::Pad {
                mode,
                added: added(anchor),
            },
            Self::PadOrCrop { mode, anchor } if grows => Op::Pad {
                mode,
                added: added(anchor),
            },
            Self::PadOrCrop { anchor, .. } | Self::Crop { anchor } => {
                Op::Slice { cut: cut(anchor) }
            }
            // It does nothing, and is never recorded: the sizes are equal.
            Self::Exact => Op::Reshape,
        }
    }

    /// Where the positions of the fitted map lie.
    fn regrid<const R: usize>(&self, x: &Map<R>, target: &[usize]) -> Option<Vec<Grid>> {
        match *self {
            Self::Exact => x.grid.clone(),
            Self::Resize(mode) => regrid(x, target, mode),
            Self::Pool(_) => regrid(x, target, ResizeMode::Area),
            Self::Pad { anchor, .. } | Self::Crop { anchor } | Self::PadOrCrop { anchor, .. } => x
                .regrid(|n, grid| {
                    let (from, to) = (x.shape[2 + n], target[n]);
                    let added = anchor.split(to.saturating_sub(from)).start as isize;
                    let cut = anchor.split(from.saturating_sub(to)).start as isize;
                    grid.padded(added - cut)
                }),
        }
    }

    /// Refuses an axis of `from` positions that this fit cannot give `to`.
    fn check_axis(&self, axis: &str, from: usize, to: usize) -> Result<(), ShapeError> {
        let refuse = |problem, remedy: &str| Err(ShapeError::new(NAME, problem, remedy));
        match self {
            Self::Exact if from != to => refuse(
                format!("{axis} is {from}, and {to} is wanted"),
                "Choose a fit (Fit::Resize, Fit::Pad, Fit::Crop)",
            ),
            Self::Pad { .. } if from > to => refuse(
                format!("{axis} {from} is larger than {to}: Fit::Pad cannot make it smaller"),
                "Choose Fit::PadOrCrop, Fit::Resize, or a larger target",
            ),
            Self::Crop { .. } if from < to => refuse(
                format!("{axis} {from} is smaller than {to}: Fit::Crop cannot make it larger"),
                "Choose Fit::PadOrCrop, Fit::Resize, or a smaller target",
            ),
            Self::Pool(_) if from < to => refuse(
                format!("{axis} {from} is smaller than {to}: Fit::Pool cannot make it larger"),
                "Choose Fit::Resize, or a smaller target",
            ),
            Self::Pad { mode, anchor } | Self::PadOrCrop { mode, anchor }
                if *mode == PadMode::Reflect && from < to =>
            {
                let pads = anchor.split(to - from);
                let most = pads.start.max(pads.end);
                if most < from {
                    return Ok(());
                }
                refuse(
                    format!(
                        "{axis} {from} cannot be padded by {most} at an end: PadMode::Reflect adds at most {}",
                        from - 1
                    ),
                    "Choose PadMode::Edge or PadMode::Zero",
                )
            }
            _ => Ok(()),
        }
    }

    /// Gives `x` the spatial size `target`.
    ///
    /// # Panics
    /// When [`output_shape`](Self::output_shape) returns an error, with its message.
    pub fn forward<const R: usize>(&self, x: Tensor<R>, target: &[usize]) -> Tensor<R> {
        let shape = x.dims();
        expect(self.output_shape(shape, target));
        if spatial(&shape) == target {
            return x;
        }
        match *self {
            Self::Exact => x,
            Self::Resize(mode) => resize(x, target, mode),
            Self::Pad { mode, anchor } => pad(x, target, mode, anchor),
            Self::Crop { anchor } => crop(x, target, anchor),
            Self::PadOrCrop { mode, anchor } => pad(crop(x, target, anchor), target, mode, anchor),
            Self::Pool(kind) => adaptive_pool(x, target, kind),
        }
    }
}

/// Cuts the axes that are longer than the target.
fn crop<const R: usize>(x: Tensor<R>, target: &[usize], anchor: Anchor) -> Tensor<R> {
    target.iter().enumerate().fold(x, |x, (n, &to)| {
        let from = x.dims()[2 + n];
        if from <= to {
            return x;
        }
        x.narrow(2 + n, anchor.split(from - to).start, to)
    })
}

/// Adds to the axes that are shorter than the target.
fn pad<const R: usize>(x: Tensor<R>, target: &[usize], mode: PadMode, anchor: Anchor) -> Tensor<R> {
    let pads: Vec<(usize, usize)> = spatial(&x.dims())
        .iter()
        .zip(target)
        .map(|(&from, &to)| anchor.split(to.saturating_sub(from)))
        .map(|pads| (pads.start, pads.end))
        .collect();
    if pads.iter().all(|&pads| pads == (0, 0)) {
        return x;
    }
    let mode = match mode {
        PadMode::Zero => ops::PadMode::Constant(0.0),
        PadMode::Edge => ops::PadMode::Edge,
        PadMode::Reflect => ops::PadMode::Reflect,
    };
    x.pad(pads, mode)
}

/// The spatial size that the branches of a fusion are fitted to.
///
/// # Example
/// ```
/// use burn_skip::{BranchConfig, FuseConfig, fit::{Fit, Target}, merge::Merge};
///
/// let branches = vec![BranchConfig::new(8).with_fit(Fit::pad_or_crop()); 2];
/// let config = FuseConfig::new(branches, Merge::Add);
/// let maps = [[1, 8, 15, 6], [1, 8, 6, 15]]; // deep, skip
/// let merged = |target| config.clone().with_target(target).output_shape(&maps).unwrap();
/// assert_eq!(merged(Target::Deep), [1, 8, 15, 6]);
/// assert_eq!(merged(Target::Skip), [1, 8, 6, 15]);
/// assert_eq!(merged(Target::Largest), [1, 8, 15, 15]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Target {
    /// That of the first branch, the deep map.
    Deep,
    /// That of the last branch, the skip.
    Skip,
    /// On each axis the largest.
    Largest,
    /// On each axis the smallest.
    Smallest,
    /// This one.
    Size(Vec<usize>),
}

impl Target {
    /// That of the deep map.
    pub(crate) const fn deep() -> Self {
        Self::Deep
    }

    /// That of the skip.
    pub(crate) const fn skip() -> Self {
        Self::Skip
    }

    /// Checks a given size for maps of rank `rank`.
    ///
    /// # Errors
    /// When it has another number of axes, or a zero.
    pub fn validate(&self, rank: usize) -> Result<(), ShapeError> {
        match self {
            Self::Size(size) => PerAxis::Each(size.clone())
                .resolve_positive(rank, "Target", "size")
                .map(|_| ()),
            _ => Ok(()),
        }
    }

    /// The size that maps of the given shapes are fitted to. There is at least one map.
    pub(crate) fn resolve<const R: usize>(&self, shapes: &[[usize; R]]) -> Vec<usize> {
        let each_axis = |pick: fn(usize, usize) -> usize| {
            (2..R)
                .filter_map(|axis| shapes.iter().map(|shape| shape[axis]).reduce(pick))
                .collect()
        };
        match self {
            Self::Deep => spatial(&shapes[0]).to_vec(),
            Self::Skip => spatial(&shapes[shapes.len() - 1]).to_vec(),
            Self::Largest => each_axis(Ord::max),
            Self::Smallest => each_axis(Ord::min),
            Self::Size(size) => size.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use burn::tensor::Device;

    fn fitted(fit: &Fit, x: &[f32], target: usize) -> Vec<f32> {
        let device = Device::flex();
        let x = Tensor::<1>::from_floats(x, &device).reshape([1, 1, x.len()]);
        fit.forward(x, &[target]).to_data().try_to_vec().unwrap()
    }

    #[test]
    fn anchors_decide_where_positions_are_added_and_cut() {
        let pad = |anchor| Fit::Pad {
            mode: PadMode::Zero,
            anchor,
        };
        let x = [1.0, 2.0];
        assert_eq!(
            fitted(&pad(Anchor::Start), &x, 5),
            [1.0, 2.0, 0.0, 0.0, 0.0]
        );
        assert_eq!(
            fitted(&pad(Anchor::Center), &x, 5),
            [0.0, 1.0, 2.0, 0.0, 0.0]
        );
        assert_eq!(fitted(&pad(Anchor::End), &x, 5), [0.0, 0.0, 0.0, 1.0, 2.0]);
        let x = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(fitted(&Fit::crop(), &x, 3), [1.0, 2.0, 3.0]);
        let end = Fit::Crop {
            anchor: Anchor::End,
        };
        assert_eq!(fitted(&end, &x, 3), [2.0, 3.0, 4.0]);
    }

    #[test]
    fn pad_modes() {
        let pad = |mode| Fit::Pad {
            mode,
            anchor: Anchor::Center,
        };
        let x = [1.0, 2.0, 4.0];
        assert_eq!(
            fitted(&pad(PadMode::Edge), &x, 5),
            [1.0, 1.0, 2.0, 4.0, 4.0]
        );
        assert_eq!(
            fitted(&pad(PadMode::Reflect), &x, 6),
            [2.0, 1.0, 2.0, 4.0, 2.0, 1.0]
        );
    }

    #[test]
    fn pools_average_and_take_the_largest() {
        let x = [1.0, 3.0, -2.0, 4.0];
        assert_eq!(fitted(&Fit::Pool(AdaptiveKind::Avg), &x, 2), [2.0, 1.0]);
        assert_eq!(fitted(&Fit::Pool(AdaptiveKind::Max), &x, 2), [3.0, 4.0]);
    }

    #[test]
    fn axes_are_decided_one_by_one() {
        let target = Target::Largest.resolve(&[[1, 2, 15, 6], [1, 2, 6, 15]]);
        assert_eq!(target, [15, 15]);
        let pad = Fit::pad();
        assert_eq!(pad.output_shape([1, 2, 15, 6], &target), Ok([1, 2, 15, 15]));
        assert_eq!(pad.output_shape([1, 2, 6, 15], &target), Ok([1, 2, 15, 15]));
    }

    #[test]
    fn errors_name_axis_numbers_and_remedy() {
        let text = |fit: Fit, target: &[usize]| {
            fit.output_shape([1, 2, 6, 15], target)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            text(Fit::Exact, &[6, 16]),
            "Fit: width is 15, and 16 is wanted. Choose a fit (Fit::Resize, Fit::Pad, Fit::Crop)."
        );
        assert_eq!(
            text(Fit::pad(), &[6, 14]),
            "Fit: width 15 is larger than 14: Fit::Pad cannot make it smaller. Choose Fit::PadOrCrop, Fit::Resize, or a larger target."
        );
        assert_eq!(
            text(Fit::crop(), &[7, 15]),
            "Fit: height 6 is smaller than 7: Fit::Crop cannot make it larger. Choose Fit::PadOrCrop, Fit::Resize, or a smaller target."
        );
        let reflect = Fit::Pad {
            mode: PadMode::Reflect,
            anchor: Anchor::Start,
        };
        assert_eq!(
            text(reflect, &[12, 15]),
            "Fit: height 6 cannot be padded by 6 at an end: PadMode::Reflect adds at most 5. Choose PadMode::Edge or PadMode::Zero."
        );
        assert_eq!(
            text(Fit::pad(), &[9]),
            "Fit: size [9] has 1 numbers, the map has 2 spatial axes [6, 15]. Give one number for each spatial axis."
        );
    }
}
