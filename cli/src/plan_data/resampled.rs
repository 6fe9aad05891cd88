//! The data as a training resamples them.

use super::fingerprint::{Facts, Fingerprint};
use crate::segmentation::resample::Resample;
use crate::segmentation::target_spacing::TargetSpacing;

impl Fingerprint {
    /// The spacing that volumes are resampled to, if their files tell their spacing. (Images keep theirs: the resolution of
    /// a photograph is one for printing.)
    pub fn target_spacing(&self) -> Option<TargetSpacing> {
        let spacings: Option<Vec<_>> = self
            .images
            .iter()
            .map(|image| image.spacing.clone())
            .collect();
        let first = self.images.first().filter(|first| first.size.len() == 3)?;
        let sizes: Vec<_> = self.images.iter().map(|image| image.size.clone()).collect();
        Some(TargetSpacing::of(&spacings?, &sizes, &first.unit))
    }

    /// The same with the sizes and the spacing after that.
    pub fn resampled(&self, target: Option<&TargetSpacing>) -> Self {
        let mut all = self.clone();
        for Facts { size, spacing, .. } in &mut all.images {
            if let (Some(target), Some(from)) = (target, spacing.as_mut()) {
                let to = target.per_axis.clone();
                let from = std::mem::replace(from, to.clone());
                *size = Resample { from, to }.size(size);
            }
        }
        all
    }

    /// The same without the last quarter of the columns.
    pub fn without_validation_columns(&self) -> Self {
        let mut all = self.clone();
        for columns in all
            .images
            .iter_mut()
            .filter_map(|image| image.size.last_mut())
        {
            *columns -= *columns / 4;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::fingerprint::tests::found;

    #[test]
    fn sizes_are_those_at_the_median_spacing() {
        let found = found(
            &[[10, 40, 40], [20, 40, 40], [30, 40, 40]],
            &[3.0, 2.0, 1.0],
            &[0, 1],
        );
        let target = found.target_spacing().unwrap();
        assert_eq!(
            (target.per_axis.as_slice(), target.unit.as_str()),
            (&[2.0, 1.0, 1.0][..], "mm")
        );
        let resampled = found.resampled(Some(&target));
        let depths: Vec<_> = resampled.images.iter().map(|image| image.size[0]).collect();
        assert_eq!(depths, [15, 20, 15]);
        assert_eq!(resampled.spacing(), target.per_axis);
        assert_eq!(found.resampled(None).smallest(), [10, 40, 40]);
        assert_eq!(found.without_validation_columns().smallest(), [10, 40, 30]);
        let mut silent = found;
        silent.images[1].spacing = None;
        assert_eq!(silent.target_spacing(), None);
    }
}
