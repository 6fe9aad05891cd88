//! A second, naive implementation of the arithmetic, in f64 and by nested loops: what the layers
//! are compared with. It shares no code with the crate.

use burn::module::Param;
use burn::nn::norm::Normalization;
use burn::tensor::{DType, Tensor};
use burn_skip::Padding;
use burn_skip::block::{ConvNormAct, DoubleConv};
use burn_skip::conv::Conv;

/// An array of any rank, in row order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

/// All index tuples of a shape, in row order.
fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![vec![]], |all, &size| {
        all.into_iter()
            .flat_map(|index| {
                (0..size).map(move |i| {
                    let mut longer = index.clone();
                    longer.push(i);
                    longer
                })
            })
            .collect()
    })
}

impl Array {
    pub fn of<const R: usize>(tensor: &Tensor<R>) -> Self {
        let data = tensor.to_data().convert_dtype(DType::F64);
        Self {
            shape: tensor.dims().to_vec(),
            data: data.try_to_vec().expect("converted to f64"),
        }
    }

    pub fn param<const R: usize>(param: &Param<Tensor<R>>) -> Self {
        Self::of(&param.val())
    }

    pub fn build(shape: &[usize], value: impl Fn(&[usize]) -> f64) -> Self {
        Self {
            shape: shape.to_vec(),
            data: indices(shape).iter().map(|index| value(index)).collect(),
        }
    }

    pub fn at(&self, index: &[usize]) -> f64 {
        let flat = index.iter().zip(&self.shape).fold(0, |flat, (&i, &size)| {
            assert!(i < size, "{index:?} is outside of {:?}", self.shape);
            flat * size + i
        });
        self.data[flat]
    }

    /// The value at a position that may lie outside of the map; the axes are the spatial ones.
    fn at_or(&self, outside: f64, batch: usize, channel: usize, position: &[i64]) -> f64 {
        let mut index = vec![batch, channel];
        for (n, &p) in position.iter().enumerate() {
            if p < 0 || p as usize >= self.shape[2 + n] {
                return outside;
            }
            index.push(p as usize);
        }
        self.at(&index)
    }

    pub fn spatial(&self) -> &[usize] {
        &self.shape[2..]
    }

    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self {
            shape: self.shape.clone(),
            data: self.data.iter().map(|&v| f(v)).collect(),
        }
    }

    pub fn zip(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        assert_eq!(self.shape, other.shape);
        let data = self.data.iter().zip(&other.data).map(|(&a, &b)| f(a, b));
        Self {
            shape: self.shape.clone(),
            data: data.collect(),
        }
    }

    pub fn relu(&self) -> Self {
        self.map(|v| v.max(0.0))
    }

    pub fn sigmoid(&self) -> Self {
        self.map(|v| 1.0 / (1.0 + (-v).exp()))
    }

    /// A factor for each channel.
    pub fn scale_channels(&self, factors: &[f64]) -> Self {
        Self::build(&self.shape, |index| self.at(index) * factors[index[1]])
    }
}

/// The positions that a window with the given stride sees, one tuple a tap.
fn window(
    position: &[usize],
    tap: &[usize],
    stride: &[usize],
    dilation: usize,
    start: &[i64],
) -> Vec<i64> {
    (0..position.len())
        .map(|n| (position[n] * stride[n] + tap[n] * dilation) as i64 - start[n])
        .collect()
}

pub fn conv(
    x: &Array,
    weight: &Array,
    bias: Option<&Array>,
    stride: &[usize],
    dilation: usize,
    groups: usize,
    pads: &[(i64, i64)],
) -> Array {
    let kernel = &weight.shape[2..];
    let mut shape = vec![x.shape[0], weight.shape[0]];
    for (n, &(start, end)) in pads.iter().enumerate() {
        let room = x.spatial()[n] as i64 + start + end - (dilation * (kernel[n] - 1)) as i64 - 1;
        shape.push(room as usize / stride[n] + 1);
    }
    let start: Vec<i64> = pads.iter().map(|p| p.0).collect();
    let taps = indices(kernel);
    let per_group = weight.shape[1];
    let outputs_per_group = weight.shape[0] / groups;
    Array::build(&shape, |index| {
        let (batch, output) = (index[0], index[1]);
        let first = output / outputs_per_group * per_group;
        let mut sum = bias.map_or(0.0, |bias| bias.at(&[output]));
        for tap in &taps {
            let position = window(&index[2..], tap, stride, dilation, &start);
            for input in 0..per_group {
                let mut weight_index = vec![output, input];
                weight_index.extend(tap);
                sum += weight.at(&weight_index) * x.at_or(0.0, batch, first + input, &position);
            }
        }
        sum
    })
}

