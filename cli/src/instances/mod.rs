//! Instances: the objects of a prediction, each with a number.
//!
//! What is more probable than a threshold is foreground, and its connected regions are objects. Objects that touch are
//! one region; a watershed from a seed in each splits them. Regions, distances and panoptic quality are the library's.

pub mod args;
pub mod cleaning;
mod neighbours;
pub mod scores;
mod seeds;
mod watershed;

use burn_skip::metric::{Connectivity, LabelMap};

use crate::Result;
use crate::raster::{Raster, Spacing};
use cleaning::Cleaning;
use neighbours::Neighbours;
use seeds::Seeds;

/// The numbers of objects that a raster of `f32` tells apart.
pub const MAX_OBJECTS: usize = 1 << f32::MANTISSA_DIGITS;

/// How objects that touch are split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Split {
    /// Not at all: each connected region is an object.
    None,
    /// At the narrowest place: a seed is a maximum of the distance to the border, and the watershed is that of the
    /// distance.
    Distance {
        /// Maxima that are nearer to each other are of one object. In pixels, along the axis of the finest spacing.
        min_distance: f64,
    },
    /// By a network of the classes background, inside and border: a seed is a connected region of the inside, and the
    /// watershed is that of its probability.
    Inside,
}

/// What the objects of an image are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InstanceOptions {
    /// The probability from which on a pixel is foreground.
    pub threshold: f32,
    pub split: Split,
    pub cleaning: Cleaning,
}

/// The objects of an image.
pub struct Instances {
    /// The number of the object of each pixel, from 1 on; 0 is the background.
    pub labels: Raster,
    pub count: usize,
}

impl InstanceOptions {
    /// These options without a split.
    pub fn unsplit(self) -> Self {
        Self {
            split: Split::None,
            ..self
        }
    }

    /// The objects of the probabilities of each class, that of the foreground or those of several classes, of which the
    /// first is the background.
    ///
    /// # Errors
    /// When there are too many objects, no room for them, or the network has other classes than the split is for.
    pub fn find(&self, probabilities: &Raster, spacing: Option<&Spacing>) -> Result<Instances> {
        let size = probabilities.as_volume();
        let first = &probabilities.values[..probabilities.pixels()];
        let foreground = first.iter().map(|&p| match probabilities.channels {
            1 => i64::from(p >= self.threshold),
            // (The first class is the background.)
            _ => i64::from(1.0 - p >= self.threshold),
        });
        let foreground = LabelMap::new(size, foreground.collect())?;
        let seeds = match self.split {
            Split::None => None,
            Split::Distance { min_distance } => {
                let spacing = relative(spacing);
                Some(Seeds::of_distance(&foreground, &spacing, min_distance)?)
            }
            Split::Inside => Some(Seeds::of_inside(probabilities, &foreground)?),
        };
        let mut labels = match seeds {
            None => components(&foreground),
            Some(seeds) => grown(seeds, &foreground)?,
        };
        let count = self.cleaning.objects(&mut labels);
        if count > MAX_OBJECTS {
            return Err(format!(
                "the prediction has {count} objects, and {MAX_OBJECTS} can be numbered. Remove small ones with --min-size."
            )
            .into());
        }
        let mut values = probabilities.values.zeros_like(labels.len())?;
        for (value, label) in values.iter_mut().zip(labels) {
            *value = label as f32;
        }
        Ok(Instances {
            labels: Raster {
                channels: 1,
                size: probabilities.size.clone(),
                values,
            },
            count,
        })
    }
}

/// The connected regions of a map, by their numbers.
fn components(map: &LabelMap) -> Vec<i64> {
    let regions = map.connected_components(Connectivity::Faces);
    regions.map.labels().to_vec()
}

/// The foreground as objects that have grown from seeds. A region without a seed is an object by itself.
fn grown(seeds: Seeds, foreground: &LabelMap) -> Result<Vec<i64>> {
    let Seeds {
        mut labels,
        heights,
    } = seeds;
    let seeds = labels.iter().copied().max().unwrap_or(0);
    let inside: Vec<bool> = foreground
        .labels()
        .iter()
        .map(|&label| label != 0)
        .collect();
    let faces = Neighbours::new(as_array(foreground.size()), Connectivity::Faces);
    watershed::flood(&mut labels, &heights, &inside, &faces);
    let left = inside.iter().zip(&labels);
    let left = left.map(|(&inside, &label)| i64::from(inside && label == 0));
    let left = components(&LabelMap::new(foreground.size(), left.collect())?);
    for (label, left) in labels.iter_mut().zip(left).filter(|(_, left)| *left != 0) {
        *label = seeds + left;
    }
    Ok(labels)
}

/// The three axes of a map that has them.
fn as_array(size: &[usize]) -> [usize; 3] {
    [size[0], size[1], size[2]]
}

/// The spacing of three axes, of which the finest has 1.
fn relative(spacing: Option<&Spacing>) -> [f64; 3] {
    let mut relative = [1.0; 3];
    let Some(spacing) = spacing else {
        return relative;
    };
    let finest = spacing
        .per_axis
        .iter()
        .copied()
        .fold(f64::INFINITY, f64::min);
    // (An image has no depth.)
    let first = relative.len().saturating_sub(spacing.per_axis.len());
    for (own, step) in relative[first..].iter_mut().zip(&spacing.per_axis) {
        *own = step / finest;
    }
    relative
}

#[cfg(test)]
mod tests;
