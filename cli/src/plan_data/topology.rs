//! How deep a network for crops of a size and a spacing is, and what each of its levels does on each axis.

/// A level whose axes are no longer than this is not made smaller.
const SMALLEST: usize = 4;

/// An axis whose pixels are this many times as far apart as those of the finest axis waits for the others.
const COARSE: f64 = 2.0;

/// The levels of a network, the finest first, by nnU-Net's rules (doi:10.1038/s41592-020-01008-z): every level halves the
/// axes whose pixels are nearly as close as those of the finest axis, and its kernels are 1 on axes that are too coarse to
/// have neighbours yet. So a volume whose slices are far apart starts with kernels of `[1, 3, 3]` and steps of `[1, 2, 2]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The kernel of each level and axis.
    pub kernels: Vec<Vec<usize>>,
    /// By how much each level is smaller than the one before, on each axis.
    pub strides: Vec<Vec<usize>>,
}

impl Topology {
    /// The levels for crops of a size.
    pub fn new(spacing: &[f64], crop: &[usize]) -> Self {
        let axes = crop.len();
        let (mut spacing, mut size) = (spacing.to_vec(), crop.to_vec());
        let (mut kernel, mut kernels) = (vec![1; axes], Vec::new());
        let mut strides = vec![vec![1; axes]];
        loop {
            let halved = halved(&spacing, &size);
            if halved.is_empty() {
                // (Nothing is coarse for the deepest level.)
                kernels.push(vec![3; axes]);
                return Self { kernels, strides };
            }
            let finest = least(spacing.iter().copied());
            for (kernel, spacing) in kernel.iter_mut().zip(&spacing) {
                if spacing / finest < COARSE {
                    *kernel = 3;
                }
            }
            kernels.push(kernel.clone());
            for &axis in &halved {
                spacing[axis] *= 2.0;
                size[axis] = size[axis].div_ceil(2);
            }
            strides.push(
                (0..axes)
                    .map(|axis| 1 + usize::from(halved.contains(&axis)))
                    .collect(),
            );
        }
    }

    /// What the lengths of a crop must be multiples of.
    pub fn multiples(&self) -> Vec<usize> {
        let axes = self.strides[0].len();
        let product = |axis: usize| self.strides.iter().map(|level| level[axis]).product();
        (0..axes).map(product).collect()
    }

    /// The channels of each level: twice those of the one before, up to nnU-Net's limit.
    pub fn widths(&self, first: usize) -> Vec<usize> {
        let most = if self.strides[0].len() == 3 { 320 } else { 512 };
        let width = |level: usize| {
            first
                .saturating_mul(1 << level.min(16))
                .min(most.max(first))
        };
        (0..self.strides.len()).map(width).collect()
    }
}

/// The axes that the next level halves.
fn halved(spacing: &[f64], size: &[usize]) -> Vec<usize> {
    let mut axes: Vec<usize> = (0..size.len())
        .filter(|&axis| size[axis] >= 2 * SMALLEST)
        .collect();
    let finest = least(axes.iter().map(|&axis| spacing[axis]));
    axes.retain(|&axis| spacing[axis] / finest < COARSE);
    match axes[..] {
        [axis] if size[axis] < 3 * SMALLEST => Vec::new(),
        _ => axes,
    }
}

fn least(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `get_pool_and_conv_props` of nnU-Net 2.8 has them.
    #[test]
    fn axes_of_equal_spacing_are_halved_together() {
        let topology = Topology::new(&[1.0, 1.0], &[64, 48]);
        assert_eq!(topology.strides, [[1, 1], [2, 2], [2, 2], [2, 2]]);
        assert_eq!(topology.kernels, [[3, 3]; 4]);
        assert_eq!(topology.multiples(), [8, 8]);
        assert_eq!(topology.widths(32), [32, 64, 128, 256]);
        let topology = Topology::new(&[1.0; 3], &[128, 96, 160]);
        assert_eq!(topology.strides[5], [2, 1, 2]);
        assert_eq!(topology.multiples(), [32, 16, 32]);
        assert_eq!(topology.widths(32), [32, 64, 128, 256, 320, 320]);
    }

    /// As nnU-Net 2.8 has them.
    #[test]
    fn slices_that_are_far_apart_wait() {
        let topology = Topology::new(&[4.0, 1.0, 1.0], &[16, 128, 128]);
        assert_eq!(
            topology.strides,
            [
                [1, 1, 1],
                [1, 2, 2],
                [1, 2, 2],
                [2, 2, 2],
                [2, 2, 2],
                [1, 2, 2]
            ]
        );
        assert_eq!(
            topology.kernels,
            [
                [1, 3, 3],
                [1, 3, 3],
                [3, 3, 3],
                [3, 3, 3],
                [3, 3, 3],
                [3, 3, 3]
            ]
        );
        let topology = Topology::new(&[3.0, 1.0, 1.0], &[23, 61, 57]);
        assert_eq!(topology.kernels[..2], [[1, 3, 3], [3, 3, 3]]);
        assert_eq!(topology.multiples(), [4, 16, 16]);
        let topology = Topology::new(&[2.1, 1.0, 1.0], &[40; 3]);
        assert_eq!(
            topology.strides,
            [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]]
        );
    }

    #[test]
    fn what_is_small_has_one_level() {
        let topology = Topology::new(&[1.0, 1.0], &[7, 5]);
        assert_eq!(topology.strides, [[1, 1]]);
        assert_eq!(topology.kernels, [[3, 3]]);
    }
}
