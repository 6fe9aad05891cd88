//! A seeded watershed: each seed grows over the positions around it, the highest first (Meyer's flooding,
//! doi:10.1016/0165-1684(94)90060-4), until all that can be reached is given away.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::neighbours::Neighbours;

/// A position that a seed has reached. The highest goes first, and of equal ones the one that was reached first.
struct Reached {
    height: f64,
    order: Reverse<usize>,
    position: usize,
}

impl Ord for Reached {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_height = self.height.total_cmp(&other.height);
        by_height.then(self.order.cmp(&other.order))
    }
}

impl PartialOrd for Reached {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Reached {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Reached {}

/// Gives each position that is `inside` the number of the seed from which it is reached along the highest way.
/// `labels` has the numbers of the seeds, and 0 elsewhere; what no seed reaches stays 0.
pub fn flood(labels: &mut [i64], heights: &[f64], inside: &[bool], neighbours: &Neighbours) {
    let mut queue = BinaryHeap::new();
    let mut count = 0;
    let mut reach = |queue: &mut BinaryHeap<Reached>, position: usize| {
        count += 1;
        queue.push(Reached {
            height: heights[position],
            order: Reverse(count),
            position,
        });
    };
    for position in (0..labels.len()).filter(|&position| labels[position] != 0) {
        reach(&mut queue, position);
    }
    while let Some(Reached { position, .. }) = queue.pop() {
        for next in neighbours.of(position) {
            if inside[next] && labels[next] == 0 {
                labels[next] = labels[position];
                reach(&mut queue, next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_skip::metric::Connectivity;

    fn flooded(seeds: &[i64], heights: &[f64], inside: &[bool]) -> Vec<i64> {
        let neighbours = Neighbours::new([1, 1, seeds.len()], Connectivity::Faces);
        let mut labels = seeds.to_vec();
        flood(&mut labels, heights, inside, &neighbours);
        labels
    }

    #[test]
    fn two_hills_meet_in_the_valley() {
        let heights = [1.0, 3.0, 2.0, 1.0, 2.0, 4.0, 5.0, 1.0];
        let seeds = [0, 1, 0, 0, 0, 0, 2, 0];
        // The valley itself goes to the seed that comes first.
        assert_eq!(
            flooded(&seeds, &heights, &[true; 8]),
            [1, 1, 1, 2, 2, 2, 2, 2]
        );
    }

    #[test]
    fn a_flat_is_shared_and_what_is_outside_stays() {
        let seeds = [1, 0, 0, 0, 0, 2, 0, 0];
        let mut inside = [true; 8];
        inside[6] = false;
        assert_eq!(
            flooded(&seeds, &[1.0; 8], &inside),
            [1, 1, 1, 2, 2, 2, 0, 0]
        );
    }
}
