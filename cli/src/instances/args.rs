//! The objects of a prediction, on the command line.

use clap::{Args, ValueEnum};

use super::cleaning::Cleaning;
use super::seeds::not_of_three_classes;
use super::{InstanceOptions, Split};

/// Maxima of the distance that are nearer to each other are of one object.
const MIN_DISTANCE: f64 = 10.0;

/// How objects that touch are split, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SplitName {
    /// Not at all: each connected region is an object
    None,
    /// At the narrowest place, by a watershed of the distance to the border
    Distance,
    /// By a network of the classes background, inside and border, by a watershed from each inside
    Inside,
}

/// What is foreground, and what its objects are.
#[derive(Args, Clone, Debug, Default)]
pub struct InstanceArgs {
    /// Probability from which on a pixel is foreground, in the mask of a network of one class and for instances
    /// [default: 0.5]
    #[arg(long, value_name = "P", value_parser = probability)]
    threshold: Option<f32>,

    /// How instances that touch are split [default: distance]
    #[arg(long, value_enum, value_name = "HOW")]
    split: Option<SplitName>,

    /// Middles of instances that are nearer to each other are of one, in pixels; where the spacings of the axes differ,
    /// in pixels of the finest; for --split distance [default: 10]
    #[arg(long, value_name = "PIXELS", value_parser = distance)]
    min_distance: Option<f64>,

    /// Remove regions of the mask and instances of fewer pixels
    #[arg(long, default_value_t = 0, value_name = "PIXELS")]
    min_size: usize,

    /// Keep only the largest region of each class in the mask, and only the largest instance
    #[arg(long)]
    largest: bool,
}

impl InstanceArgs {
    /// The options, for a network of so many classes. `asked` is whether there will be instances, and `by` the option
    /// that asks for them.
    ///
    /// # Errors
    /// When an option would change nothing, or does not suit the network.
    pub fn options(
        &self,
        classes: usize,
        asked: bool,
        by: &str,
    ) -> Result<InstanceOptions, String> {
        let for_instances = [
            ("--split", self.split.is_some()),
            ("--min-distance", self.min_distance.is_some()),
            ("--threshold", self.threshold.is_some() && classes > 1),
        ];
        if let Some((option, _)) = for_instances
            .into_iter()
            .find(|(_, given)| *given && !asked)
        {
            let reason = match option {
                "--threshold" => "of several classes the mask has the most probable, and ",
                _ => "",
            };
            return Err(format!(
                "{option}: {reason}it is for instances only. Ask for them with {by}."
            ));
        }
        let split = match self.split.unwrap_or(SplitName::Distance) {
            SplitName::Inside if classes != 3 => return Err(not_of_three_classes(classes)),
            SplitName::Inside => Split::Inside,
            SplitName::None => Split::None,
            SplitName::Distance => Split::Distance {
                min_distance: self.min_distance.unwrap_or(MIN_DISTANCE),
            },
        };
        if self.min_distance.is_some() && !matches!(split, Split::Distance { .. }) {
            return Err(
                "--min-distance is for --split distance only. Leave one of the two out.".into(),
            );
        }
        Ok(InstanceOptions {
            threshold: self.threshold.unwrap_or(0.5),
            split,
            cleaning: Cleaning {
                min_size: self.min_size,
                keep_largest: self.largest,
            },
        })
    }
}

fn probability(text: &str) -> Result<f32, String> {
    let valid = |p: &f32| *p > 0.0 && *p < 1.0;
    let number = text.parse().ok().filter(valid);
    number.ok_or_else(|| "it must be a number above 0 and below 1".into())
}

fn distance(text: &str) -> Result<f64, String> {
    let valid = |distance: &f64| distance.is_finite() && *distance >= 0.0;
    let number = text.parse().ok().filter(valid);
    number.ok_or_else(|| "it must be a number, 0 or more".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(
        change: impl Fn(&mut InstanceArgs),
        classes: usize,
    ) -> Result<InstanceOptions, String> {
        let mut args = InstanceArgs::default();
        change(&mut args);
        args.options(classes, true, "--instances")
    }

    #[test]
    fn an_option_that_would_change_nothing_is_refused() {
        let default = options(|_| {}, 1).unwrap();
        assert_eq!(default.threshold, 0.5);
        assert_eq!(
            default.split,
            Split::Distance {
                min_distance: MIN_DISTANCE
            }
        );
        let none = |args: &mut InstanceArgs| args.split = Some(SplitName::None);
        assert_eq!(options(none, 4).unwrap().split, Split::None);
        let both = |args: &mut InstanceArgs| {
            none(args);
            args.min_distance = Some(3.0);
        };
        assert_eq!(
            options(both, 1).unwrap_err(),
            "--min-distance is for --split distance only. Leave one of the two out."
        );
        let inside = |args: &mut InstanceArgs| args.split = Some(SplitName::Inside);
        assert_eq!(options(inside, 3).unwrap().split, Split::Inside);
        assert_eq!(
            options(inside, 1).unwrap_err(),
            "--split inside is for a network of three classes (background, inside, border), and this one has 1 class. \
             Use --split distance."
        );
    }

    #[test]
    fn without_instances_their_options_are_refused() {
        let mut args = InstanceArgs {
            threshold: Some(0.3),
            ..InstanceArgs::default()
        };
        assert_eq!(
            args.options(1, false, "--instances").unwrap().threshold,
            0.3
        );
        assert_eq!(
            args.options(2, false, "--instances").unwrap_err(),
            "--threshold: of several classes the mask has the most probable, and it is for instances only. Ask for them \
             with --instances."
        );
        args.split = Some(SplitName::None);
        assert_eq!(
            args.options(1, false, "--instances").unwrap_err(),
            "--split: it is for instances only. Ask for them with --instances."
        );
    }

    #[test]
    fn numbers_out_of_their_range_are_refused() {
        assert_eq!(probability("0.25"), Ok(0.25));
        for wrong in ["0", "1", "-0.5", "NaN", "x"] {
            assert!(probability(wrong).is_err(), "{wrong}");
        }
        assert_eq!(distance("0"), Ok(0.0));
        for wrong in ["-1", "inf", "NaN", "x"] {
            assert!(distance(wrong).is_err(), "{wrong}");
        }
    }
}
