//! Pixel shuffle and unshuffle.

use crate::graph::BlockOrder;

use super::super::OnnxError;
use super::super::probes::Leaf;
use super::super::proto::AttributeProto;
use super::Lowering;

/// Channels become positions: `DepthToSpace` where there are two axes of one scale, and otherwise what it is made of.
pub(super) fn shuffle(
    lowering: &mut Lowering,
    leaf: &Leaf,
    scale: &[usize],
    order: BlockOrder,
) -> Result<String, OnnxError> {
    let x = lowering.input(leaf, 0)?;
    let axes = scale.len();
    let builder = &mut lowering.builder;
    if axes == 2 && scale[0] == scale[1] {
        let mode = match order {
            BlockOrder::ChannelMajor => "CRD",
            BlockOrder::BlockMajor => "DCR",
        };
        let attributes = vec![
            AttributeProto::int("blocksize", scale[0]),
            AttributeProto::string("mode", mode),
        ];
        return Ok(builder.node("DepthToSpace", &[&x], attributes));
    }
    let cell: usize = scale.iter().product();
    let channels = leaf.channels() / cell;
    let cells = Cells::new(order, axes);
    let split = cells.channels(channels, scale);
    let (split, size) = (builder.ints(&split), builder.shape(&x, 2..2 + axes));
    let batch = builder.ints(&[0]);
    let shape = builder.join(&[&batch, &split, &size]);
    let y = builder.binary("Reshape", &x, &shape);
    // [batch, channels, positions and offsets of each axis]
    let pairs = (0..axes).flat_map(|n| [2 + axes + n, cells.offset(n)]);
    let axes_of: Vec<usize> = [0, cells.channel()].into_iter().chain(pairs).collect();
    let y = builder.transpose(&y, &axes_of);
    let factors: Vec<i64> = scale.iter().map(|&scale| scale as i64).collect();
    let factors = builder.ints(&factors);
    let size = builder.binary("Mul", &size, &factors);
    let channels = builder.ints(&[channels as i64]);
    let shape = builder.join(&[&batch, &channels, &size]);
    Ok(builder.binary("Reshape", &y, &shape))
}

/// Positions become channels.
pub(super) fn unshuffle(
    lowering: &mut Lowering,
    leaf: &Leaf,
    scale: &[usize],
    order: BlockOrder,
) -> Result<String, OnnxError> {
    let x = lowering.input(leaf, 0)?;
    let axes = scale.len();
    let cells = Cells::new(order, axes);
    let cell: usize = scale.iter().product();
    let channels = leaf.channels();
    let builder = &mut lowering.builder;
    let size = builder.shape(&x, 2..2 + axes);
    let factors: Vec<i64> = scale.iter().map(|&scale| scale as i64).collect();
    let factors = builder.ints(&factors);
    let coarse = builder.binary("Div", &size, &factors);
    let mut split = vec![builder.ints(&[0, channels as i64])];
    for (n, &scale) in scale.iter().enumerate() {
        let [start, end] = [n, n + 1].map(|index| builder.ints(&[index as i64]));
        split.push(builder.slice(&coarse, &start, &end, &[0]));
        split.push(builder.ints(&[scale as i64]));
    }
    let split: Vec<&str> = split.iter().map(|part| &part[..]).collect();
    let shape = builder.join(&split);
    let y = builder.binary("Reshape", &x, &shape);
    // From [batch, channels, positions and offsets of each axis].
    let mut axes_of = vec![0; 2 + 2 * axes];
    axes_of[cells.channel()] = 1;
    for n in 0..axes {
        axes_of[cells.offset(n)] = 3 + 2 * n;
        axes_of[2 + axes + n] = 2 + 2 * n;
    }
    let y = builder.transpose(&y, &axes_of);
    let channels = builder.ints(&[0, (channels * cell) as i64]);
    let shape = builder.join(&[&channels, &coarse]);
    Ok(builder.binary("Reshape", &y, &shape))
}

/// Where the channels and the offsets in a cell lie after the batch.
struct Cells {
    order: BlockOrder,
    axes: usize,
}

impl Cells {
    fn new(order: BlockOrder, axes: usize) -> Self {
        Self { order, axes }
    }

    /// The axis of the channels.
    fn channel(&self) -> usize {
        match self.order {
            BlockOrder::ChannelMajor => 1,
            BlockOrder::BlockMajor => 1 + self.axes,
        }
    }

    /// The axis of the offsets along the spatial axis `n`.
    fn offset(&self, n: usize) -> usize {
        match self.order {
            BlockOrder::ChannelMajor => 2 + n,
            BlockOrder::BlockMajor => 1 + n,
        }
    }

    /// The sizes of these axes.
    fn channels(&self, channels: usize, scale: &[usize]) -> Vec<i64> {
        let mut sizes = vec![0; 1 + self.axes];
        sizes[self.channel() - 1] = channels as i64;
        for (n, &scale) in scale.iter().enumerate() {
            sizes[self.offset(n) - 1] = scale as i64;
        }
        sizes
    }
}
