//! A diagram as an SVG picture: each box at the height of its stride, so that a U-Net is a U.

use alloc::{format, string::String, vec, vec::Vec};
use core::fmt::Write;

use super::column::shape_text;
use super::diagram::{Arrow, Block, Diagram, escaped};
use super::fails;

/// All lengths are in pixels.
const HEIGHT: f64 = 46.0;
const ROW: f64 = 132.0;
const MARGIN: f64 = 24.0;
/// The room above the first row, for the arcs of skips.
const HEAD: f64 = 64.0;
const LETTER: f64 = 7.0;
/// The width of the ellipses of the input and the output.
const END: f64 = 64.0;
const GAP: f64 = 26.0;

const SKIP_COLOUR: &str = "#c2571a";
const COLOUR: &str = "#444";

/// The colours of the root's children: an encoder, a decoder, a head.
const FILLS: [&str; 6] = [
    "#dbe9f6", "#fde3cf", "#dcefdc", "#ece0f3", "#f6e9c5", "#e4e4e4",
];

/// Where a box stands: its left end, its width and its row.
#[derive(Clone, Copy)]
struct Place {
    left: f64,
    width: f64,
    row: usize,
}

impl Place {
    fn top(&self) -> f64 {
        MARGIN + HEAD + self.row as f64 * ROW
    }

    fn bottom(&self) -> f64 {
        self.top() + HEIGHT
    }

    fn middle(&self) -> f64 {
        self.top() + HEIGHT / 2.0
    }

    fn right(&self) -> f64 {
        self.left + self.width
    }

    fn centre(&self) -> f64 {
        self.left + self.width / 2.0
    }
}

impl Diagram<'_> {
    /// The graph as a picture in SVG: each box at the height of its stride on the input, skips as arcs over what they
    /// skip. A broken frame marks misaligned feature maps, a red one the layer that the input does not fit.
    pub fn svg(&self) -> String {
        let blocks = self.blocks();
        draw(&blocks, &self.arrows(&blocks))
    }
}

fn draw(blocks: &[Block], arrows: &[Arrow]) -> String {
    let places = places(blocks, arrows);
    let right = places.iter().map(Place::right).fold(0.0, f64::max) + MARGIN;
    let bottom = places.iter().map(Place::bottom).fold(0.0, f64::max) + MARGIN;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {right:.0} {bottom:.0}\" width=\"{right:.0}\" \
         height=\"{bottom:.0}\" font-family=\"sans-serif\" font-size=\"12\" text-anchor=\"middle\">\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"{COLOUR}\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let last = places.len() - 1;
    let mut drawn: Vec<[usize; 2]> = Vec::new();
    for arrow in arrows {
        let from = arrow.from.map_or(0, |index| index + 1);
        let to = arrow.to.map_or(last, |index| index + 1);
        if drawn.contains(&[from, to]) {
            continue;
        }
        drawn.push([from, to]);
        // Several maps between the same two boxes are one arrow with several shapes.
        let ends = (arrow.from, arrow.to);
        let same = arrows.iter().filter(|other| (other.from, other.to) == ends);
        let labels: Vec<String> = same.map(|arrow| shape_text(arrow.map)).collect();
        let path = path_between(&places[from], &places[to], to > from + 1, &labels);
        draw_arrow(&mut text, &path, &labels);
    }
    draw_end(&mut text, &places[0], "input");
    draw_end(&mut text, &places[last], "output");
    for (block, place) in blocks.iter().zip(&places[1..]) {
        draw_box(&mut text, block, place, FILLS[block.group % FILLS.len()]);
    }
    text.push_str("</svg>\n");
    text
}

/// The places of the input, the boxes, and the output. What follows on the same row stands to the right; what follows on
/// another row stands to the right of the middle of the one before it.
fn places(blocks: &[Block], arrows: &[Arrow]) -> Vec<Place> {
    let (input, rows) = rows(blocks);
    let width = |block: &Block| {
        let longest = block.lines().iter().map(|line| line.chars().count()).max();
        longest.unwrap_or(0) as f64 * LETTER + 20.0
    };
    let label = |to: Option<usize>| {
        let labels = arrows.iter().filter(|arrow| arrow.to == to);
        let longest = labels.map(|arrow| shape_text(arrow.map).chars().count());
        longest.max().unwrap_or(0) as f64 * LETTER
    };
    let mut places = vec![Place {
        left: MARGIN,
        width: END,
        row: input,
    }];
    let boxes = blocks.iter().zip(&rows).enumerate();
    let boxes = boxes.map(|(index, (block, &row))| (Some(index), width(block), row));
    let last = rows.last().copied().unwrap_or(0);
    for (to, width, row) in boxes.chain([(None, END, last)]) {
        let before = &places[places.len() - 1];
        let mut left = match row == before.row {
            true => before.right() + label(to) + GAP,
            false if row > before.row => before.centre() + 34.0,
            false => before.right() - width / 2.0 + 34.0,
        };
        // Not over what stands on that row already.
        let others = places.iter().filter(|place| place.row == row);
        left = others.map(|place| place.right() + GAP).fold(left, f64::max);
        places.push(Place { left, width, row });
    }
    places
}

