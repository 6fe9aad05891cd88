//! Two feature maps of different shapes, and every way to merge them into one.
//!
//! ```text
//! cargo run --example stack_feature_maps
//! cargo run --example stack_feature_maps --features ndarray -- --device ndarray
//! ```
//!
//! It starts with the pipeline of a Keras user, `Conv2D(32, 3) - BatchNormalization - relu -
//! MaxPooling2D(2)`, twice, on an image of 32x32x3. The maps after the two stages are 15x15x32 and
//! 6x6x32, and `Concatenate` refuses them. Their model had 128 channels at that point: the table shows every way to
//! merge 15x15x128 and 6x6x128, each followed by a convolution.

mod support;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Relu};
use burn::tensor::{Device, Distribution, Tensor};
use burn_skip::block::ConvNormActConfig;
use burn_skip::fit::{Fit, Target};
use burn_skip::gate::GateConfig;
use burn_skip::merge::{Merge, Order};
use burn_skip::pool::AdaptiveKind;
use burn_skip::resize::ResizeMode;
use burn_skip::up::UpConfig;
use burn_skip::{
    Axis, BranchConfig, DirectSum, FlattenPadReshape, Fuse, FuseConfig, Layer, ShapeError,
    SkipConcat, SkipConcatConfig, Trace, UpsampleConcat, UpsampleConcatConfig,
};

const CHANNELS: usize = 128;
/// The finer map, which a skip connection brings.
const SKIP: [usize; 4] = [1, CHANNELS, 15, 15];
/// The coarser map.
const DEEP: [usize; 4] = [1, CHANNELS, 6, 6];

fn main() -> std::process::ExitCode {
    support::main(
        "Every way to merge feature maps of 15x15 and of 6x6.",
        &[],
        run,
    )
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let device = support::device()?;
    keras_pipeline(&device)?;
    merge_without_help();
    println!(
        "Every way to merge 15x15x{CHANNELS} with 6x6x{CHANNELS}, and a 3x3 convolution to 64 after it:\n"
    );
    print_table(&ways(&device)?);
    one_axis(&device)?;
    // The table needs no values, only shapes. A GPU may still be computing them, and its driver must
    // not be at work when the process ends.
    device.sync()?;
    Ok(())
}

/// One stage of the user's pipeline: Burn's own layers in a tuple are a layer of this crate.
type Stage = (Conv2d, BatchNorm, Relu, MaxPool2d);

fn stage([input, output]: [usize; 2], device: &Device) -> Stage {
    (
        Conv2dConfig::new([input, output], [3, 3]).init(device),
        BatchNormConfig::new(output).init(device),
        Relu::new(),
        MaxPool2dConfig::new([2, 2]).init(),
    )
}

fn keras_pipeline(device: &Device) -> Result<(), ShapeError> {
    let (first, second) = (stage([3, 32], device), stage([32, 32], device));
    let image = Tensor::<4>::random([1, 3, 32, 32], Distribution::Default, device);
    // The shapes are known before anything runs.
    let planned = first.output_shape(image.dims())?;
    let skip = first.forward(image);
    assert_eq!(planned, skip.dims());
    let deep = second.forward(skip.clone());
    println!("Conv2D(32, 3) - BatchNormalization - relu - MaxPooling2D(2), twice, on 32x32x3:\n");
    println!("  after the first stage   {}", shape(skip.dims()));
    println!("  after the second stage  {}\n", shape(deep.dims()));
    Ok(())
}

fn merge_without_help() {
    println!("A plain concatenation of two such maps is refused, before it runs:\n");
    if let Err(error) = Merge::concat().output_shape(&[DEEP, SKIP]) {
        println!("  {error}\n");
    }
}

/// One way to merge the two maps.
struct Way {
    name: &'static str,
    parameters: usize,
    merged: [usize; 4],
    convolved: [usize; 4],
    kept: &'static str,
}

/// Both maps, and what measures each way.
struct Bench {
    deep: Tensor<4>,
    skip: Tensor<4>,
    device: Device,
}

impl Bench {
    /// Convolves the merged map, and notes what came out.
    fn way(
        &self,
        name: &'static str,
        parameters: usize,
        merged: Tensor<4>,
        kept: &'static str,
    ) -> Way {
        let shape = merged.dims();
        let conv = ConvNormActConfig::new([shape[1], 64], 3).init::<4>(&self.device);
        Way {
            name,
            parameters,
            merged: shape,
            convolved: conv.forward(merged).dims(),
            kept,
        }
    }

    /// An `UpsampleConcat` whose block is left out, so that the table shows the merged map.
    fn upsample_concat(
        &self,
        name: &'static str,
        config: UpsampleConcatConfig,
        kept: &'static str,
    ) -> Way {
        let layer: UpsampleConcat<4, burn::nn::Identity> =
            config.init_with(burn::nn::Identity::new(), &self.device);
        let merged = layer.forward(self.deep.clone(), self.skip.clone());
        self.way(name, layer.num_params(), merged, kept)
    }

    /// Both maps by the same fit, then a merge.
    fn fuse(
        &self,
        name: &'static str,
        fit: Fit,
        target: Target,
        merge: Merge,
        kept: &'static str,
    ) -> Way {
        let branch = BranchConfig::new(CHANNELS).with_fit(fit);
        let config = FuseConfig::new(vec![branch.clone(), branch], merge).with_target(target);
        let layer: Fuse = config.init(&self.device);
        let merged = layer.forward(vec![self.deep.clone(), self.skip.clone()]);
        self.way(name, layer.num_params(), merged, kept)
    }
}

