//! A picture of what augmentation does: crops as they are, and transformed, with the outlines of their masks.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::encode;
use super::font::{self, FONT};
use super::prediction::{INK, PAPER};
use crate::Result;
use crate::raster::{Raster, is_ignored};

const GAP: usize = 8;
const TITLE: usize = 40;
/// The side of a crop that small ones are enlarged to, about.
const SIDE: usize = 200;

/// Seen on dark and on bright grey, and by colour-blind readers.
const OUTLINE: RGBColor = RGBColor(255, 150, 0);

/// Crops in rows: the first of each row as it is, the others transformed. All are of one size.
pub struct Examples {
    pub rows: Vec<Vec<Example>>,
    pub classes: usize,
    /// The label whose pixels do not count: it has no outline.
    pub ignored: Option<i64>,
}

/// A crop with values from 0 to 1, and the class of every pixel.
pub struct Example {
    pub image: Raster,
    pub mask: Raster,
}

impl Examples {
    /// Draws the picture, as the bytes of a PNG file.
    ///
    /// # Errors
    /// When the drawing library fails.
    pub fn png(&self) -> Result<Vec<u8>> {
        let examples = self.rows.first().and_then(|row| row.first());
        let [height, width] = examples.map_or([1, 1], |example| example.image.plane());
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let zoom = (SIDE / width.max(height)).max(1);
        let [high, wide] = [height * zoom + GAP, width * zoom + GAP];
        let size = [TITLE + self.rows.len() * high, GAP + columns * wide];

        let mut rgb = vec![0; size[0] * size[1] * 3];
        write_titles(
            &mut rgb,
            size,
            [GAP + wide / 2, GAP + wide * (columns + 1) / 2],
        )?;
        for (row, examples) in self.rows.iter().enumerate() {
            for (column, example) in examples.iter().enumerate() {
                let [top, left] = [TITLE + row * high, GAP + column * wide];
                for y in 0..height * zoom {
                    for x in 0..width * zoom {
                        let RGBColor(r, g, b) = self.colour(example, [y, x], zoom);
                        let at = 3 * ((top + y) * size[1] + left + x);
                        rgb[at..at + 3].copy_from_slice(&[r, g, b]);
                    }
                }
            }
        }
        encode(&rgb, size[1], size[0])
    }

    /// The colour of a point of an enlarged crop: that of a class at its border, else the image.
    fn colour(&self, example: &Example, at: [usize; 2], zoom: usize) -> RGBColor {
        let size = example.image.plane();
        let [y, x] = at.map(|at| at / zoom);
        let pixel = y * size[1] + x;
        let class = example.mask.values[pixel];
        // A point at the edge of its pixel, beside a pixel of another class.
        let is_border = |axis: usize, step: usize| {
            let place = [y, x][axis];
            let (edge, last) = ([0, zoom - 1], size[axis] - 1);
            let beside = if axis == 0 { size[1] } else { 1 };
            let is_edge = at[axis] % zoom == edge[step];
            let has_neighbour = [place > 0, place < last][step];
            is_edge && has_neighbour && {
                let neighbour = [pixel.wrapping_sub(beside), pixel + beside][step];
                example.mask.values[neighbour] != class
            }
        };
        let sides = [(0, 0), (0, 1), (1, 0), (1, 1)];
        let is_drawn = class != 0.0 && !is_ignored(class, self.ignored);
        if is_drawn && sides.into_iter().any(|(axis, step)| is_border(axis, step)) {
            return match self.classes {
                0..=2 => OUTLINE,
                _ => {
                    let (r, g, b) = Palette99::pick(class as usize - 1).to_rgba().rgb();
                    RGBColor(r, g, b)
                }
            };
        }
        let grey = (example.image.brightness(pixel) * 255.0).round() as u8;
        RGBColor(grey, grey, grey)
    }
}

/// The titles of the first column and of the others, about their centres.
fn write_titles(rgb: &mut [u8], [height, width]: [usize; 2], centers: [usize; 2]) -> Result<()> {
    font::register()?;
    let paper = BitMapBackend::with_buffer(rgb, (width as u32, height as u32));
    let paper = paper.into_drawing_area();
    paper.fill(&PAPER)?;
    let style = TextStyle::from((FONT, 21).into_font()).color(&INK);
    let style = style.pos(Pos::new(HPos::Center, VPos::Center));
    for (title, x) in ["crop", "augmented"].into_iter().zip(centers) {
        let place = (x as i32, TITLE as i32 / 2);
        paper.draw(&Text::new(title, place, style.clone()))?;
    }
    paper.present()?;
    Ok(())
}
