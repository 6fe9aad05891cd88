//! The numbers of convolutions, without tensors.

use alloc::vec::Vec;

/// The numbers of a convolution over two axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    /// Zeros before the first row and column; negative where so many are left out.
    pub(crate) pad: [isize; 2],
    pub(crate) groups: usize,
    /// Height and width of the output.
    pub(crate) size: [usize; 2],
}

/// The numbers of a window as a layer has them, one for each spatial axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AxisNumbers<'a> {
    pub(crate) kernel_size: &'a [usize],
    pub(crate) stride: &'a [usize],
    pub(crate) dilation: &'a [usize],
    /// The padding before the first position of each axis.
    pub(crate) pad_start: &'a [usize],
}

impl Geometry {
    /// The geometry for an output of spatial size `size`; none where there are no kernels for so many axes.
    pub(crate) fn new(numbers: AxisNumbers, groups: usize, size: &[usize]) -> Option<Self> {
        let signed = |pad: usize| isize::try_from(pad).ok();
        let [top, left] = on_two_axes(numbers.pad_start, 0)?.map(signed);
        Some(Self {
            kernel: on_two_axes(numbers.kernel_size, 1)?,
            stride: on_two_axes(numbers.stride, 1)?,
            dilation: on_two_axes(numbers.dilation, 1)?,
            pad: [top?, left?],
            groups,
            size: on_two_axes(size, 1)?,
        })
    }

    /// The positions of the kernel.
    pub(crate) fn taps(&self) -> usize {
        self.kernel[0].saturating_mul(self.kernel[1])
    }

    /// How far the kernel reaches past its first tap.
    pub(super) fn reach(&self) -> [usize; 2] {
        [0, 1].map(|axis| (self.kernel[axis] - 1).saturating_mul(self.dilation[axis]))
    }

    /// Whether its taps lie side by side and its windows too.
    pub(super) fn is_dense(&self) -> bool {
        self.stride == [1, 1] && self.dilation == [1, 1]
    }

    pub(super) fn positions(&self) -> usize {
        self.size[0].saturating_mul(self.size[1])
    }
}

/// One number for each of two axes: `missing` for the rows where there is one axis; none for three.
pub(crate) fn on_two_axes<T: Copy>(numbers: &[T], missing: T) -> Option<[T; 2]> {
    match *numbers {
        [only] => Some([missing, only]),
        [rows, columns] => Some([rows, columns]),
        _ => None,
    }
}

/// A map that a convolution reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceShape {
    pub(crate) channels: usize,
    /// Height and width as they are stored.
    pub(crate) size: [usize; 2],
    /// Each value is read as so many rows and columns (nearest upsampling).
    pub(crate) factors: [usize; 2],
}

impl SourceShape {
    /// A source by one number for each spatial axis.
    pub(crate) fn new(channels: usize, size: &[usize], factors: &[usize]) -> Option<Self> {
        Some(Self {
            channels,
            size: on_two_axes(size, 1)?,
            factors: on_two_axes(factors, 1)?,
        })
    }

    /// A map that is read as it is stored.
    pub(crate) fn plain(channels: usize, size: [usize; 2]) -> Self {
        Self {
            channels,
            size,
            factors: [1, 1],
        }
    }

    pub(crate) fn is_enlarged(&self) -> bool {
        self.factors != [1, 1]
    }

    /// Height and width as they are read.
    pub(super) fn read_size(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.size[axis].saturating_mul(self.factors[axis]))
    }
}

/// A convolution over the concatenation of its sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConvShape {
    pub(crate) geometry: Geometry,
    pub(crate) batch: usize,
    pub(crate) sources: Vec<SourceShape>,
    /// The channels of the output.
    pub(crate) outputs: usize,
}

/// A transposed convolution: the gradient of a convolution from its output to its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TransposedShape {
    /// That of the convolution, whose output has the size of the transposed convolution's input.
    pub(crate) geometry: Geometry,
    pub(crate) batch: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Height and width of the output.
    pub(crate) size: [usize; 2],
}
