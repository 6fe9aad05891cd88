//! [`Alignment`]: maps are fitted to one size and merged. All fusions have it in common.

use alloc::{vec, vec::Vec};

use burn::tensor::Tensor;

use crate::fuse::fit::{Fit, Target};
use crate::fuse::merge::{Merge, Order};
use crate::graph::{Map, Name, Planner};
use crate::layers::conv::{LazyConcat, Part};
use crate::shape::{Axis, ShapeError};

/// The fits of the maps, the size that they are fitted to, and the merge that follows.
pub(super) struct Alignment<'a> {
    pub fits: Vec<&'a Fit>,
    pub target: &'a Target,
    pub merge: Merge,
}

impl<'a> Alignment<'a> {
    /// Two maps that are concatenated on the channels.
    pub fn of_deep_and_skip(fit: &'a Fit, target: &'a Target, order: Order) -> Self {
        Self {
            fits: vec![fit, fit],
            target,
            merge: Merge::Concat {
                axis: Axis::Channels,
                order,
            },
        }
    }

    /// The spatial size that each map is fitted to. With a concat along a spatial axis each map keeps
    /// its size on that axis.
    fn sizes<const R: usize>(&self, shapes: &[[usize; R]]) -> Vec<Vec<usize>> {
        let target = self.target.resolve(shapes);
        let free = self.merge.free_axis().and_then(|axis| axis.checked_sub(2));
        let size_of = |shape: &[usize; R]| {
            let mut size = target.clone();
            if let Some(n) = free {
                size[n] = shape[2 + n];
            }
            size
        };
        shapes.iter().map(size_of).collect()
    }

    /// Whether a map is handed to the merge with the size that it has: with `Fit::Exact`, unless a given size is
    /// the target. The merge refuses other sizes, and says which map differs from which.
    fn keeps_size(&self, fit: &Fit) -> bool {
        *fit == Fit::Exact && !matches!(self.target, Target::Size(_))
    }

    /// Records the fits and returns the fitted maps. `name` gives the name of the part that fits a map.
    pub fn trace_fits<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[&Map<R>],
        name: impl Fn(usize) -> Name,
    ) -> Result<Vec<Map<R>>, ShapeError> {
        self.target.validate(R)?;
        self.merge.validate(R)?;
        let shapes: Vec<_> = maps.iter().map(|map| map.shape).collect();
        let sizes = self.sizes(&shapes);
        let fit = |((index, fit), &map): ((usize, &&Fit), &&Map<R>)| {
            if self.keeps_size(fit) {
                return Ok(map.clone());
            }
            fit.trace(planner.at(name(index)), map, &sizes[index])
        };
        self.fits.iter().enumerate().zip(maps).map(fit).collect()
    }

    /// Records the merge of fitted maps, as a step of the layer type `layer`. `names` are what messages call the
    /// maps.
    pub fn trace_merge<const R: usize>(
        &self,
        planner: &mut Planner,
        layer: &str,
        maps: &[&Map<R>],
        names: &[&str],
    ) -> Result<Map<R>, ShapeError> {
        let merge = |planner: &mut Planner| self.merge.trace(planner.at(""), layer, maps, names);
        match self.lazy_order() {
            Some(_) => planner.dispatched(merge),
            None => merge(planner),
        }
    }

    /// The fitted maps.
    pub fn fit<const R: usize>(&self, maps: Vec<Tensor<R>>) -> Vec<Tensor<R>> {
        let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
        let sizes = self.sizes(&shapes);
        let fit = |((map, fit), size): ((Tensor<R>, &&Fit), Vec<usize>)| {
            if self.keeps_size(fit) {
                map
            } else {
                fit.forward(map, &size)
            }
        };
        maps.into_iter()
            .zip(&self.fits)
            .zip(sizes)
            .map(fit)
            .collect()
    }

    /// The order of a lazy concatenation, if the merge is one: along the channels.
    fn lazy_order(&self) -> Option<Order> {
        match self.merge {
            Merge::Concat {
                axis: Axis::Channels,
                order,
            } => Some(order),
            _ => None,
        }
    }

    /// Merges fitted maps. A concatenation on the channels stays lazy.
    pub fn merge<const R: usize>(&self, mut maps: Vec<Tensor<R>>) -> LazyConcat<R> {
        match self.lazy_order() {
            None => self.merge.forward(maps).into(),
            Some(order) => {
                if order == Order::SkipFirst {
                    maps.reverse();
                }
                LazyConcat::new(maps.into_iter().map(Part::new).collect())
            }
        }
    }
}

/// The names of the two maps of a fusion.
pub(super) fn deep_and_skip(index: usize) -> Name {
    ["deep", "skip"][index].into()
}
