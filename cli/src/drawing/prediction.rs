//! A picture of a prediction: the image, the truth, and what was found, missed and falsely predicted.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::encode;
use super::font::{self, FONT};
use crate::Result;
use crate::raster::{Raster, is_ignored};
use crate::segmentation::metrics::{Scores, between, counts};

const MARGIN: usize = 24;
const TITLE: usize = 44;
const LEGEND: usize = 48;
/// Room for the titles and the legend, however small the image.
const MIN_WIDTH: usize = 360;

pub(super) const PAPER: RGBColor = RGBColor(18, 20, 26);
pub(super) const INK: RGBColor = RGBColor(225, 228, 235);
// Three colours that colour-blind readers tell apart, too.
const FOUND: RGBColor = RGBColor(235, 235, 225);
const MISSED: RGBColor = RGBColor(235, 70, 45);
const FALSE: RGBColor = RGBColor(50, 130, 255);

/// What to draw; without a truth, only the image and the prediction.
pub struct Picture<'a> {
    pub image: &'a Raster,
    /// The true class of every pixel.
    pub truth: Option<&'a Raster>,
    /// The predicted class of every pixel.
    pub predicted: &'a Raster,
    pub classes: usize,
    /// The label of the truth whose pixels do not count: they are drawn as background.
    pub ignored: Option<i64>,
    /// The objects, to be shown in place of the classes.
    pub objects: Option<Objects<'a>>,
}

/// The number of the object of every pixel: each is drawn in a colour of its own.
pub struct Objects<'a> {
    pub truth: Option<&'a Raster>,
    pub predicted: &'a Raster,
}

/// One of the pictures beside each other: its title, and its colour at a pixel.
struct Panel<'a> {
    title: String,
    colour: Box<dyn Fn(usize) -> RGBColor + 'a>,
}

