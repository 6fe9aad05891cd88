//! The data of a training in one spacing.

use super::{Data, Sample};
use crate::Result;
use crate::files::limits::ImageLimits;
use crate::raster::{shown_size, shown_spacing};
use crate::segmentation::resample::Resample;
use crate::segmentation::resampling::Told;
use crate::segmentation::validation::Split;

impl Data {
    /// Resamples all samples, those that are trained on and the others, to the target, if there is one. `told` are the images that are trained on, then those that
    /// are only validated on.
    ///
    /// # Errors
    /// When a file does not tell its spacing, or an image would become too large.
    pub(super) fn resample(
        &mut self,
        split: &Split,
        told: &[Told],
        [train, valid]: [&mut Vec<Sample>; 2],
        limit: &ImageLimits,
    ) -> Result<()> {
        let Some(target) = &self.target_spacing else {
            return Ok(());
        };
        let axes = train[0].image.size.len();
        let is_of_axes = target.check(axes);
        is_of_axes.map_err(|e| format!("--spacing, {target}: {e}. Train anew."))?;
        for told in told {
            let size = target.resample(&told.grid, &told.file)?.size(&told.size);
            let channels = train[0].image.channels;
            limit.size.check_resampled(&told.file, &size, channels)?;
            self.resampled += usize::from(size != told.size);
        }
        // (Each image that is split by its columns is in both.)
        let of_valid = match split {
            Split::Columns(_) => told,
            Split::Images { .. } => &told[train.len()..],
        };
        let trained = train.iter_mut().zip(told).zip(&mut self.described);
        for ((sample, told), described) in trained {
            let by = target.resample(&told.grid, &told.file)?;
            let size = sample.image.size.clone();
            if by.size(&size) != size {
                *sample = sample.resampled(&by)?;
                let (size, from) = (shown_size(&size), shown_spacing(&by.from, &target.unit));
                *described +=
                    &format!(" {size}, and resampled from the spacing {from} to {target}:");
            }
        }
        for (sample, told) in valid.iter_mut().zip(of_valid) {
            let by = target.resample(&told.grid, &told.file)?;
            if by.size(&sample.image.size) != sample.image.size {
                *sample = sample.resampled(&by)?;
            }
        }
        Ok(())
    }
}

impl Sample {
    /// The sample in another spacing.
    fn resampled(&self, by: &Resample) -> Result<Self> {
        let (image, mask) = (by.image(&self.image)?, by.mask(&self.mask)?);
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
