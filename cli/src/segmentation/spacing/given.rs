//! `--spacing` of `predict` and `eval`: the spacing of images whose files tell none.

use clap::Args;

use super::SpacingChoice;
use super::choice::{numbers, per_axis};
use crate::raster::{Grid, Spacing, shown_spacing};

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
    /// Writes it where a file of so many axes told none. Where it told one, a remark says that this one counts.
    ///
    /// # Errors
    /// When it has other numbers than axes.
    pub fn fill(&self, grid: &mut Grid, axes: usize) -> Result<Option<String>, String> {
        let Some(Distances(numbers)) = &self.spacing else {
            return Ok(None);
        };
        let given = per_axis(numbers, axes)?;
        if let Some(Spacing { per_axis, unit, .. }) = grid.full_spacing() {
            let same = *per_axis == given;
            let remark = || {
                let own = shown_spacing(per_axis, unit);
                format!("--spacing is not used, since its file tells its own, {own}")
            };
            return Ok((!same).then(remark));
        }
        grid.spacing = Some(Spacing {
            per_axis: given,
            unit: String::new(),
            of_all_axes: true,
        });
        Ok(None)
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
        assert_eq!(arg.fill(&mut silent, 3), Ok(None));
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
        let remark = "--spacing is not used, since its file tells its own, 1,1,1 mm";
        assert_eq!(arg.fill(&mut telling, 3), Ok(Some(remark.into())));
        assert_eq!(telling.full_spacing().unwrap().per_axis, [1.0; 3]);
    }
}
