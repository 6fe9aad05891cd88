//! The shapes of convolutions: plain numbers, without tensors.

use alloc::vec::Vec;

/// The geometry of a convolution over two spatial axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    /// Zeros before the first row and column; negative to skip rows or columns.
    pub(crate) pad: [isize; 2],
    pub(crate) groups: usize,
    /// Height and width of the output.
    pub(crate) size: [usize; 2],
}

/// The window of a layer, one number for each spatial axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AxisNumbers<'a> {
    pub(crate) kernel_size: &'a [usize],
    pub(crate) stride: &'a [usize],
    pub(crate) dilation: &'a [usize],
    /// The padding before the first position of each axis.
    pub(crate) pad_start: &'a [usize],
}

impl Geometry {
    /// The geometry for an output of spatial size `size`; `None` for more than two spatial axes.
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

    /// The number of positions of the kernel.
    pub(crate) fn taps(&self) -> usize {
        self.kernel[0].saturating_mul(self.kernel[1])
    }

    /// How far the kernel reaches past its first tap.
    pub(super) fn reach(&self) -> [usize; 2] {
        [0, 1].map(|axis| (self.kernel[axis] - 1).saturating_mul(self.dilation[axis]))
    }

    /// Whether it has neither stride nor dilation.
    pub(super) fn is_dense(&self) -> bool {
        self.stride == [1, 1] && self.dilation == [1, 1]
    }

    pub(super) fn positions(&self) -> usize {
        self.size[0].saturating_mul(self.size[1])
    }
}

/// Numbers for one or two spatial axes, as `[rows, columns]`. If there is one axis, the rows get `missing`. `None` for
/// more axes.
pub(crate) fn on_two_axes<T: Copy>(numbers: &[T], missing: T) -> Option<[T; 2]> {
    match *numbers {
        [only] => Some([missing, only]),
        [rows, columns] => Some([rows, columns]),
        _ => None,
    }
}

/// The shape of a map that a convolution reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceShape {
    pub(crate) channels: usize,
    /// Height and width as they are stored.
    pub(crate) size: [usize; 2],
    /// How often each value is repeated along rows and columns (nearest upsampling).
    pub(crate) factors: [usize; 2],
}

impl SourceShape {
    /// A source, from one number for each spatial axis; `None` for more than two axes.
    pub(crate) fn new(channels: usize, size: &[usize], factors: &[usize]) -> Option<Self> {
        Some(Self {
            channels,
            size: on_two_axes(size, 1)?,
            factors: on_two_axes(factors, 1)?,
        })
    }

    /// A map that is not enlarged.
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

    /// Height and width after enlargement.
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
    /// The geometry of that convolution. Its output has the size of the transposed convolution's input.
    pub(crate) geometry: Geometry,
    pub(crate) batch: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Height and width of the output.
    pub(crate) size: [usize; 2],
}
