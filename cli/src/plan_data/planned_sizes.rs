//! The sizes of the images as a training has them: resampled, and without what is validated on.

use super::fingerprint::{Facts, Fingerprint};
use crate::Result;
use crate::files::limits::ImageLimit;
use crate::segmentation::spacing::{ImageInfo, SpacingChoice, TargetSpacing, farthest_spacing};

impl Fingerprint {
    /// The spacing that images are resampled to, if they are: by the rule of a training.
    ///
    /// # Errors
    /// As [`SpacingChoice::target`].
    pub fn target_spacing(&self, choice: &SpacingChoice) -> Result<Option<TargetSpacing>, String> {
        let infos = self.images.iter().map(|image| ImageInfo {
            file: image.file.clone(),
            grid: image.grid.clone(),
            size: image.size.clone(),
            // (Which ones a fold leaves out, the training decides.)
            is_trained_on: true,
        });
        choice.target(&infos.collect::<Vec<_>>())
    }

    /// The same with the sizes and the spacing after that.
    ///
    /// # Errors
    /// When an image would become too large or vanish.
    pub fn resampled(
        &self,
        choice: &SpacingChoice,
        target: Option<&TargetSpacing>,
        limit: ImageLimit,
    ) -> Result<Self> {
        let mut all = self.clone();
        let Some(target) = target else {
            return Ok(all);
        };
        for image in &mut all.images {
            let Facts {
                file,
                size,
                spacing,
                channels,
                ..
            } = image;
            if let Some(spacing) = spacing {
                let resampler = target.resampler_from(spacing);
                let resampled = resampler.size_of(file, size, *channels, limit);
                *size = resampled.map_err(|error| {
                    let all = self
                        .images
                        .iter()
                        .map(|image| (image.file.as_path(), &image.grid));
                    format!("{error}{}", farthest_spacing(choice, file, all))
                })?;
                spacing.clone_from(&target.per_axis);
            }
        }
        Ok(all)
    }

    /// The same without the last quarter of the columns.
    pub fn without_validation_columns(&self) -> Self {
        let mut all = self.clone();
        let columns = all.images.iter_mut();
        for columns in columns.filter_map(|image| image.size.last_mut()) {
            *columns -= *columns / 4;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::fingerprint::tests::found;
    use super::*;
    use crate::files::limits::ImageLimits;

    #[test]
    fn sizes_are_those_at_the_chosen_spacing() {
        let found = found(
            &[[10, 40, 40], [20, 40, 40], [30, 40, 40]],
            &[3.0, 2.0, 1.0],
            &[0, 1],
        );
        let limit = ImageLimits::of_bytes(0).size;
        let depths = |choice: &str| {
            let choice = SpacingChoice::parse(choice).unwrap();
            let target = found.target_spacing(&choice).unwrap();
            let resampled = found.resampled(&choice, target.as_ref(), limit).unwrap();
            let depths = resampled.images.iter().map(|image| image.size[0]);
            (depths.collect::<Vec<_>>(), resampled.spacing())
        };
        let median = (vec![15, 20, 15], vec![2.0, 1.0, 1.0]);
        assert_eq!(depths("auto"), median);
        assert_eq!(depths("median"), median);
        assert_eq!(depths("keep"), (vec![10, 20, 30], vec![2.0, 1.0, 1.0]));
        assert_eq!(depths("4,1,1"), (vec![8, 10, 8], vec![4.0, 1.0, 1.0]));
        assert_eq!(found.without_validation_columns().smallest(), [10, 40, 30]);
    }

    #[test]
    fn a_file_that_tells_no_spacing_is_as_in_a_training() {
        let mut found = found(&[[10, 40, 40]; 2], &[3.0, 2.0], &[0, 1]);
        found.images[1].spacing = None;
        found.images[1].grid.spacing = None;
        let error = found.target_spacing(&SpacingChoice::Auto).unwrap_err();
        assert!(
            error.contains("a tells its spacing, and a tells none"),
            "{error}"
        );
        assert_eq!(found.target_spacing(&SpacingChoice::Keep), Ok(None));
        assert_eq!(found.spacing(), [1.0; 3]);
    }
}
