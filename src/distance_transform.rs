//! Exact Euclidean distances on a grid.
//!
//! `d^2(p) = min_q |p - q|^2` is separable: along each axis it is the lower envelope of parabolas (Felzenszwalb and
//! Huttenlocher, Distance Transforms of Sampled Functions, Theory of Computing 8, 2012, section 2). The time is linear
//! in the number of positions.

use alloc::{vec, vec::Vec};

/// The squared distance of each position to the nearest of `targets`; infinite if there is none.
pub(crate) fn squared_distances(targets: &[bool], size: &[usize], spacing: &[f64]) -> Vec<f64> {
    let at_target = |&target: &bool| if target { 0.0 } else { f64::INFINITY };
    let mut squares: Vec<f64> = targets.iter().map(at_target).collect();
    let mut envelope = Envelope::default();
    for ((&len, stride), spacing) in size.iter().zip(strides(size)).zip(spacing) {
        let mut line = vec![0.0; len];
        for block in squares.chunks_exact_mut(len * stride) {
            for start in 0..stride {
                let places = (start..).step_by(stride);
                for (value, place) in line.iter_mut().zip(places.clone()) {
                    *value = block[place];
                }
                envelope.lower(&mut line, spacing * spacing);
                for (value, place) in line.iter().zip(places) {
                    block[place] = *value;
                }
            }
        }
    }
    squares
}

/// The lower envelope of parabolas with one width.
#[derive(Default)]
struct Envelope {
    parabolas: Vec<Parabola>,
}

/// A parabola of the envelope.
struct Parabola {
    vertex: usize,
    height: f64,
    /// From where on it is the lowest.
    start: f64,
}

impl Envelope {
    /// Replaces `line(p)` by `min_q line(q) + width (p - q)^2`.
    fn lower(&mut self, line: &mut [f64], width: f64) {
        self.parabolas.clear();
        for (vertex, &height) in line.iter().enumerate() {
            if height < f64::INFINITY {
                self.push(vertex, height, width);
            }
        }
        let mut current = 0;
        for (place, value) in line.iter_mut().enumerate() {
            let place = place as f64;
            let next = |current: usize| self.parabolas.get(current + 1);
            while next(current).is_some_and(|next| next.start < place) {
                current += 1;
            }
            if let Some(parabola) = self.parabolas.get(current) {
                let off = place - parabola.vertex as f64;
                *value = parabola.height + width * off * off;
            }
        }
    }

    /// Adds a parabola to the right of all others.
    fn push(&mut self, vertex: usize, height: f64, width: f64) {
        let square = |x: usize| (x * x) as f64;
        let mut start = f64::NEG_INFINITY;
        while let Some(last) = self.parabolas.last() {
            let heights = (height - last.height) / width + square(vertex) - square(last.vertex);
            start = heights / (2 * (vertex - last.vertex)) as f64;
            if start > last.start {
                break;
            }
            // It is the lowest nowhere.
            self.parabolas.pop();
            start = f64::NEG_INFINITY;
        }
        self.parabolas.push(Parabola {
            vertex,
            height,
            start,
        });
    }
}

/// The distance from one position to the next along each axis, in values.
pub(crate) fn strides(size: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; size.len()];
    for axis in (1..size.len()).rev() {
        strides[axis - 1] = strides[axis] * size[axis];
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distance to each site in turn.
    fn naive(is_site: &[bool], size: &[usize]) -> Vec<f64> {
        let place = |mut at: usize| -> Vec<f64> {
            let axis = |&count: &usize| {
                let x = at % count;
                at /= count;
                x as f64
            };
            size.iter().rev().map(axis).collect()
        };
        let distance = |a: usize, b: usize| -> f64 {
            let axes = place(a).into_iter().zip(place(b));
            axes.map(|(a, b)| (a - b) * (a - b)).sum()
        };
        let sites = || (0..is_site.len()).filter(|&at| is_site[at]);
        (0..is_site.len())
            .map(|at| {
                sites()
                    .map(|site| distance(at, site))
                    .fold(f64::INFINITY, f64::min)
            })
            .collect()
    }

    #[test]
    fn as_by_all_pairs() {
        for size in [&[17][..], &[9, 7], &[1, 6], &[5, 3, 4], &[4, 1, 5]] {
            let count = size.iter().product();
            for density in [3, 7, 40] {
                let is_site: Vec<bool> = (0..count)
                    .map(|at: usize| (at * 2_654_435_761 + density * 97) % 101 < 101 / density)
                    .collect();
                let found = squared_distances(&is_site, size, &vec![1.0; size.len()]);
                assert_eq!(found, naive(&is_site, size), "{size:?}, {density}");
            }
        }
    }

    #[test]
    fn there_may_be_no_site() {
        let found = squared_distances(&[false; 6], &[2, 3], &[1.0; 2]);
        assert!(found.iter().all(|d| *d == f64::INFINITY));
    }

    #[test]
    fn the_nearest_parabola_is_found_among_hidden_ones() {
        // The middle one lies above the others everywhere.
        let mut line = [0.0, f64::INFINITY, 100.0, f64::INFINITY, 1.0];
        Envelope::default().lower(&mut line, 1.0);
        assert_eq!(line, [0.0, 1.0, 4.0, 2.0, 1.0]);
    }

    #[test]
    fn the_last_axis_runs_fastest() {
        assert_eq!(strides(&[2, 3, 5]), [15, 5, 1]);
        assert_eq!(strides(&[4]), [1]);
    }
}
