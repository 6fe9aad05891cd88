//! How the numbers of an image are brought to the range that a network is trained on.

use serde::{Deserialize, Serialize};

use super::Raster;

/// What is done with the values of each channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Intensities {
    /// They stay as they are.
    None,
    /// For images whose few brightest spots are much brighter than the rest, as in fluorescence microscopy: the
    /// logarithm is taken, then as [`Linear`](Self::Linear).
    Log,
    /// For photographs: the percentiles 1 and 99.8 of each image move to 0 and 1.
    Linear,
    /// `(x - mean) / deviation`.
    ZScore {
        #[serde(default)]
        of: Values,
        #[serde(default)]
        fit: Fit,
    },
    /// `(x - a) / (b - a)`, where `a` and `b` are two percentiles.
    Percentiles {
        low: f64,
        high: f64,
        #[serde(default)]
        fit: Fit,
    },
    /// `(x - low) / (high - low)`, no less than 0 and no more than 1: a window of computed tomography, in its units.
    Window { low: f64, high: f64 },
}

/// Which values count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Values {
    #[default]
    All,
    /// Those that are not 0, as where the background was masked out; the zeros stay.
    Nonzero,
}

/// Whose values the numbers of a normalisation come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fit {
    /// Of all images that are trained on: the numbers are kept with the model.
    #[default]
    Training,
    /// Of each image by itself, as where the scale of the values differs between scanners.
    Image,
}

/// `(x - shift) / range`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    pub shift: f64,
    pub range: f64,
}

impl Scale {
    /// Whether values can be scaled by it.
    pub fn is_sound(&self) -> bool {
        self.shift.is_finite() && self.range.is_finite() && self.range > 0.0
    }
}

/// What the command line takes.
const KINDS: &str = "log, linear, none, z-score, z-score-nonzero, percentiles, percentiles=LOW,HIGH, window=LOW,HIGH, or \
                     JSON such as {\"ZScore\": {\"of\": \"Nonzero\", \"fit\": \"Image\"}}";

/// As many values decide percentiles at most: more change nothing, and must be sorted.
const MAX_SORTED: usize = 1 << 24;

