//! `--spacing` of `predict` and `eval`: the spacing of images whose files tell none.

use clap::Args;

use super::SpacingChoice;
use super::choice::{numbers, per_axis};
use crate::raster::{Grid, Spacing};

/// The spacing of images whose files do not tell it.
#[derive(Args, Clone, Debug)]
pub struct GivenSpacing {
    /// Spacing of images whose files do not tell it, in the order of the axes, such as 3,1,1 (depth,height,width), and in
    /// the unit of the training; a file that tells its spacing keeps it
    #[arg(long, value_name = "Z,Y,X", value_parser = Distances::parse)]
    spacing: Option<Distances>,
}

/// One distance for all axes, or one for each.
#[derive(Clone, Debug)]
struct Distances(Vec<f64>);

impl Distances {
    fn parse(text: &str) -> Result<Self, String> {
        let distances = numbers(text)
            .ok_or("it must be numbers in the order of the axes, such as 3,1,1 or 1")?;
        SpacingChoice::To(distances.clone()).check()?;
        Ok(Self(distances))
    }
}

impl GivenSpacing {
    /// Writes it where a file of so many axes told none.
    ///
    /// # Errors
    /// When it has other numbers than axes.
    pub fn fill(&self, grid: &mut Grid, axes: usize) -> Result<(), String> {
        if let (Some(Distances(numbers)), None) = (&self.spacing, grid.full_spacing()) {
            grid.spacing = Some(Spacing {
                per_axis: per_axis(numbers, axes)?,
                unit: String::new(),
                of_all_axes: true,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_files_that_tell_none() {
        let arg = GivenSpacing {
            spacing: Some(Distances(vec![2.0])),
        };
        let mut silent = Grid::default();
        arg.fill(&mut silent, 3).unwrap();
        assert_eq!(silent.full_spacing().unwrap().per_axis, [2.0; 3]);
        let spacing = Spacing {
            per_axis: vec![1.0; 3],
            unit: "mm".into(),
            of_all_axes: true,
        };
        let mut telling = Grid {
            spacing: Some(spacing),
            ..Grid::default()
        };
        arg.fill(&mut telling, 3).unwrap();
        assert_eq!(telling.full_spacing().unwrap().per_axis, [1.0; 3]);
    }
}
