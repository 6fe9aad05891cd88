//! [`LabelMap::connected_components`]: the connected regions of equal labels.

use alloc::{vec, vec::Vec};

use burn::config::Config;
use serde::{Deserialize, Serialize};

use super::label_map::LabelMap;
use crate::distance_transform::strides;

/// Which positions are neighbours.
///
/// # Example
/// ```
/// use burn_skip::metric::{Connectivity, LabelMap};
///
/// let diagonal = LabelMap::new([2, 2], vec![1, 0, 0, 1]).unwrap();
/// assert_eq!(diagonal.connected_components(Connectivity::Faces).count, 2);
/// assert_eq!(diagonal.connected_components(Connectivity::Full).count, 1);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Connectivity {
    /// Those that share a face: 4 in an image, 6 in a volume.
    #[default]
    Faces,
    /// Those that share a corner as well: 8 in an image, 26 in a volume.
    Full,
}

impl Config for Connectivity {}

/// The connected regions of a [`LabelMap`], by [`LabelMap::connected_components`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Components {
    /// The number of the region at each position, from 1 to `count`; 0 is the background.
    pub map: LabelMap,
    /// How many regions there are.
    pub count: usize,
}

impl LabelMap {
    /// The connected regions of equal labels other than 0, in the order of their first positions, as
    /// `scipy.ndimage.label` numbers those of a mask.
    ///
    /// # Example
    /// ```
    /// use burn_skip::metric::{Connectivity, LabelMap};
    ///
    /// let mask = LabelMap::new([2, 4], vec![
    ///     1, 0, 1, 1,
    ///     0, 1, 0, 0,
    /// ]).unwrap();
    /// let components = mask.connected_components(Connectivity::Faces);
    /// assert_eq!(components.count, 3);
    /// assert_eq!(components.map.labels(), [1, 0, 2, 2, 0, 3, 0, 0]);
    /// assert_eq!(mask.connected_components(Connectivity::Full).count, 1);
    /// ```
    pub fn connected_components(&self, connectivity: Connectivity) -> Components {
        let (size, labels) = (self.size(), self.labels());
        let neighbours = earlier_neighbours(size, connectivity);
        let strides = strides(size);
        let mut regions = Regions {
            parents: (0..labels.len()).collect(),
        };
        for (position, &label) in labels.iter().enumerate().filter(|&(_, &label)| label != 0) {
            for neighbour in &neighbours {
                if let Some(other) = neighbour.of(position, size, &strides)
                    && labels[other] == label
                {
                    regions.join(position, other);
                }
            }
        }
        let mut count = 0;
        let mut numbers = vec![0; labels.len()];
        for position in (0..labels.len()).filter(|&position| labels[position] != 0) {
            // The root of a region is its first position.
            let root = regions.root(position);
            if root == position {
                count += 1;
                numbers[position] = count;
            }
            numbers[position] = numbers[root];
        }
        let map = numbers.into_iter().map(|number| number as i64).collect();
        Components {
            map: self.with_labels(map),
            count,
        }
    }
}

/// A neighbour that comes before a position.
struct Neighbour {
    /// The step on each axis: -1, 0 or 1.
    steps: Vec<isize>,
    /// How many positions before.
    distance: usize,
}

impl Neighbour {
    /// The neighbour of a position, if it is within the map.
    fn of(&self, position: usize, size: &[usize], strides: &[usize]) -> Option<usize> {
        let inside = |(axis, &step): (usize, &isize)| {
            let coordinate = position / strides[axis] % size[axis];
            coordinate
                .checked_add_signed(step)
                .is_some_and(|to| to < size[axis])
        };
        let inside = self.steps.iter().enumerate().all(inside);
        inside.then(|| position - self.distance)
    }
}

/// Of each pair of neighbours one: the first step that is not 0 goes back.
fn earlier_neighbours(size: &[usize], connectivity: Connectivity) -> Vec<Neighbour> {
    let strides = strides(size);
    let count = 3usize.saturating_pow(size.len() as u32);
    let steps = |code: usize| -> Vec<isize> {
        let digit = |axis: usize| code / 3usize.pow(axis as u32) % 3;
        (0..size.len())
            .map(|axis| digit(axis) as isize - 1)
            .collect()
    };
    let earlier = |steps: &Vec<isize>| steps.iter().find(|&&step| step != 0) == Some(&-1);
    let connected = |steps: &Vec<isize>| {
        let moved = steps.iter().filter(|&&step| step != 0).count();
        connectivity == Connectivity::Full || moved == 1
    };
    (0..count)
        .map(steps)
        .filter(|steps| earlier(steps) && connected(steps))
        .map(|steps| {
            let moves = steps.iter().zip(&strides);
            let distance = moves
                .map(|(&step, &stride)| -step * stride as isize)
                .sum::<isize>();
            Neighbour {
                steps,
                distance: distance.max(0) as usize,
            }
        })
        .collect()
}

/// Disjoint sets of positions; the root of each is its smallest.
struct Regions {
    parents: Vec<usize>,
}

impl Regions {
    fn root(&mut self, mut position: usize) -> usize {
        while self.parents[position] != position {
            // Half of the path is cut away.
            self.parents[position] = self.parents[self.parents[position]];
            position = self.parents[position];
        }
        position
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parents[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(size: &[usize], labels: &[i64], connectivity: Connectivity) -> usize {
        let map = LabelMap::new(size, labels.to_vec()).unwrap();
        map.connected_components(connectivity).count
    }

    #[test]
    fn different_labels_are_different_regions() {
        let line = LabelMap::new([7], vec![5, 5, 2, 2, 0, 2, -1]).unwrap();
        let found = line.connected_components(Connectivity::Faces);
        assert_eq!(found.map.labels(), [1, 1, 2, 2, 0, 3, 4]);
    }

    #[test]
    fn regions_do_not_reach_around_the_edge() {
        let labels = [0, 0, 1, 1, 0, 0];
        assert_eq!(count(&[2, 3], &labels, Connectivity::Full), 2);
        assert_eq!(count(&[2, 3], &[0; 6], Connectivity::Full), 0);
    }

    /// Two corners of a cube touch nowhere but at its centre.
    #[test]
    fn corners_of_a_volume() {
        let labels = [1, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(count(&[2, 2, 2], &labels, Connectivity::Faces), 2);
        assert_eq!(count(&[2, 2, 2], &labels, Connectivity::Full), 1);
    }

    /// A spiral is one region, whose parts meet late.
    #[test]
    fn parts_that_meet_late_are_one() {
        let spiral = [
            1, 1, 1, 1, 1, //
            0, 0, 0, 0, 1, //
            1, 1, 1, 0, 1, //
            1, 0, 0, 0, 1, //
            1, 1, 1, 1, 1,
        ];
        assert_eq!(count(&[5, 5], &spiral, Connectivity::Faces), 1);
    }
}