impl Intensities {
    /// A normalisation on the command line.
    ///
    /// # Errors
    /// When it is none, or its numbers are out of range.
    pub fn parse(text: &str) -> Result<Self, String> {
        let unknown = || format!("`{text}` is not one of {KINDS}");
        let fit = Fit::Training;
        let (kind, numbers) = text.split_once('=').unwrap_or((text, ""));
        let range = || {
            let (low, high) = numbers.split_once(',')?;
            Some((
                low.trim().parse::<f64>().ok()?,
                high.trim().parse::<f64>().ok()?,
            ))
        };
        let intensities = match (kind, range()) {
            _ if text.trim_start().starts_with('{') => {
                serde_json::from_str(text).map_err(|e| format!("{e}; it must be one of {KINDS}"))?
            }
            ("percentiles", Some((low, high))) => Self::Percentiles { low, high, fit },
            ("window", Some((low, high))) => Self::Window { low, high },
            _ if text.contains('=') => return Err(unknown()),
            ("log", _) => Self::Log,
            ("linear", _) => Self::Linear,
            ("none", _) => Self::None,
            ("z-score", _) => Self::ZScore {
                of: Values::All,
                fit,
            },
            ("z-score-nonzero", _) => Self::ZScore {
                of: Values::Nonzero,
                fit,
            },
            ("percentiles", _) => Self::Percentiles {
                low: 1.0,
                high: 99.0,
                fit,
            },
            _ => return Err(unknown()),
        };
        intensities.check()?;
        Ok(intensities)
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn check(&self) -> Result<(), String> {
        match *self {
            Self::Percentiles { low, high, .. } if !(0.0 <= low && low < high && high <= 100.0) => {
                Err(format!(
                    "percentiles {low} and {high}: the first must be less than the second, both from 0 to 100"
                ))
            }
            Self::Window { low, high } if !(low < high && low.is_finite() && high.is_finite()) => {
                Err(format!(
                    "a window from {low} to {high}: the first must be less than the second"
                ))
            }
            _ => Ok(()),
        }
    }

    /// Whether its numbers come from all images that are trained on.
    pub fn is_fitted(&self) -> bool {
        matches!(
            self,
            Self::ZScore {
                fit: Fit::Training,
                ..
            } | Self::Percentiles {
                fit: Fit::Training,
                ..
            }
        )
    }

    /// The scale of each channel, from some images.
    pub fn fitted(&self, images: &[&Raster]) -> Vec<Scale> {
        let channels = images.first().map_or(0, |image| image.channels);
        let scale = |channel: usize| {
            let maps = images.iter().map(|image| {
                let pixels = image.pixels();
                &image.values[channel * pixels..(channel + 1) * pixels]
            });
            self.scale(&maps.collect::<Vec<_>>())
        };
        (0..channels).map(scale).collect()
    }

    /// Normalises an image, each channel for itself. `scales` are those that were [`fitted`](Self::fitted), where they
    /// come from all images.
    ///
    /// # Errors
    /// When these are of other channels.
    pub fn apply(&self, image: &mut Raster, scales: &[Scale]) -> Result<(), String> {
        if self.is_fitted() && scales.len() != image.channels {
            return Err(format!(
                "the training has {} scales of intensities, and images have {} channels. Train anew.",
                scales.len(),
                image.channels
            ));
        }
        let pixels = image.pixels();
        for (channel, map) in image.values.chunks_exact_mut(pixels.max(1)).enumerate() {
            if *self == Self::Log {
                // (Of numbers below 0, which a camera does not count, there is no logarithm.)
                map.iter_mut()
                    .for_each(|value| *value = value.max(0.0).ln_1p());
            }
            let scale = match self.is_fitted() {
                true => scales[channel],
                false => self.scale(&[map]),
            };
            self.scale_values(map, scale);
        }
        Ok(())
    }

    fn scale_values(&self, map: &mut [f32], Scale { shift, range }: Scale) {
        let nonzero = matches!(
            self,
            Self::ZScore {
                of: Values::Nonzero,
                ..
            }
        );
        let (shift, range) = (shift as f32, range as f32);
        for value in map.iter_mut().filter(|value| !nonzero || **value != 0.0) {
            *value = (*value - shift) / range;
            if matches!(self, Self::Window { .. }) {
                *value = value.clamp(0.0, 1.0);
            }
        }
    }

    fn scale(&self, maps: &[&[f32]]) -> Scale {
        match *self {
            Self::None => Scale {
                shift: 0.0,
                range: 1.0,
            },
            Self::Log | Self::Linear => between_percentiles(maps, 1.0, 99.8),
            Self::Percentiles { low, high, .. } => between_percentiles(maps, low, high),
            Self::ZScore { of, .. } => standard(maps, of),
            Self::Window { low, high } => Scale {
                shift: low,
                range: high - low,
            },
        }
    }
}

/// The mean and the standard deviation of values of which there is one or more; a deviation of 0 becomes 1.
fn standard(maps: &[&[f32]], of: Values) -> Scale {
    let values = || {
        let values = maps.iter().flat_map(|map| map.iter());
        values.filter(|&&value| of == Values::All || value != 0.0)
    };
    let count = values().count().max(1) as f64;
    let mean = values().map(|&value| f64::from(value)).sum::<f64>() / count;
    let squares = values().map(|&value| (f64::from(value) - mean).powi(2));
    let deviation = (squares.sum::<f64>() / count).sqrt();
    Scale {
        shift: mean,
        range: if deviation > 0.0 { deviation } else { 1.0 },
    }
}

/// From one percentile to the other. Where they are equal, as in an image with a few bright pixels on black, from the
/// smallest value to the largest. A plane of one value becomes 0.
fn between_percentiles(maps: &[&[f32]], low: f64, high: f64) -> Scale {
    let count: usize = maps.iter().map(|map| map.len()).sum();
    let step = count.div_ceil(MAX_SORTED).max(1);
    let mut sorted: Vec<f32> = maps
        .iter()
        .flat_map(|map| map.iter().copied())
        .step_by(step)
        .collect();
    sorted.sort_unstable_by(f32::total_cmp);
    let (Some(&smallest), Some(&largest)) = (sorted.first(), sorted.last()) else {
        return Scale {
            shift: 0.0,
            range: 1.0,
        };
    };
    let percentile = |p: f64| sorted[(p / 100.0 * (sorted.len() - 1) as f64).round() as usize];
    let (low, high) = match (percentile(low), percentile(high)) {
        (low, high) if low < high => (low, high),
        _ => (smallest, largest),
    };
    Scale {
        shift: f64::from(low),
        range: if low < high {
            f64::from(high - low)
        } else {
            1.0
        },
    }
}

impl Raster {
    /// The image with values from 0 to 1, for people to look at.
    pub fn for_display(mut self) -> Self {
        let pixels = self.pixels();
        for map in self.values.chunks_exact_mut(pixels.max(1)) {
            let scale = Intensities::Linear.scale(&[map]);
            Intensities::Linear.scale_values(map, scale);
        }
        self
    }

