//! Times the inference workloads of burn-skip in candle, on the CPU.
//!
//! ```text
//! RAYON_NUM_THREADS=2 cargo run --release --manifest-path benches/candle/Cargo.toml -- --json candle.json
//! ```
//!
//! The weights are random and have no fixed seed, as candle has none on the CPU. Training is left out:
//! candle's batch norm in training and the gradient of its convolution are not made for speed.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{
    BatchNorm, Conv2d, Conv2dConfig, Module, ModuleT, VarBuilder, VarMap, batch_norm, conv2d,
    conv2d_no_bias,
};
use serde_json::{Value, json};

const VERSION: &str = "0.11.0";
const WARM_UP: usize = 3;
const EPSILON: f64 = 1e-5;

/// A forward pass.
type Run = Box<dyn Fn() -> Result<Tensor>>;
type Build = fn(VarBuilder) -> Result<Run>;

const WORKLOADS: [(&str, Build); 3] = [
    ("up_block/infer", up_block),
    ("dense/infer", dense),
    ("unet_r18/infer", unet_r18),
];

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let options = Options::read()?;
    let mut rows = Vec::new();
    for (workload, build) in WORKLOADS {
        if options.workloads.is_empty() || options.workloads.iter().any(|w| w == workload) {
            let weights = VarMap::new();
            let run = build(VarBuilder::from_varmap(&weights, DType::F32, &Device::Cpu))?;
            rows.push(time(workload, options.runs, &run)?);
        }
    }
    let text = serde_json::to_string_pretty(&rows)?;
    match options.json {
        Some(path) => std::fs::write(path, text)?,
        None => println!("{text}"),
    }
    Ok(())
}

struct Options {
    json: Option<String>,
    workloads: Vec<String>,
    runs: usize,
}

impl Options {
    fn read() -> std::result::Result<Self, Box<dyn Error>> {
        let mut options = Self {
            json: None,
            workloads: Vec::new(),
            runs: 15,
        };
        let mut args = std::env::args().skip(1).peekable();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--json" => options.json = Some(args.next().ok_or("--json needs a file")?),
                "--runs" => {
                    options.runs = args.next().ok_or("--runs needs a number")?.parse()?;
                }
                "--workloads" => {
                    while let Some(name) = args.next_if(|arg| !arg.starts_with("--")) {
                        options.workloads.push(name);
                    }
                }
                "--memory" => {} // for training alone
                _ => return Err(format!("unknown argument {arg}").into()),
            }
        }
        if options.runs == 0 {
            return Err("--runs must be at least 1".into());
        }
        Ok(options)
    }
}

fn time(workload: &str, runs: usize, run: &Run) -> Result<Value> {
    for _ in 0..WARM_UP {
        black_box(run()?);
    }
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs {
        let start = Instant::now();
        black_box(run()?);
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let (low, high) = (times[(runs - 1) / 2], times[runs / 2]);
    Ok(json!({
        "workload": workload,
        "peer": "candle",
        "version": VERSION,
        "median_ms": (low + high) / 2.0,
        "min_ms": times[0],
        "max_ms": times[runs - 1],
        "runs": runs,
        "threads": candle_core::utils::get_num_threads(),
    }))
}

fn input(channels: usize, side: usize) -> Result<Tensor> {
    Tensor::randn(0f32, 1f32, (1, channels, side, side), &Device::Cpu)
}

fn same(kernel: usize, stride: usize) -> Conv2dConfig {
    Conv2dConfig {
        padding: kernel / 2,
        stride,
        ..Default::default()
    }
}

/// A convolution with the norm after it folded in, as ONNX Runtime and OpenVINO do it.
fn conv_norm(
    (from, to): (usize, usize),
    kernel: usize,
    stride: usize,
    vb: VarBuilder,
) -> Result<Conv2d> {
    let conv = conv2d_no_bias(from, to, kernel, same(kernel, stride), vb.pp("conv"))?;
    conv.absorb_bn(&batch_norm(to, EPSILON, vb.pp("norm"))?)
}

fn conv_norm_relu(conv: &Conv2d, x: &Tensor) -> Result<Tensor> {
    conv.forward(x)?.relu()
}

/// Nearest x2, concat with the skip, two convolutions with norm and ReLU.
struct UpConcat {
    first: Conv2d,
    second: Conv2d,
}

impl UpConcat {
    fn new(deep: usize, skip: usize, out: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            first: conv_norm((deep + skip, out), 3, 1, vb.pp("first"))?,
            second: conv_norm((out, out), 3, 1, vb.pp("second"))?,
        })
    }

    fn forward(&self, deep: &Tensor, skip: Option<&Tensor>) -> Result<Tensor> {
        let (_, _, height, width) = deep.dims4()?;
        let up = deep.upsample_nearest2d(2 * height, 2 * width)?;
        let x = match skip {
            Some(skip) => Tensor::cat(&[&up, skip], 1)?,
            None => up,
        };
        conv_norm_relu(&self.second, &conv_norm_relu(&self.first, &x)?)
    }
}

