//! The shapes of convolutions: plain numbers, without tensors.

use alloc::vec::Vec;

use super::{FEWEST_VECTORS, LANES, LONG_ROW, MAX_SMALL_GROUP, MAX_STRIDED_OUTPUTS, SHARED_SETS};

/// The geometry of a convolution. Its rows and columns are those of the last two axes; a volume has a depth, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The taps.
    pub kernel: [usize; 2],
    /// The step of the window.
    pub stride: [usize; 2],
    /// The distance between taps.
    pub dilation: [usize; 2],
    /// Zeros before the first row and column; negative to skip rows or columns.
    pub pad: [isize; 2],
    /// The number of groups of channels, each with its own kernels.
    pub groups: usize,
    /// Height and width of the output.
    pub size: [usize; 2],
    /// The window over the depth.
    pub depth: Depth,
}

/// The window over the depth of a volume: slice `z` of the output reads through tap `t` the slice
/// `z * stride + t * dilation - pad` of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// The taps.
    pub kernel: usize,
    /// The step of the window.
    pub stride: usize,
    /// The distance between taps.
    pub dilation: usize,
    /// Zeros before the first slice; negative to skip slices.
    pub pad: isize,
    /// The slices of the output.
    pub size: usize,
}

impl Depth {
    /// That of maps with one or two axes: one slice.
    pub const FLAT: Self = Self {
        kernel: 1,
        stride: 1,
        dilation: 1,
        pad: 0,
        size: 1,
    };

    fn is_dense(&self) -> bool {
        self.stride == 1 && self.dilation == 1
    }

    /// Whether each slice reads its own.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.pad == 0
    }
}

/// The window of a layer, one number for each spatial axis.
#[derive(Clone, Copy, Debug)]
pub struct AxisNumbers<'a> {
    /// The taps.
    pub kernel_size: &'a [usize],
    /// The step of the window.
    pub stride: &'a [usize],
    /// The distance between taps.
    pub dilation: &'a [usize],
    /// The padding before the first position of each axis.
    pub pad_start: &'a [usize],
}

impl Geometry {
    /// The geometry for an output of spatial size `size`; `None` for more than three spatial axes.
    pub fn new(numbers: AxisNumbers, groups: usize, size: &[usize]) -> Option<Self> {
        let signed = |pad: usize| isize::try_from(pad).ok();
        let kernel = Axes::new(numbers.kernel_size, 1)?;
        let stride = Axes::new(numbers.stride, 1)?;
        let dilation = Axes::new(numbers.dilation, 1)?;
        let pad = Axes::new(numbers.pad_start, 0)?;
        let size = Axes::new(size, 1)?;
        let [top, left] = pad.plane.map(signed);
        Some(Self {
            kernel: kernel.plane,
            stride: stride.plane,
            dilation: dilation.plane,
            pad: [top?, left?],
            groups,
            size: size.plane,
            depth: Depth {
                kernel: kernel.depth,
                stride: stride.depth,
                dilation: dilation.depth,
                pad: signed(pad.depth)?,
                size: size.depth,
            },
        })
    }

    /// The number of positions of the kernel.
    pub fn taps(&self) -> usize {
        self.depth.kernel.saturating_mul(self.plane_taps())
    }

    /// The number of positions of the kernel in one slice.
    pub fn plane_taps(&self) -> usize {
        self.kernel[0].saturating_mul(self.kernel[1])
    }

    /// How far the kernel reaches past its first tap.
    pub(super) fn reach(&self) -> [usize; 2] {
        [0, 1].map(|axis| (self.kernel[axis] - 1).saturating_mul(self.dilation[axis]))
    }

    /// Whether it has neither stride nor dilation.
    pub(super) fn is_dense(&self) -> bool {
        self.stride == [1, 1] && self.dilation == [1, 1] && self.depth.is_dense()
    }

    /// Whether each output of a slice reads its own position.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.pad == [0, 0]
    }

    /// Whether, from so many channels to so many, the outputs are the lanes of vectors.
    pub(super) fn has_outputs_in_lanes(&self, [inputs, outputs]: [usize; 2]) -> bool {
        // (Positions that share cache sets in all channels are written faster channel by channel.)
        let is_shared = self.plane_positions().is_multiple_of(SHARED_SETS);
        let has_vectors = inputs > 0 && outputs >= LANES && self.positions() > 0;
        let is_strided = self.stride != [1, 1];
        let pays = match self.plane_taps() {
            // (What is read with a stride is packed again for outputs whose sums are too many for a task.)
            1 => self.depth.kernel == 1 && (!is_strided || outputs <= MAX_STRIDED_OUTPUTS),
            // (Values that are neighbours in long rows are lanes as well.)
            _ => {
                let is_short = self.size[1] <= LONG_ROW && outputs >= FEWEST_VECTORS * LANES;
                !self.is_line() && (is_strided || is_short)
            }
        };
        self.groups == 1 && has_vectors && !is_shared && pays
    }

    /// Whether it goes along one row.
    pub(super) fn is_line(&self) -> bool {
        let rows = [self.kernel[0], self.stride[0], self.size[0]];
        rows == [1, 1, 1] && self.pad[0] == 0
    }

    /// Whether each group has so few inputs and outputs that these are computed one after the other.
    pub fn has_small_groups(&self, [inputs, outputs]: [usize; 2]) -> bool {
        let is_small = |channels: usize| channels / self.groups <= MAX_SMALL_GROUP;
        self.groups > 1 && is_small(inputs) && is_small(outputs)
    }

    /// Of so many channels, how many a thread packs at once: those of a group, or of as many small groups as there are lanes.
    pub(super) fn packed_channels(&self, channels: usize) -> usize {
        let of_a_group = channels / self.groups.max(1);
        // (A channel of a volume counts once for each tap of the depth.)
        let few = MAX_SMALL_GROUP.saturating_mul(self.depth.kernel);
        match self.groups > 1 && of_a_group <= few {
            true => of_a_group.saturating_mul(LANES),
            false => of_a_group,
        }
    }

    /// The positions of one slice of the output.
    pub(super) fn plane_positions(&self) -> usize {
        self.size[0].saturating_mul(self.size[1])
    }

    /// The positions of the output.
    pub fn positions(&self) -> usize {
        self.depth.size.saturating_mul(self.plane_positions())
    }
}