/// Scatters every input position over the output; `start` positions are cut at the start.
pub fn conv_transpose(
    x: &Array,
    weight: &Array,
    bias: Option<&Array>,
    stride: &[usize],
    start: &[usize],
    size: &[usize],
) -> Array {
    let mut shape = vec![x.shape[0], weight.shape[1]];
    shape.extend(size);
    let mut y = Array::build(&shape, |index| bias.map_or(0.0, |b| b.at(&[index[1]])));
    for from in indices(&x.shape) {
        for w in indices(&weight.shape[1..]) {
            let to: Option<Vec<usize>> = (0..size.len())
                .map(|n| (from[2 + n] * stride[n] + w[1 + n]).checked_sub(start[n]))
                .collect();
            let Some(to) = to.filter(|to| to.iter().zip(size).all(|(t, s)| t < s)) else {
                continue;
            };
            let mut flat = from[0] * shape[1] + w[0];
            for (t, s) in to.iter().zip(size) {
                flat = flat * s + t;
            }
            let mut weight_index = vec![from[1]];
            weight_index.extend(&w);
            y.data[flat] += x.at(&from) * weight.at(&weight_index);
        }
    }
    y
}

/// Max or mean over windows without padding; windows may hang over the end.
pub fn pool(x: &Array, kernel: &[usize], stride: &[usize], size: &[usize], max: bool) -> Array {
    let mut shape = x.shape[..2].to_vec();
    shape.extend(size);
    let zero = vec![0; size.len()];
    Array::build(&shape, |index| {
        let values = indices(kernel).into_iter().map(|tap| {
            let position = window(&index[2..], &tap, stride, 1, &zero);
            x.at_or(f64::NAN, index[0], index[1], &position)
        });
        let inside: Vec<f64> = values.filter(|v| !v.is_nan()).collect();
        if max {
            inside.iter().copied().fold(f64::NEG_INFINITY, f64::max)
        } else {
            inside.iter().sum::<f64>() / inside.len() as f64
        }
    })
}

/// The same one-dimensional map along every spatial axis: `taps(i, from, to)` are the input
/// positions and weights of output position `i`.
pub fn along_axes(
    x: &Array,
    size: &[usize],
    taps: impl Fn(usize, usize, usize) -> Vec<(usize, f64)>,
) -> Array {
    size.iter().enumerate().fold(x.clone(), |x, (n, &to)| {
        let from = x.spatial()[n];
        let mut shape = x.shape.clone();
        shape[2 + n] = to;
        Array::build(&shape, |index| {
            let mut source = index.to_vec();
            let mut sum = 0.0;
            for (j, weight) in taps(index[2 + n], from, to) {
                source[2 + n] = j;
                sum += weight * x.at(&source);
            }
            sum
        })
    })
}

pub fn nearest(x: &Array, size: &[usize]) -> Array {
    along_axes(x, size, |i, from, to| vec![(i * from / to, 1.0)])
}

/// Linear interpolation between pixel areas.
pub fn linear(x: &Array, size: &[usize]) -> Array {
    along_axes(x, size, |i, from, to| {
        let source = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
        let low = source as usize;
        let high = (low + 1).min(from - 1);
        let weight = source - low as f64;
        vec![(low, 1.0 - weight), (high, weight)]
    })
}

/// Adds zeros (positive) or cuts (negative) around the middle, the odd one at the end.
pub fn centre(x: &Array, size: &[usize]) -> Array {
    let mut shape = x.shape[..2].to_vec();
    shape.extend(size);
    let shift: Vec<i64> = x
        .spatial()
        .iter()
        .zip(size)
        .map(|(&from, &to)| {
            if to >= from {
                -(((to - from) / 2) as i64)
            } else {
                ((from - to) / 2) as i64
            }
        })
        .collect();
    Array::build(&shape, |index| {
        let position: Vec<i64> = index[2..]
            .iter()
            .zip(&shift)
            .map(|(&p, s)| p as i64 + s)
            .collect();
        x.at_or(0.0, index[0], index[1], &position)
    })
}

