//! [`Dims`]: sizes of maps as numbers, or as what the model computes of the sizes of other maps when it runs.

use std::collections::BTreeMap;

/// A size along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// The same for all inputs.
    Known(usize),
    /// That of an axis of a map, times a number.
    Of { axis: MapAxis, times: usize },
    /// That of an axis of a map, divided by a number.
    Divided {
        axis: MapAxis,
        by: usize,
        /// Whether to the next whole number, and not to the one before.
        rounds_up: bool,
    },
    /// The larger of two.
    Max([MapAxis; 2]),
    /// The smaller of two.
    Min([MapAxis; 2]),
}

/// An axis of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MapAxis {
    /// The number of the map.
    pub map: usize,
    /// The axis.
    pub axis: usize,
}

/// The shapes of the maps that have been computed, at each of the planned sizes.
#[derive(Default)]
pub(super) struct Dims {
    maps: BTreeMap<usize, Vec<Vec<usize>>>,
}

impl Dims {
    /// Adds a map.
    pub fn insert(&mut self, map: usize, shapes: &[&[usize]]) {
        let shapes = shapes.iter().map(|shape| shape.to_vec()).collect();
        self.maps.insert(map, shapes);
    }

    /// The size that is `wanted` at each of the planned sizes. Of several maps with such an axis, `first` is preferred,
    /// and then the one that was computed last.
    pub fn size(&self, wanted: &[usize], first: MapAxis) -> Option<Size> {
        if wanted.iter().all(|size| *size == wanted[0]) {
            return Some(Size::Known(wanted[0]));
        }
        let axes = || core::iter::once(first).chain(self.axes().rev());
        if let Some(axis) = axes().find(|&axis| self.values(axis).eq(wanted.iter().copied())) {
            return Some(Size::Of { axis, times: 1 });
        }
        let times = |axis: MapAxis| {
            let times = wanted[0] / self.values(axis).next()?;
            let scaled = self.values(axis).map(|size| size * times);
            scaled.eq(wanted.iter().copied()).then_some(times)
        };
        let scaled = axes().find_map(|axis| {
            Some(Size::Of {
                axis,
                times: times(axis)?,
            })
        });
        scaled
            .or_else(|| self.divided(wanted, first.axis))
            .or_else(|| self.extreme(wanted, first.axis))
    }

    /// The input of the network divided by a number.
    fn divided(&self, wanted: &[usize], axis: usize) -> Option<Size> {
        let (&map, _) = self.maps.first_key_value()?;
        let axis = MapAxis { map, axis };
        let largest = self.values(axis).next()? / wanted[0].max(1) + 1;
        let is = |divide: &dyn Fn(usize) -> usize| {
            self.values(axis).map(divide).eq(wanted.iter().copied())
        };
        (2..=largest).find_map(|by| {
            let rounds_up = is(&|size| size.div_ceil(by));
            (rounds_up || is(&|size| size / by)).then_some(Size::Divided {
                axis,
                by,
                rounds_up,
            })
        })
    }

    /// The larger or the smaller of two maps along the same axis.
    fn extreme(&self, wanted: &[usize], axis: usize) -> Option<Size> {
        let axes: Vec<MapAxis> = self.axes().filter(|other| other.axis == axis).collect();
        let is = |pick: fn(usize, usize) -> usize, pair: [MapAxis; 2]| {
            let values = self.values(pair[0]).zip(self.values(pair[1]));
            values.map(|(a, b)| pick(a, b)).eq(wanted.iter().copied())
        };
        let pairs = axes
            .iter()
            .enumerate()
            .flat_map(|(n, &a)| axes[..n].iter().map(move |&b| [a, b]));
        pairs.into_iter().find_map(|pair| {
            if is(Ord::max, pair) {
                return Some(Size::Max(pair));
            }
            is(Ord::min, pair).then_some(Size::Min(pair))
        })
    }

    /// All spatial axes, in the order in which the maps were computed.
    fn axes(&self) -> impl DoubleEndedIterator<Item = MapAxis> {
        let of_map = |(&map, shapes): (&usize, &Vec<Vec<usize>>)| {
            (2..shapes[0].len()).map(move |axis| MapAxis { map, axis })
        };
        self.maps.iter().flat_map(of_map)
    }

    /// The size of an axis at each of the planned sizes.
    fn values(&self, MapAxis { map, axis }: MapAxis) -> impl Iterator<Item = usize> {
        let shapes = self.maps.get(&map).into_iter().flatten();
        shapes.filter_map(move |shape| shape.get(axis).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_from_those_of_other_maps() {
        let mut dims = Dims::default();
        // The input, and what a pool of two makes of it, at four sizes.
        dims.insert(0, &[&[1, 3, 32], &[1, 3, 33], &[1, 3, 45], &[1, 3, 50]]);
        dims.insert(1, &[&[1, 3, 16], &[1, 3, 16], &[1, 3, 22], &[1, 3, 25]]);
        let [input, pooled] = [0, 1].map(|map| MapAxis { map, axis: 2 });
        let fixed = MapAxis { map: 2, axis: 2 };
        dims.insert(2, &[&[1, 3, 20], &[1, 3, 20], &[1, 3, 20], &[1, 3, 20]]);
        let size = |wanted: &[usize]| dims.size(wanted, pooled);
        assert_eq!(size(&[4; 4]), Some(Size::Known(4)));
        assert_eq!(
            size(&[32, 33, 45, 50]),
            Some(Size::Of {
                axis: input,
                times: 1
            })
        );
        assert_eq!(
            size(&[32, 32, 44, 50]),
            Some(Size::Of {
                axis: pooled,
                times: 2
            })
        );
        let divided = |by, rounds_up| Size::Divided {
            axis: input,
            by,
            rounds_up,
        };
        assert_eq!(size(&[16, 17, 23, 25]), Some(divided(2, true)));
        assert_eq!(size(&[10, 11, 15, 16]), Some(divided(3, false)));
        assert_eq!(size(&[16, 17, 23, 26]), None);
        assert_eq!(size(&[20, 20, 22, 25]), Some(Size::Max([fixed, pooled])));
        assert_eq!(size(&[16, 16, 20, 20]), Some(Size::Min([fixed, pooled])));
    }
}
