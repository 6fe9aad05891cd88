//! The neighbours of a position in an array of `[depth, height, width]`.

use burn_skip::metric::Connectivity;

/// Which positions lie beside each other. An image is one slice deep, and has neighbours in that slice only.
pub struct Neighbours {
    size: [usize; 3],
    steps: Vec<[isize; 3]>,
}

impl Neighbours {
    /// Those that share a face, or a corner as well.
    pub fn new(size: [usize; 3], connectivity: Connectivity) -> Self {
        let steps = (0..27).map(|code| [code / 9 - 1, code / 3 % 3 - 1, code % 3 - 1]);
        let is_one = |step: &[isize; 3]| {
            let moved = step.iter().filter(|&&axis| axis != 0).count();
            moved == 1 || moved > 1 && connectivity == Connectivity::Full
        };
        Self {
            size,
            steps: steps.filter(is_one).collect(),
        }
    }

    /// The neighbours of a position that are within the array.
    pub fn of(&self, position: usize) -> impl Iterator<Item = usize> {
        let [_, height, width] = self.size;
        let place = [
            position / width / height,
            position / width % height,
            position % width,
        ];
        self.steps.iter().filter_map(move |step| {
            (0..3).try_fold(0, |index, axis| {
                let moved = place[axis].checked_add_signed(step[axis])?;
                (moved < self.size[axis]).then_some(index * self.size[axis] + moved)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(size: [usize; 3], connectivity: Connectivity, position: usize) -> usize {
        Neighbours::new(size, connectivity).of(position).count()
    }

    #[test]
    fn neighbours_lie_within_the_array() {
        let image = Neighbours::new([1, 3, 4], Connectivity::Faces);
        assert_eq!(image.of(5).collect::<Vec<_>>(), [1, 4, 6, 9]);
        assert_eq!(image.of(3).collect::<Vec<_>>(), [2, 7]);
        assert_eq!(count([1, 3, 4], Connectivity::Full, 5), 8);
        assert_eq!(count([3, 3, 3], Connectivity::Faces, 13), 6);
        assert_eq!(count([3, 3, 3], Connectivity::Full, 13), 26);
        assert_eq!(count([3, 3, 3], Connectivity::Full, 0), 7);
    }
}
