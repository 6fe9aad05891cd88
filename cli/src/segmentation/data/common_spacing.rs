//! The images of a training brought to one spacing.

use super::{Data, Sample};
use crate::Result;
use crate::files::limits::ImageLimits;
use crate::raster::{shown_size, shown_spacing};
use crate::segmentation::spacing::{ImageInfo, Resampler, SpacingChoice, farthest_spacing};
use crate::segmentation::validation::Split;

impl Data {
    /// Resamples all samples, those that are trained on and the others, to the target, if there is one. `infos` are of the
    /// images that are trained on, then of those that are only validated on; `fit` is what chose the target.
    ///
    /// # Errors
    /// When a file does not tell its spacing, or an image would become too large or vanish.
    pub(super) fn resample(
        &mut self,
        split: &Split,
        (infos, fit): (&[ImageInfo], Option<&SpacingChoice>),
        [train, valid]: [&mut Vec<Sample>; 2],
        limit: &ImageLimits,
    ) -> Result<()> {
        let Some(target) = &self.target_spacing else {
            return Ok(());
        };
        let axes = train[0].image.size.len();
        let is_of_axes = target.check(axes);
        is_of_axes.map_err(|e| format!("--spacing, {target}: {e}. Train anew."))?;
        let channels = train[0].image.channels;
        let mut resamplers = Vec::new();
        for ImageInfo {
            file, grid, size, ..
        } in infos
        {
            let resampler = target.resampler(grid, file, "")?;
            let resampled = resampler.size_of(file, size, channels, limit.size);
            let resampled = resampled.map_err(|error| {
                let all = infos.iter().map(|info| (info.file.as_path(), &info.grid));
                let farthest = fit.map(|choice| farthest_spacing(choice, file, all));
                format!("{error}{}", farthest.unwrap_or_default())
            })?;
            self.resampled += usize::from(resampled != *size);
            resamplers.push(resampler);
        }
        // (Each image that is split by its columns is in both.)
        let of_valid = match split {
            Split::Columns(_) => &resamplers[..],
            Split::Images { .. } => &resamplers[train.len()..],
        };
        let trained = train.iter_mut().zip(&resamplers).zip(&mut self.described);
        for ((sample, resampler), described) in trained {
            let size = sample.image.size.clone();
            if resampler.size(&size) != size {
                *sample = sample.resampled(resampler)?;
                let from = shown_spacing(&resampler.from, &target.unit);
                *described += &format!(
                    " {}, and resampled from the spacing {from} to {target}:",
                    shown_size(&size)
                );
            }
        }
        for (sample, resampler) in valid.iter_mut().zip(of_valid) {
            if resampler.size(&sample.image.size) != sample.image.size {
                *sample = sample.resampled(resampler)?;
            }
        }
        Ok(())
    }
}

impl Sample {
    /// The sample in another spacing.
    fn resampled(&self, resampler: &Resampler) -> Result<Self> {
        let image = resampler.image(&self.image)?;
        let mask = resampler.mask(&self.mask)?;
        let columns = image.columns_count();
        let context = self.context as f64 * columns as f64 / self.columns() as f64;
        Ok(Self {
            // (One column is judged at least.)
            context: (context.round() as usize).min(columns - 1),
            image,
            mask,
            seed: self.seed,
        })
    }
}