impl Picture<'_> {
    /// Draws the picture, as the bytes of a PNG file.
    ///
    /// # Errors
    /// When the drawing library fails.
    pub fn png(&self) -> Result<Vec<u8>> {
        let panels = self.panels()?;
        let zoom = self.zoom(panels.len());
        let [rows, columns] = self.image.plane();
        let (wide, high) = (columns * zoom, rows * zoom);
        let width = (MARGIN + panels.len() * (wide + MARGIN)).max(MIN_WIDTH);
        let height = TITLE + high + LEGEND;
        let left = |panel: usize| {
            let used = panels.len() * (wide + MARGIN) - MARGIN;
            (width - used) / 2 + panel * (wide + MARGIN)
        };

        let mut rgb = vec![0; width * height * 3];
        let titles = panels.iter().enumerate();
        let titles = titles.map(|(i, panel)| (left(i) + wide / 2, panel.title.as_str()));
        self.write_words(&mut rgb, (width, height), titles)?;
        for (i, panel) in panels.iter().enumerate() {
            for (y, x) in (0..high).flat_map(|y| (0..wide).map(move |x| (y, x))) {
                let pixel = (y / zoom) * columns + x / zoom;
                let RGBColor(r, g, b) = (panel.colour)(pixel);
                let at = 3 * ((TITLE + y) * width + left(i) + x);
                rgb[at..at + 3].copy_from_slice(&[r, g, b]);
            }
        }
        encode(&rgb, width, height)
    }

    fn panels(&self) -> Result<Vec<Panel<'_>>> {
        let grey = |pixel: usize| self.image.brightness(pixel);
        let mut panels = vec![Panel {
            title: "image".into(),
            colour: Box::new(move |pixel| blend(FOUND, grey(pixel))),
        }];
        if let Some(Objects { truth, predicted }) = &self.objects {
            let truth = truth.map(|truth| ("truth", truth));
            for (title, objects) in truth.into_iter().chain([("instances", *predicted)]) {
                panels.push(Panel {
                    title: title.into(),
                    colour: Box::new(move |pixel| tint(grey(pixel), of_object(objects, pixel))),
                });
            }
            return Ok(panels);
        }
        let of_class = |mask: &'_ Raster, pixel: usize| match mask.values[pixel] {
            0.0 => None,
            class => Some(self.colour(class as usize)),
        };
        let Some(truth) = self.truth else {
            panels.push(Panel {
                title: "prediction".into(),
                colour: Box::new(move |pixel| tint(grey(pixel), of_class(self.predicted, pixel))),
            });
            return Ok(panels);
        };
        panels.push(Panel {
            title: "truth".into(),
            colour: Box::new(move |pixel| {
                let mark = match is_ignored(truth.values[pixel], self.ignored) {
                    true => None,
                    false => of_class(truth, pixel),
                };
                tint(grey(pixel), mark)
            }),
        });
        let nothing = counts(self.classes, self.ignored);
        let Scores { iou, .. } = Scores::of(&between(self.predicted, truth, 0, nothing)?);
        panels.push(Panel {
            title: format!("prediction: IoU {iou:.3}"),
            colour: Box::new(move |pixel| {
                let mark = match (self.predicted.values[pixel], truth.values[pixel]) {
                    (0.0, 0.0) => None,
                    (_, truth) if is_ignored(truth, self.ignored) => None,
                    (found, truth) if found == truth => of_class(self.predicted, pixel),
                    (0.0, _) => Some(MISSED),
                    _ => Some(FALSE),
                };
                tint(grey(pixel), mark)
            }),
        });
        Ok(panels)
    }

    /// The colour of a class where the prediction is right.
    fn colour(&self, class: usize) -> RGBColor {
        match self.classes {
            0..=2 => FOUND,
            _ => {
                let (r, g, b) = Palette99::pick(class - 1).to_rgba().rgb();
                RGBColor(r, g, b)
            }
        }
    }

    /// Small images are enlarged, by a whole factor so that a pixel stays a square.
    fn zoom(&self, panels: usize) -> usize {
        let [height, width] = self.image.plane();
        let by_width = 1200 / (panels * width);
        let by_height = 1100 / height;
        by_width.min(by_height).max(1)
    }

    fn write_words<'t>(
        &self,
        rgb: &mut [u8],
        (width, height): (usize, usize),
        titles: impl Iterator<Item = (usize, &'t str)>,
    ) -> Result<()> {
        font::register()?;
        let paper = BitMapBackend::with_buffer(rgb, (width as u32, height as u32));
        let paper = paper.into_drawing_area();
        paper.fill(&PAPER)?;
        let style = TextStyle::from((FONT, 21).into_font()).color(&INK);

        let centred = style.pos(Pos::new(HPos::Center, VPos::Center));
        for (x, title) in titles {
            paper.draw(&Text::new(
                title,
                (x as i32, TITLE as i32 / 2),
                centred.clone(),
            ))?;
        }

        let beside = style.pos(Pos::new(HPos::Left, VPos::Center));
        let y = (height - LEGEND / 2) as i32;
        let mut x = MARGIN as i32;
        for (word, colour) in &self.legend() {
            let square = [(x, y - 11), (x + 16, y + 5)];
            paper.draw(&Rectangle::new(square, colour.filled()))?;
            paper.draw(&Text::new(word.as_str(), (x + 24, y), beside.clone()))?;
            x += 112;
        }
        paper.present()?;
        Ok(())
    }

    fn legend(&self) -> Vec<(String, RGBColor)> {
        if self.objects.is_some() {
            return Vec::new();
        }
        let found = match self.classes {
            0..=2 => vec![("found".into(), FOUND)],
            several => {
                // As many as fit beside each other.
                let classes = 1..several.min(9);
                let entry = |class| (format!("class {class}"), self.colour(class));
                classes.map(entry).collect()
            }
        };
        let wrong = [("missed".into(), MISSED), ("false".into(), FALSE)];
        let wrong = wrong.into_iter().filter(|_| self.truth.is_some());
        found.into_iter().chain(wrong).collect()
    }
}

/// The colour of the object at a pixel, if there is one: numbers that follow each other have hues far apart.
fn of_object(objects: &Raster, pixel: usize) -> Option<RGBColor> {
    const GOLDEN: f64 = 0.618_033_988_75;
    let number = f64::from(objects.values[pixel]);
    let lightness = 0.5 + 0.1 * (number % 3.0);
    let (r, g, b) = HSLColor((number * GOLDEN).fract(), 0.75, lightness)
        .to_rgba()
        .rgb();
    (number != 0.0).then_some(RGBColor(r, g, b))
}

/// A pixel of a panel with marks: the image darkened, and the mark over it.
fn tint(grey: f32, mark: Option<RGBColor>) -> RGBColor {
    match mark {
        Some(colour) => blend(colour, 0.62 + 0.38 * grey),
        None => blend(FOUND, 0.45 * grey),
    }
}

/// From black (0) to the colour (1).
fn blend(RGBColor(r, g, b): RGBColor, share: f32) -> RGBColor {
    let part = |channel: u8| (f32::from(channel) * share).round() as u8;
    RGBColor(part(r), part(g), part(b))
}
