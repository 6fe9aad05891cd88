//! [`Maps`]: the channels of a crop, which intensity transforms change.

use alloc::vec::Vec;

use super::draws::Draws;

/// The channels of a crop.
pub(super) struct Maps<'a> {
    pub(super) values: &'a mut [f32],
    /// `[depth, height, width]`
    pub(super) size: [usize; 3],
    pub(super) has_depth: bool,
}

impl Maps<'_> {
    /// The channels, one after the other.
    pub(super) fn channels(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let pixels: usize = self.size.iter().product();
        self.values.chunks_exact_mut(pixels.max(1))
    }

    /// Changes each channel by what was drawn: once, or for each channel.
    pub(super) fn each<D: Copy>(
        &mut self,
        per_channel: bool,
        draws: &mut Draws<'_>,
        draw: impl Fn(&mut Draws<'_>) -> D,
        change: impl Fn(&mut [f32], D),
    ) {
        let mut drawn = None;
        for map in self.channels() {
            let drawn = match drawn {
                Some(drawn) if !per_channel => drawn,
                _ => *drawn.insert(draw(draws)),
            };
            change(map, drawn);
        }
    }
}

/// Changes each line of a map along an axis.
pub(super) fn each_line(
    map: &mut [f32],
    size: [usize; 3],
    axis: usize,
    mut change: impl FnMut(&mut [f32]),
) {
    let length = size[axis];
    let stride: usize = size[axis + 1..].iter().product();
    let mut line = Vec::with_capacity(length);
    for block in map.chunks_exact_mut(length * stride) {
        for first in 0..stride {
            line.clear();
            line.extend(block[first..].iter().step_by(stride).copied());
            change(&mut line);
            let values = block[first..].iter_mut().step_by(stride);
            values.zip(&line).for_each(|(value, &new)| *value = new);
        }
    }
}

/// What a map is like as a whole.
#[derive(Clone, Copy)]
pub(super) struct Statistics {
    pub(super) mean: f64,
    /// The standard deviation of all values, divided by their number.
    pub(super) deviation: f64,
    pub(super) least: f32,
    pub(super) most: f32,
}

impl Statistics {
    pub(super) fn of(map: &[f32]) -> Self {
        let count = map.len().max(1) as f64;
        let mean = map.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
        let squares = map.iter().map(|&value| {
            let off = f64::from(value) - mean;
            off * off
        });
        Self {
            mean,
            deviation: libm::sqrt(squares.sum::<f64>() / count),
            least: map.iter().copied().fold(f32::INFINITY, f32::min),
            most: map.iter().copied().fold(f32::NEG_INFINITY, f32::max),
        }
    }

    /// Whether the values differ, and all of them are numbers.
    pub(super) fn is_varied(&self) -> bool {
        self.deviation.is_finite() && self.least < self.most
    }
}
