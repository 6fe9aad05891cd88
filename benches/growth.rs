//! How the cost of the layers grows with positions, channels and depth: a picture.
//!
//! ```text
//! cargo bench -p burn-skip-benches --bench growth -- OUT.png
//! ```

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use burn_skip::block::{ConvNormAct, ConvNormActConfig, LayerOrder};
use burn_skip::merge::Order;
use burn_skip::{Layer, SkipConcat, SkipConcatConfig, UpsampleConcat, UpsampleConcatConfig};
use burn_skip_benches::devices;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The typeface is built in: a machine may have none installed.
const FONT: &str = "sans-serif";
const RUNS: usize = 9;
const SIZE: (u32, u32) = (1080, 380);

/// Milliseconds at each size, on each device.
struct Panel {
    title: &'static str,
    axis: &'static str,
    sizes: Vec<usize>,
    series: Vec<(&'static str, Vec<f64>)>,
}

fn main() -> Result<()> {
    let out = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let out = out.unwrap_or_else(|| "growth.png".into());
    let panels = [
        panel(
            "up-block of 32 channels",
            "side of the skip",
            &[32, 64, 128, 256, 512],
            |side, device| up_block(32, side, device),
        ),
        panel(
            "up-block at 64x64",
            "channels of the skip",
            &[8, 16, 32, 64, 128, 256],
            |channels, device| up_block(channels, 64, device),
        ),
        panel(
            "dense block at 64x64",
            "layers",
            &[2, 4, 8, 16, 32],
            |depth, device| {
                let block = dense_block(depth, device);
                let x = random([1, 64, 64, 64], device);
                Box::new(move || drop(black_box(block.forward(x.clone()).into_data())))
            },
        ),
    ];
    for panel in &panels {
        println!("{} by {}: {:?}", panel.title, panel.axis, panel.sizes);
        for (device, times) in &panel.series {
            println!("  {device}: {times:.2?} ms");
        }
    }
    draw(&out, &panels)?;
    println!("wrote {out}");
    Ok(())
}

fn random(shape: [usize; 4], device: &Device) -> Tensor<4> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

/// A block of DenseNet-121: 64 channels, and layers that add 32 each.
fn dense_block(depth: usize, device: &Device) -> Vec<SkipConcat<(ConvNormAct, ConvNormAct)>> {
    let conv = |channels, kernel| {
        let conv = ConvNormActConfig::new(channels, kernel).with_order(LayerOrder::NormActConv);
        conv.with_bias(false).init(device)
    };
    let layer = |index: usize| {
        let block = (conv([64 + 32 * index, 128], 1), conv([128, 32], 3));
        SkipConcatConfig::new()
            .with_order(Order::SkipFirst)
            .init(block)
    };
    (0..depth).map(layer).collect()
}

fn up_block(channels: usize, side: usize, device: &Device) -> Box<dyn FnMut()> {
    let config = UpsampleConcatConfig::new(2 * channels, channels, channels);
    let layer: UpsampleConcat = config.init(device);
    let deep = random([1, 2 * channels, side / 2, side / 2], device);
    let skip = random([1, channels, side, side], device);
    Box::new(move || {
        drop(black_box(
            layer.forward(deep.clone(), skip.clone()).into_data(),
        ))
    })
}

fn panel(
    title: &'static str,
    axis: &'static str,
    sizes: &[usize],
    work: impl Fn(usize, &Device) -> Box<dyn FnMut()>,
) -> Panel {
    let time = |size: usize, device: &Device| {
        let mut run = work(size, device);
        run();
        let mut times: Vec<f64> = (0..RUNS)
            .map(|_| {
                let start = Instant::now();
                run();
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[RUNS / 2]
    };
    let series = devices().into_iter().map(|(name, device)| {
        (
            name,
            sizes.iter().map(|&size| time(size, &device)).collect(),
        )
    });
    Panel {
        title,
        axis,
        sizes: sizes.to_vec(),
        series: series.collect(),
    }
}

/// Both axes by their logarithms, so that a straight line of slope 1 is a cost in proportion.
fn draw(out: &str, panels: &[Panel]) -> Result<()> {
    register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
        .map_err(|_| "the built-in typeface cannot be read")?;
    let mut pixels = vec![0; (3 * SIZE.0 * SIZE.1) as usize];
    draw_on(&mut pixels, panels)?;
    image::save_buffer(out, &pixels, SIZE.0, SIZE.1, image::ColorType::Rgb8)?;
    Ok(())
}

fn draw_on(pixels: &mut [u8], panels: &[Panel]) -> Result<()> {
    let area = BitMapBackend::with_buffer(pixels, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    for (area, panel) in area.split_evenly((1, panels.len())).iter().zip(panels) {
        let (first, last) = (
            panel.sizes[0] as f64,
            panel.sizes[panel.sizes.len() - 1] as f64,
        );
        let times = panel.series.iter().flat_map(|(_, times)| times);
        let least = times
            .clone()
            .fold(f64::INFINITY, |least, &time| least.min(time));
        let most = times.fold(0.0f64, |most, &time| most.max(time));
        let mut chart = ChartBuilder::on(area)
            .caption(panel.title, (FONT, 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(
                (first * 0.9..last * 1.1).log_scale(),
                (least * 0.7..most * 1.4).log_scale(),
            )?;
        chart
            .configure_mesh()
            .x_desc(panel.axis)
            .x_labels(4)
            .y_labels(4)
            .x_label_formatter(&|size| format!("{size:.0}"))
            .y_desc("milliseconds")
            .label_style((FONT, 13))
            .axis_desc_style((FONT, 14))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (index, (device, times)) in panel.series.iter().enumerate() {
            let color = [RGBColor(31, 119, 180), RGBColor(214, 96, 20)][index % 2];
            let points = || {
                panel
                    .sizes
                    .iter()
                    .map(|&size| size as f64)
                    .zip(times.iter().copied())
            };
            chart
                .draw_series(LineSeries::new(points(), color.stroke_width(2)))?
                .label(*device)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2))
                });
            chart.draw_series(points().map(|point| Circle::new(point, 3, color.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font((FONT, 14))
            .background_style(WHITE)
            .draw()?;
    }
    area.present()?;
    Ok(())
}