/// The row of the input and those of the boxes: one for each stride, the finest at the top. A box without a stride stays
/// on the row before it.
fn rows(blocks: &[Block]) -> (usize, Vec<usize>) {
    let mut strides: Vec<f64> = blocks.iter().filter_map(Block::stride).collect();
    strides.sort_by(f64::total_cmp);
    strides.dedup();
    let row_of = |stride: f64| strides.iter().position(|&other| other == stride);
    let input = row_of(1.0).unwrap_or(0);
    let mut row = input;
    let place = |block: &Block| {
        row = block.stride().and_then(row_of).unwrap_or(row);
        row
    };
    (input, blocks.iter().map(place).collect())
}

/// The path of an arrow, and where the lowest of its labels stands.
struct Path {
    data: String,
    colour: &'static str,
    label: [f64; 2],
}

fn path_between(from: &Place, to: &Place, skips: bool, labels: &[String]) -> Path {
    let longest = labels.iter().map(|label| label.chars().count()).max();
    let half = longest.unwrap_or(0) as f64 * LETTER / 2.0;
    // Beside an upright arrow they stand around its middle.
    let down = 6.5 * (labels.len() - 1) as f64;
    if skips {
        return arc(from, to);
    }
    let (data, label) = if from.row == to.row {
        let (start, end, middle) = (from.right(), to.left, from.middle());
        let data = format!("M{start:.1} {middle:.1}H{:.1}", end - 1.0);
        (data, [(start + end) / 2.0, middle - 6.0])
    } else if to.row > from.row {
        let (start, end) = (from.centre(), to.left);
        let (y0, y1) = (from.bottom(), to.middle());
        let data = format!("M{start:.1} {y0:.1}V{y1:.1}H{:.1}", end - 1.0);
        (data, [start + half + 6.0, (y0 + y1) / 2.0 + down])
    } else {
        let (start, end) = (from.right(), to.centre());
        let (y0, y1) = (from.middle(), to.bottom());
        let data = format!("M{start:.1} {y0:.1}H{end:.1}V{:.1}", y1 + 1.0);
        (data, [end + half + 6.0, (y0 + y1) / 2.0 + down])
    };
    Path {
        data,
        colour: COLOUR,
        label,
    }
}

/// A skip: an arc over what stands between.
fn arc(from: &Place, to: &Place) -> Path {
    let (start, end) = (from.right() - 14.0, to.left + 14.0);
    let (y0, y1) = (from.top(), to.top());
    let lift = (24.0 + (end - start) * 0.08).min(HEAD);
    let top = y0.min(y1) - lift;
    let data = format!(
        "M{start:.1} {y0:.1}C{:.1} {top:.1} {:.1} {top:.1} {end:.1} {y1:.1}",
        start + (end - start) * 0.15,
        end - (end - start) * 0.15
    );
    // The middle of a cubic curve: an eighth of its ends, three eighths of its controls.
    let middle = (y0 + y1) / 8.0 + 0.75 * top;
    Path {
        data,
        colour: SKIP_COLOUR,
        label: [(start + end) / 2.0, middle - 5.0],
    }
}

fn draw_arrow(text: &mut String, path: &Path, labels: &[String]) {
    let Path {
        data,
        colour,
        label: [x, y],
    } = path;
    let _ = writeln!(
        text,
        "<path d=\"{data}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.4\" marker-end=\"url(#tip)\"/>"
    );
    for (line, label) in labels.iter().rev().enumerate() {
        let y = y - 13.0 * line as f64;
        let _ = writeln!(
            text,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"11\" fill=\"{colour}\">{label}</text>"
        );
    }
}

fn draw_end(text: &mut String, place: &Place, name: &str) {
    let (x, y) = (place.centre(), place.middle());
    let _ = writeln!(
        text,
        "<ellipse cx=\"{x:.1}\" cy=\"{y:.1}\" rx=\"{:.1}\" ry=\"16\" fill=\"#fff\" stroke=\"{COLOUR}\"/>\
         <text x=\"{x:.1}\" y=\"{:.1}\">{name}</text>",
        place.width / 2.0,
        y + 4.0
    );
}

/// With a red frame where the input does not fit, and a broken one where feature maps are misaligned.
fn draw_box(text: &mut String, block: &Block, place: &Place, fill: &str) {
    let mut is_misaligned = false;
    block.node.walk("", &mut |_, node| {
        is_misaligned |= !node.misalignments.is_empty();
    });
    let frame = match fails(block.node) {
        true => "stroke=\"#d0021b\" stroke-width=\"2.5\"",
        false if is_misaligned => "stroke=\"#555\" stroke-dasharray=\"5 3\"",
        false => "stroke=\"#555\"",
    };
    let _ = write!(
        text,
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{HEIGHT}\" rx=\"6\" fill=\"{fill}\" {frame}/>",
        place.left,
        place.top(),
        place.width
    );
    let lines = block.lines();
    let first = place.middle() + 4.0 - 8.0 * (lines.len() - 1) as f64;
    for (index, line) in lines.iter().enumerate() {
        let weight = match index {
            0 => " font-weight=\"bold\"",
            _ => "",
        };
        let _ = write!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\"{weight}>{}</text>",
            place.centre(),
            first + 16.0 * index as f64,
            escaped(line)
        );
    }
    text.push('\n');
}
