//! The course of a training as a picture: the loss on the left, the scores on the right.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::encode;
use super::font::{self, FONT};
use crate::Result;
use crate::train::history::{Epoch, History};

const WIDTH: usize = 1800;
const HEIGHT: usize = 700;

const STEP: RGBColor = RGBColor(160, 185, 220);
const TRAIN: RGBColor = RGBColor(30, 90, 170);
const VALID: RGBColor = RGBColor(220, 95, 20);
const DICE: RGBColor = RGBColor(120, 120, 120);

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Points = Vec<(f64, f64)>;

/// A line of a chart; one of values of epochs has a dot at each.
struct Line {
    name: &'static str,
    colour: RGBColor,
    points: Points,
    dots: bool,
}

/// One of the two drawings: its values over the steps of the training.
struct Chart {
    title: &'static str,
    /// Where the lines leave space.
    legend: SeriesLabelPosition,
    steps: usize,
    range: Range<f64>,
    lines: Vec<Line>,
}

/// Draws a history, as the bytes of a PNG file.
///
/// # Errors
/// When the drawing library fails.
pub fn png(history: &History) -> Result<Vec<u8>> {
    font::register()?;
    let mut rgb = vec![0; WIDTH * HEIGHT * 3];
    {
        let size = (WIDTH as u32, HEIGHT as u32);
        let paper = BitMapBackend::with_buffer(&mut rgb, size).into_drawing_area();
        paper.fill(&WHITE)?;
        let (left, right) = paper.split_horizontally(WIDTH as u32 / 2);
        draw_losses(&left, history)?;
        draw_scores(&right, history)?;
        paper.present()?;
    }
    encode(&rgb, WIDTH, HEIGHT)
}

fn draw_losses(area: &Area, history: &History) -> Result<()> {
    let losses = history.epochs.iter().flat_map(|epoch| &epoch.step_losses);
    let point = |(&loss, step)| (f64::from(step), f64::from(loss));
    let steps: Points = losses.zip(1..).map(point).collect();
    let valid = epochs(history, |e| e.valid_loss);
    let drawn = steps.iter().chain(&valid).map(|&(_, y)| y);
    let top = drawn.filter(|y| y.is_finite()).fold(0.1, f64::max);
    let lines = vec![
        line("training, every step", STEP, steps, false),
        line(
            "training, mean of an epoch",
            TRAIN,
            epochs(history, |e| e.train_loss),
            true,
        ),
        line("validation", VALID, valid, true),
    ];
    Chart {
        title: "loss",
        legend: SeriesLabelPosition::UpperRight,
        steps: history.steps(),
        range: 0.0..top * 1.05,
        lines,
    }
    .draw(area)
}

fn draw_scores(area: &Area, history: &History) -> Result<()> {
    let iou = epochs(history, |e| e.iou);
    let lowest = iou.iter().map(|&(_, y)| y).fold(1.0, f64::min);
    let bottom = (lowest * 10.0).floor() / 10.0;
    let lines = vec![
        line("IoU", VALID, iou, true),
        line("Dice", DICE, epochs(history, |e| e.dice), true),
    ];
    Chart {
        title: "validation score",
        legend: SeriesLabelPosition::LowerRight,
        steps: history.steps(),
        range: bottom.min(0.9)..1.0,
        lines,
    }
    .draw(area)
}

fn line(name: &'static str, colour: RGBColor, points: Points, dots: bool) -> Line {
    Line {
        name,
        colour,
        points,
        dots,
    }
}

/// One point an epoch, at the step where it ended.
fn epochs(history: &History, value: fn(&Epoch) -> f32) -> Points {
    let mut step = 0;
    let point = |epoch: &Epoch| {
        step += epoch.step_losses.len();
        (step as f64, f64::from(value(epoch)))
    };
    history.epochs.iter().map(point).collect()
}

impl Chart {
    fn draw(self, area: &Area) -> Result<()> {
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, (FONT, 34))
            .margin(20)
            .margin_right(40)
            .x_label_area_size(70)
            .y_label_area_size(80)
            .build_cartesian_2d(0.0..self.steps.max(1) as f64, self.range)?;
        chart
            .configure_mesh()
            .x_desc("step")
            .x_labels(7)
            .y_labels(7)
            .x_label_formatter(&|step| format!("{step:.0}"))
            .y_label_formatter(&|value| format!("{value:.2}"))
            .label_style((FONT, 23))
            .axis_desc_style((FONT, 26))
            .bold_line_style(BLACK.mix(0.12))
            .light_line_style(TRANSPARENT)
            .draw()?;

        for line in self.lines {
            let (colour, width) = (line.colour, if line.dots { 4 } else { 2 });
            if line.dots {
                let dot = |&point: &(f64, f64)| Circle::new(point, 7, colour.filled());
                chart.draw_series(line.points.iter().map(dot))?;
            }
            chart
                .draw_series(LineSeries::new(line.points, colour.stroke_width(width)))?
                .label(line.name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 34, y)], colour.stroke_width(4))
                });
        }
        chart
            .configure_series_labels()
            .position(self.legend)
            .legend_area_size(46)
            .margin(18)
            .background_style(WHITE.mix(0.9))
            .border_style(BLACK.mix(0.25))
            .label_font((FONT, 24))
            .draw()?;
        Ok(())
    }
}
