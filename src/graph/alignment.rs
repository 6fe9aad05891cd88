//! [`Misalignment`]: maps that are merged and whose positions do not lie on each other.

use alloc::{string::String, vec, vec::Vec};
use core::fmt;

use serde::Serialize;

use super::{Grid, Map};
use crate::shape::axis_name;

/// Two maps of one size that are merged, and whose positions do not lie on each other.
///
/// # Example
/// ```
/// use burn_skip::{down::DownConfig, net::{EncoderConfig, PlainEncoderConfig, UnetConfig}, Trace};
///
/// // A strided convolution has its centres half a position behind those of a pool.
/// let encoder = PlainEncoderConfig::new(3, vec![8, 16]).with_down(DownConfig::conv());
/// let net = UnetConfig::new(3, 2, vec![8, 16]).with_encoder(EncoderConfig::Plain(encoder));
/// let plan = net.plan([1, 3, 64, 64]);
/// let (path, found) = plan.misalignments().remove(0);
/// assert_eq!(path, "decoder.steps.0");
/// assert_eq!([found.first, found.last], [0.5, 0.5]);
/// let text = "deep lies 0.50 positions behind skip along the height and the width";
/// assert_eq!(found.to_string(), text);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Misalignment {
    /// The two maps.
    pub maps: [String; 2],
    /// The axes, if it is the same on several.
    pub axes: Vec<String>,
    /// How many positions the first position of the first map lies behind that of the second.
    pub first: f64,
    /// The same of the last.
    pub last: f64,
}

impl fmt::Display for Misalignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([a, b], axis) = (&self.maps, self.axes.join(" and the "));
        let side = |apart: f64| if apart < 0.0 { "before" } else { "behind" };
        let (first, last) = (self.first, self.last);
        if (first - last).abs() < 1e-3 {
            let side = side(first);
            return write!(
                f,
                "{a} lies {:.2} positions {side} {b} along the {axis}",
                first.abs()
            );
        }
        write!(
            f,
            "{a} lies {:.2} positions {} {b} at the start of the {axis}, and {:.2} {} at its end",
            first.abs(),
            side(first),
            last.abs(),
            side(last),
        )
    }
}

/// Positions that are nearer to each other than this lie on each other.
const NEAR: f64 = 1e-3;

/// On which axes the positions of two maps of one size lie apart.
pub(super) fn misalignments<const R: usize>(
    [a, b]: [&str; 2],
    first: &Map<R>,
    second: &Map<R>,
) -> Vec<Misalignment> {
    let (Some(left), Some(right)) = (&first.grid, &second.grid) else {
        return Vec::new();
    };
    let axis = |n: usize| {
        let (left, right) = (left[n], right[n]);
        let last = first.shape[2 + n]
            .min(second.shape[2 + n])
            .saturating_sub(1) as f64;
        // (Where all positions are one, the other map's step is the measure.)
        let step = match right.stride.abs().max(left.stride.abs()) {
            0.0 => 1.0,
            _ if right.stride != 0.0 => right.stride,
            step => step,
        };
        let apart =
            |at: f64| (left.offset + left.stride * at - right.offset - right.stride * at) / step;
        let ends = [apart(0.0), apart(last)];
        ends.iter()
            .any(|apart| apart.abs() > NEAR)
            .then(|| Misalignment {
                maps: [a.into(), b.into()],
                axes: vec![axis_name(2 + n, R).into()],
                first: ends[0],
                last: ends[1],
            })
    };
    let mut found: Vec<Misalignment> = Vec::new();
    for mut more in (0..R - 2).filter_map(axis) {
        let same = |other: &&mut Misalignment| [other.first, other.last] == [more.first, more.last];
        match found.iter_mut().find(same) {
            Some(other) => other.axes.append(&mut more.axes),
            None => found.push(more),
        }
    }
    found
}

/// Where the positions of merged maps lie: as those of the last map whose grid is known, the skip. The receptive
/// field is the largest.
pub(super) fn merged_grid<const R: usize>(maps: &[&Map<R>]) -> Option<Vec<Grid>> {
    let last = maps.iter().rev().find(|map| map.grid.is_some())?;
    last.regrid(|n, grid| {
        let fields = maps
            .iter()
            .filter_map(|map| Some(map.grid.as_ref()?[n].field));
        Grid {
            field: fields.fold(grid.field, f64::max),
            ..grid
        }
    })
}