/// One number for each spatial axis: that of the depth, and those of rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axes<T = usize> {
    /// That of the depth.
    pub depth: T,
    /// Those of rows and columns.
    pub plane: [T; 2],
}

impl<T: Copy> Axes<T> {
    /// The numbers of one, two or three axes; axes that are not there get `missing`. `None` for more axes.
    pub fn new(numbers: &[T], missing: T) -> Option<Self> {
        let (depth, plane) = match *numbers {
            [columns] => (missing, [missing, columns]),
            [rows, columns] => (missing, [rows, columns]),
            [depth, rows, columns] => (depth, [rows, columns]),
            _ => return None,
        };
        Some(Self { depth, plane })
    }
}

/// The shape of a map that a convolution reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceShape {
    /// The channels of the map.
    pub channels: usize,
    /// Height and width as they are stored.
    pub size: [usize; 2],
    /// How often each value is repeated along rows and columns (nearest upsampling).
    pub factors: [usize; 2],
    /// The slices as they are stored, and how often each is repeated.
    pub slices: StoredSlices,
}

/// The slices of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredSlices {
    /// The slices.
    pub count: usize,
    /// How often each is repeated (nearest upsampling).
    pub factor: usize,
}

impl StoredSlices {
    /// That of maps with one or two axes.
    pub const ONE: Self = Self::plain(1);

    /// StoredSlices that are not repeated.
    pub const fn plain(count: usize) -> Self {
        Self { count, factor: 1 }
    }
}

impl SourceShape {
    /// A source, from one number for each spatial axis; `None` for more than three axes.
    pub fn new(channels: usize, size: &[usize], factors: &[usize]) -> Option<Self> {
        let (size, factors) = (Axes::new(size, 1)?, Axes::new(factors, 1)?);
        Some(Self {
            channels,
            size: size.plane,
            factors: factors.plane,
            slices: StoredSlices {
                count: size.depth,
                factor: factors.depth,
            },
        })
    }

    /// A map that is not enlarged, of one slice.
    pub fn plain(channels: usize, size: [usize; 2]) -> Self {
        Self {
            channels,
            size,
            factors: [1, 1],
            slices: StoredSlices::ONE,
        }
    }

    /// Whether it is enlarged along some axis.
    pub fn is_enlarged(&self) -> bool {
        self.slices.factor != 1 || self.has_enlarged_planes()
    }

    /// Whether its rows or columns are repeated.
    pub fn has_enlarged_planes(&self) -> bool {
        self.factors != [1, 1]
    }

    /// The stored values of a channel.
    pub fn positions(&self) -> usize {
        let plane = self.size[0].saturating_mul(self.size[1]);
        self.slices.count.saturating_mul(plane)
    }

    /// Height and width after enlargement.
    pub(super) fn read_size(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.size[axis].saturating_mul(self.factors[axis]))
    }
}

/// A convolution over the concatenation of its sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Its window and the size of its output.
    pub geometry: Geometry,
    /// The samples.
    pub batch: usize,
    /// The maps that are concatenated.
    pub sources: Vec<SourceShape>,
    /// The channels of the output.
    pub outputs: usize,
}

impl ConvShape {
    /// The same pointwise convolution over maps of one row.
    pub fn flattened(&self) -> Option<Self> {
        let size = self.geometry.size;
        let is_whole = |source: &SourceShape| source.size == size && !source.has_enlarged_planes();
        if !self.geometry.is_pointwise() || size[0] <= 1 || !self.sources.iter().all(is_whole) {
            return None;
        }
        let size = [1, size[0].saturating_mul(size[1])];
        let flat = |source: &SourceShape| SourceShape { size, ..*source };
        Some(Self {
            geometry: Geometry {
                size,
                ..self.geometry.clone()
            },
            sources: self.sources.iter().map(flat).collect(),
            ..*self
        })
    }
}

/// A transposed convolution: the gradient of a convolution from its output to its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransposedShape {
    /// The geometry of that convolution. Its output has the size of the transposed convolution's input.
    pub geometry: Geometry,
    /// The samples.
    pub batch: usize,
    /// The channels of the input.
    pub inputs: usize,
    /// The channels of the output.
    pub outputs: usize,
    /// The size of the output.
    pub size: Axes,
}