fn up_block(vb: VarBuilder) -> Result<Run> {
    let layer = UpConcat::new(64, 32, 32, vb)?;
    let (deep, skip) = (input(64, 64)?, input(32, 128)?);
    Ok(Box::new(move || layer.forward(&deep, Some(&skip))))
}

/// Norm, ReLU, 1x1, norm, ReLU, 3x3; the second norm is folded into the 1x1.
struct DenseLayer {
    norm: BatchNorm,
    narrow: Conv2d,
    grow: Conv2d,
}

impl DenseLayer {
    fn new(channels: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            norm: batch_norm(channels, EPSILON, vb.pp("norm"))?,
            narrow: conv_norm((channels, 128), 1, 1, vb.pp("narrow"))?,
            grow: conv2d_no_bias(128, 32, 3, same(3, 1), vb.pp("grow"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.norm.forward_t(x, false)?.relu()?;
        self.grow.forward(&conv_norm_relu(&self.narrow, &x)?)
    }
}

fn dense(vb: VarBuilder) -> Result<Run> {
    let layers = (0..12)
        .map(|i| DenseLayer::new(64 + 32 * i, vb.pp(i)))
        .collect::<Result<Vec<_>>>()?;
    let x = input(64, 64)?;
    Ok(Box::new(move || {
        let mut maps = vec![x.clone()];
        for layer in &layers {
            let grown = layer.forward(&Tensor::cat(&maps, 1)?)?;
            maps.push(grown);
        }
        Tensor::cat(&maps, 1)
    }))
}

/// The block of ResNet-18.
struct Residual {
    first: Conv2d,
    second: Conv2d,
    shortcut: Option<Conv2d>,
}

impl Residual {
    fn new(from: usize, to: usize, stride: usize, vb: VarBuilder) -> Result<Self> {
        let shortcut = (from != to)
            .then(|| conv_norm((from, to), 1, stride, vb.pp("shortcut")))
            .transpose()?;
        Ok(Self {
            first: conv_norm((from, to), 3, stride, vb.pp("first"))?,
            second: conv_norm((to, to), 3, 1, vb.pp("second"))?,
            shortcut,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.second.forward(&conv_norm_relu(&self.first, x)?)?;
        let x = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x)?,
            None => x.clone(),
        };
        (x + y)?.relu()
    }
}

/// U-Net of segmentation-models-pytorch over ResNet-18, one class.
fn unet_r18(vb: VarBuilder) -> Result<Run> {
    let stem = conv_norm((3, 64), 7, 2, vb.pp("stem"))?;
    let mut stages = Vec::new();
    for (i, (from, to)) in [(64, 64), (64, 128), (128, 256), (256, 512)]
        .into_iter()
        .enumerate()
    {
        let (stride, vb) = (if from == to { 1 } else { 2 }, vb.pp("encoder").pp(i));
        stages.push([
            Residual::new(from, to, stride, vb.pp(0))?,
            Residual::new(to, to, 1, vb.pp(1))?,
        ]);
    }
    let shapes = [
        (512, 256, 256),
        (256, 128, 128),
        (128, 64, 64),
        (64, 64, 32),
        (32, 0, 16),
    ];
    let mut decoder = Vec::new();
    for (i, (deep, skip, out)) in shapes.into_iter().enumerate() {
        decoder.push(UpConcat::new(deep, skip, out, vb.pp("decoder").pp(i))?);
    }
    let head = conv2d(16, 1, 3, same(3, 1), vb.pp("head"))?;
    let image = input(3, 256)?;
    Ok(Box::new(move || {
        let mut skips = vec![conv_norm_relu(&stem, &image)?];
        // Zeros around a map that is not negative: as good as minus infinity.
        let padded = skips[0].pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
        let mut x = padded.max_pool2d_with_stride(3, 2)?;
        for [first, second] in &stages {
            x = second.forward(&first.forward(&x)?)?;
            skips.push(x.clone());
        }
        skips.pop(); // the deepest is x itself
        for block in &decoder {
            x = block.forward(&x, skips.pop().as_ref())?;
        }
        head.forward(&x)
    }))
}