fn ways(device: &Device) -> Result<Vec<Way>, ShapeError> {
    let random = |shape| Tensor::random(shape, Distribution::Default, device);
    let bench = Bench {
        deep: random(DEEP),
        skip: random(SKIP),
        device: device.clone(),
    };
    let up = |up| UpsampleConcatConfig::new(CHANNELS, CHANNELS, CHANNELS).with_up(up);
    let solved = UpConfig::conv_transpose_between(&[6, 6], &[15, 15])?;
    let gate = GateConfig::attention(64);
    let linear = Fit::Resize(ResizeMode::linear());
    let wrapped: SkipConcat<Stage> = SkipConcatConfig::new()
        .with_fit(Fit::Pool(AdaptiveKind::Avg))
        .init(stage([CHANNELS, CHANNELS], device));
    let both = [bench.deep.clone(), bench.skip.clone()];
    Ok(vec![
        bench.upsample_concat(
            "UpsampleConcat, nearest",
            up(UpConfig::nearest()),
            "all of both; each deep pixel repeated",
        ),
        bench.upsample_concat(
            "UpsampleConcat, linear",
            up(UpConfig::linear()),
            "all of both; deep interpolated",
        ),
        bench.upsample_concat(
            "UpsampleConcat, transposed k6 s3",
            up(solved),
            "all of both; learns to enlarge, overlaps evenly",
        ),
        bench.upsample_concat(
            "UpsampleConcat, pixel shuffle",
            up(UpConfig::pixel_shuffle()).with_fit(linear.clone()),
            "all of both; learns to enlarge, 12 to 15 interpolated",
        ),
        bench.upsample_concat(
            "UpsampleConcat, linear, gated",
            up(UpConfig::linear()).with_gate(gate),
            "deep says which part of the skip matters",
        ),
        bench.fuse(
            "Fuse, resize, add",
            linear.clone(),
            Target::Skip,
            Merge::Add,
            "the sum: a residual, half the channels",
        ),
        bench.fuse(
            "Fuse, resize, max",
            linear,
            Target::Skip,
            Merge::Max,
            "the stronger of the two, everywhere",
        ),
        bench.way(
            "SkipConcat around the second stage",
            wrapped.num_params(),
            wrapped.forward(bench.skip.clone()),
            "the stage's map beside its own input, pooled to it",
        ),
        bench.fuse(
            "Fuse, average pool, concat",
            Fit::Pool(AdaptiveKind::Avg),
            Target::Deep,
            Merge::concat(),
            "all of deep; the detail of the skip is lost",
        ),
        bench.fuse(
            "Fuse, crop, concat",
            Fit::crop(),
            Target::Smallest,
            Merge::concat(),
            "all of deep; the border of the skip is lost",
        ),
        bench.fuse(
            "Fuse, pad, concat",
            Fit::pad(),
            Target::Largest,
            Merge::concat(),
            "all of both; deep lies small in the middle",
        ),
        bench.way(
            "DirectSum",
            0,
            DirectSum::new().forward(both.to_vec()),
            "all of both, side by side; neighbours stay neighbours",
        ),
        bench.way(
            "FlattenPadReshape",
            0,
            FlattenPadReshape::new([21, 21]).forward(bench.skip.clone(), bench.deep.clone()),
            "every value; space is scrambled: not advised",
        ),
    ])
}

/// Maps of one axis can also be joined along it: 64 and 32 positions are 96.
fn one_axis(device: &Device) -> Result<(), ShapeError> {
    let merge = Merge::Concat {
        axis: Axis::Spatial(0),
        order: Order::DeepFirst,
    };
    let maps = [64, 32].map(|length| Tensor::<3>::ones([1, CHANNELS, length], device));
    let planned = merge.output_shape(&[maps[0].dims(), maps[1].dims()])?;
    let joined = merge.forward(maps.to_vec());
    assert_eq!(planned, joined.dims());
    println!(
        "\nOn one axis, maps of 64 and 32 positions join along it to {}.",
        joined.dims()[2]
    );
    Ok(())
}

fn print_table(ways: &[Way]) {
    let header = [
        "layer",
        "parameters",
        "merged",
        "convolved",
        "what is kept, what is lost",
    ];
    let rows = ways.iter().map(|way| {
        [
            way.name.to_string(),
            way.parameters.to_string(),
            shape(way.merged),
            shape(way.convolved),
            way.kept.to_string(),
        ]
    });
    let rows: Vec<[String; 5]> = std::iter::once(header.map(String::from))
        .chain(rows)
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    for row in rows {
        println!(
            "  {:<w0$}  {:>w1$}  {:<w2$}  {:<w3$}  {}",
            row[0],
            row[1],
            row[2],
            row[3],
            row[4],
            w0 = widths[0],
            w1 = widths[1],
            w2 = widths[2],
            w3 = widths[3],
        );
    }
}

/// `height x width x channels`, as Keras prints it.
fn shape([_, channels, height, width]: [usize; 4]) -> String {
    format!("{height}x{width}x{channels}")
}