    /// The image with values from 0 to 1 where `other` has them, to be compared with it.
    pub fn for_display_beside(mut self, other: &Self) -> Self {
        let scales = Intensities::Linear.fitted(&[other]);
        let pixels = self.pixels();
        let maps = self.values.chunks_exact_mut(pixels.max(1));
        for (map, scale) in maps.zip(scales) {
            Intensities::Linear.scale_values(map, scale);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(values: &[f32]) -> Raster {
        Raster {
            channels: 1,
            size: vec![1, values.len()],
            values: values.to_vec().into(),
        }
    }

    fn applied(intensities: &Intensities, values: &[f32]) -> Vec<f32> {
        let mut image = image(values);
        let scales = intensities.fitted(&[&image]);
        intensities.apply(&mut image, &scales).unwrap();
        image.values.into_vec()
    }

    #[test]
    fn the_percentiles_move_to_0_and_1() {
        let values: Vec<f32> = (0..=1000).map(|n| n as f32).collect();
        let plane = applied(&Intensities::Linear, &values);
        assert_eq!([plane[10], plane[998]], [0.0, 1.0]);
        let plane = applied(&Intensities::parse("percentiles=50,100").unwrap(), &values);
        assert_eq!([plane[0], plane[500], plane[1000]], [-1.0, 0.0, 1.0]);
    }

    #[test]
    fn a_few_bright_pixels_on_black_are_bright_and_no_more() {
        for (few, many) in [(200.0, 0.0), (0.0, 200.0)] {
            let mut plane = vec![many; 10_000];
            plane[..10].fill(few);
            let plane = applied(&Intensities::Linear, &plane);
            let [few, many] = [few, many].map(|value| value / 200.0);
            assert_eq!([plane[0], plane[9_999]], [few, many]);
        }
        assert_eq!(applied(&Intensities::Log, &[7.0; 100]), [0.0; 100]);
    }

    #[test]
    fn a_z_score_is_of_all_values_or_of_those_that_are_not_0() {
        let z_score = |text| Intensities::parse(text).unwrap();
        assert_eq!(
            applied(&z_score("z-score"), &[0.0, 0.0, 4.0, 4.0]),
            [-1.0, -1.0, 1.0, 1.0]
        );
        assert_eq!(
            applied(&z_score("z-score-nonzero"), &[0.0, 3.0, 5.0]),
            [0.0, -1.0, 1.0]
        );
        assert_eq!(applied(&z_score("z-score"), &[5.0; 3]), [0.0; 3]);
        assert_eq!(applied(&z_score("z-score-nonzero"), &[0.0; 3]), [0.0; 3]);
    }

    #[test]
    fn a_window_cuts_off_and_none_changes_nothing() {
        let window = Intensities::parse("window=-100,300").unwrap();
        assert_eq!(
            applied(&window, &[-1000.0, 0.0, 100.0, 900.0]),
            [0.0, 0.25, 0.5, 1.0]
        );
        assert_eq!(applied(&Intensities::None, &[-3.0, 700.0]), [-3.0, 700.0]);
    }

    #[test]
    fn what_was_fitted_is_applied_to_other_images() {
        let z_score = Intensities::parse("z-score").unwrap();
        let scales = z_score.fitted(&[&image(&[0.0, 0.0]), &image(&[4.0, 4.0])]);
        assert_eq!(
            scales,
            [Scale {
                shift: 2.0,
                range: 2.0
            }]
        );
        let mut other = image(&[8.0]);
        z_score.apply(&mut other, &scales).unwrap();
        assert_eq!(other.values, [3.0]);
        assert!(
            z_score
                .apply(&mut other, &[])
                .unwrap_err()
                .contains("0 scales")
        );
        let of_image = r#"{"ZScore": {"fit": "Image"}}"#;
        let of_image = Intensities::parse(of_image).unwrap();
        of_image.apply(&mut other, &[]).unwrap();
        assert_eq!(other.values, [0.0]);
    }

    #[test]
    fn what_is_no_normalisation_is_refused() {
        for wrong in [
            "window",
            "window=1",
            "log=1",
            "z",
            r#"{"ZScore": {"off": 1}}"#,
        ] {
            let error = Intensities::parse(wrong).unwrap_err();
            assert!(error.contains("one of log, linear, none"), "{error}");
        }
        for wrong in ["window=3,2", "percentiles=5,101", "window=0,inf"] {
            assert!(
                Intensities::parse(wrong)
                    .unwrap_err()
                    .contains("the first must be less")
            );
        }
    }
}