pub fn concat(parts: &[&Array], axis: usize) -> Array {
    let mut shape = parts[0].shape.clone();
    shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
    Array::build(&shape, |index| {
        let mut index = index.to_vec();
        for part in parts {
            if index[axis] < part.shape[axis] {
                return part.at(&index);
            }
            index[axis] -= part.shape[axis];
        }
        unreachable!()
    })
}

/// PyTorch's pixel shuffle by `scale` on every axis.
pub fn pixel_shuffle(x: &Array, scale: usize) -> Array {
    let axes = x.shape.len() - 2;
    let cell = scale.pow(axes as u32);
    let mut shape = vec![x.shape[0], x.shape[1] / cell];
    shape.extend(x.spatial().iter().map(|n| n * scale));
    Array::build(&shape, |index| {
        let offset = index[2..].iter().fold(0, |o, i| o * scale + i % scale);
        let mut source = vec![index[0], index[1] * cell + offset];
        source.extend(index[2..].iter().map(|i| i / scale));
        x.at(&source)
    })
}

fn same(size: usize, kernel: usize, stride: usize, dilation: usize) -> (i64, i64) {
    let output = size.div_ceil(stride);
    let total = ((output - 1) * stride + (kernel - 1) * dilation + 1) as i64 - size as i64;
    let total = total.max(0);
    (total / 2, total - total / 2)
}

fn numbers<const R: usize>(per_axis: &burn_skip::PerAxis) -> Vec<usize> {
    match per_axis {
        burn_skip::PerAxis::All(value) => vec![*value; R - 2],
        burn_skip::PerAxis::Each(values) => values.clone(),
    }
}

pub fn conv_layer<const R: usize>(layer: &Conv<R>, x: &Array) -> Array {
    let config = &layer.config;
    let stride = numbers::<R>(&config.stride);
    let kernel = numbers::<R>(&config.kernel_size);
    let dilation = numbers::<R>(&config.dilation)[0];
    let pads: Vec<(i64, i64)> = match &config.padding {
        Padding::Same => (0..R - 2)
            .map(|n| same(x.spatial()[n], kernel[n], stride[n], dilation))
            .collect(),
        Padding::Valid => vec![(0, 0); R - 2],
        Padding::Explicit { start, end } => {
            let [start, end] = [numbers::<R>(start), numbers::<R>(end)];
            start
                .into_iter()
                .zip(end)
                .map(|(s, e)| (s as i64, e as i64))
                .collect()
        }
    };
    let bias = layer.bias.as_ref().map(Array::param);
    conv(
        x,
        &Array::param(&layer.weight),
        bias.as_ref(),
        &stride,
        dilation,
        config.groups,
        &pads,
    )
}

/// A batch norm that uses its running statistics.
pub fn norm_layer(norm: &Normalization, x: &Array) -> Array {
    let Normalization::Batch(norm) = norm else {
        panic!("the reference knows batch norm alone");
    };
    let [gamma, beta] = [&norm.gamma, &norm.beta].map(Array::param);
    let mean = Array::of(&norm.running_mean.value());
    let var = Array::of(&norm.running_var.value());
    Array::build(&x.shape, |index| {
        let c = [index[1]];
        (x.at(index) - mean.at(&c)) / (var.at(&c) + norm.epsilon).sqrt() * gamma.at(&c)
            + beta.at(&c)
    })
}

/// Convolution and norm, as far as there is one.
pub fn conv_norm<const R: usize>(block: &ConvNormAct<R>, x: &Array) -> Array {
    let y = conv_layer(&block.conv, x);
    match &block.norm {
        Some(norm) => norm_layer(norm, &y),
        None => y,
    }
}

/// Convolution, norm and, if there is an activation, ReLU.
pub fn conv_norm_relu<const R: usize>(block: &ConvNormAct<R>, x: &Array) -> Array {
    let y = conv_norm(block, x);
    match &block.activation {
        Some(_) => y.relu(),
        None => y,
    }
}

pub fn double_conv<const R: usize>(block: &DoubleConv<R>, x: &Array) -> Array {
    conv_norm_relu(&block.second, &conv_norm_relu(&block.first, x))
}
