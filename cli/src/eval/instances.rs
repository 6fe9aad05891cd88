//! The objects of predictions, compared with those of masks: as they are split, and as connected regions.

use std::path::Path;

use burn_skip::metric::{Connectivity, LabelMap, PanopticQuality};
use serde_json::{Map, Value};

use crate::Result;
use crate::files::limits::ImageLimits;
use crate::instances::scores::InstanceCounts;
use crate::instances::{InstanceOptions, Split};
use crate::raster::{Raster, Spacing};
use crate::segmentation::data::{Sample, Task};
use crate::segmentation::pairs::Pair;

/// One way to find objects, and how well it finds them.
#[derive(Clone)]
struct Row {
    name: &'static str,
    /// The name in JSON.
    key: &'static str,
    options: InstanceOptions,
    counts: InstanceCounts,
}

/// The ways that are compared.
#[derive(Clone)]
pub struct InstanceTable {
    rows: Vec<Row>,
    /// The label in masks whose pixels belong to no object, true or found.
    ignored: Option<i64>,
}

impl InstanceTable {
    /// With nothing counted yet: the split of the options, if it is one, and beside it the connected regions.
    pub fn new(options: InstanceOptions, ignored: Option<i64>) -> Self {
        let row = |name, key, options| Row {
            name,
            key,
            options,
            counts: InstanceCounts::default(),
        };
        let split = match options.split {
            Split::None => None,
            Split::Distance { .. } => Some(row("split by distance", "split", options)),
            Split::Inside => Some(row("split by inside", "split", options)),
        };
        let regions = row("connected regions", "regions", options.unsplit());
        Self {
            rows: split.into_iter().chain([regions]).collect(),
            ignored,
        }
    }

    /// Adds the objects of an image, of which the columns that the sample judges count, and returns the table of the
    /// image alone. The probabilities are those of the sample; the objects those of the whole image.
    ///
    /// # Errors
    /// When the objects do not suit the image, or there are too many.
    pub fn add(
        &mut self,
        sample: &Sample,
        probabilities: &Raster,
        spacing: Option<&Spacing>,
        objects: &Raster,
    ) -> Result<Self> {
        // (The sample is the whole image, or its last columns.)
        let columns = objects.columns_count();
        let judged = sample.image.columns_count() - sample.context;
        let truth = objects.columns(columns - judged, columns)?;
        let mut alone = self.clone();
        for (row, all) in alone.rows.iter_mut().zip(&mut self.rows) {
            let mut found = row.options.find(probabilities, spacing)?;
            sample.clear_ignored(&mut found.labels, self.ignored);
            let found = sample.judged(&found.labels)?;
            row.counts = InstanceCounts::between(&found, &truth);
            all.counts.merge(&row.counts);
        }
        Ok(alone)
    }

    /// The table in lines, the first of which has the names of the columns.
    pub fn lines(&self) -> Vec<String> {
        let head = format!(
            "  {:<20}{:>9}{:>7}{:>9}{:>14}{:>7}",
            "instances", "found", "true", "AP 0.5", "AP 0.5-0.95", "PQ"
        );
        let line = |row: &Row| {
            let counts = &row.counts;
            let PanopticQuality { pq, .. } = counts.quality();
            format!(
                "  {:<20}{:>9}{:>7}{:>9.3}{:>14.3}{pq:>7.3}",
                row.name,
                counts.predicted,
                counts.truth,
                counts.average_precision(0.5),
                counts.mean_average_precision(),
            )
        };
        [head]
            .into_iter()
            .chain(self.rows.iter().map(line))
            .collect()
    }

    /// The table for programs.
    pub fn json(&self) -> Value {
        let rows = self.rows.iter();
        let rows = rows.map(|row| (row.key.to_string(), row.counts.json()));
        Value::Object(rows.collect::<Map<_, _>>())
    }
}

/// Reads the numbers of the objects of a whole image; 0 where the mask has the label that does not count.
///
/// # Errors
/// When they cannot be read, are of another size, or do not tell the objects apart.
pub fn objects(pair: &Pair, task: &Task, sample: &Sample, limit: &ImageLimits) -> Result<Raster> {
    let image = &sample.image;
    let (mut objects, file) = pair.objects(task.classes, limit)?;
    if objects.size != image.size {
        return Err(format!(
            "{} is {}, and its image {}",
            file.display(),
            objects.shown_size(),
            image.shown_size()
        )
        .into());
    }
    sample.clear_ignored(&mut objects, task.ignored);
    check_numbered(&objects, &file)?;
    Ok(objects)
}

/// Refuses a mask whose objects all have one number: it says what is foreground, and not which objects there are.
fn check_numbered(objects: &Raster, file: &Path) -> Result<()> {
    let mut numbers = objects.values.iter().filter(|&&number| number != 0.0);
    let Some(&first) = numbers.next() else {
        return Ok(());
    };
    if numbers.any(|&number| number != first) {
        return Ok(());
    }
    let labels = objects.values.iter().map(|&number| number as i64).collect();
    let map = LabelMap::new(objects.size.clone(), labels)?;
    match map.connected_components(Connectivity::Faces).count {
        0..=2 => Ok(()),
        regions => Err(format!(
            "--instances: {} has {regions} separate regions, and all have the number {first}. Give each object a number of \
             its own, for example with scipy.ndimage.label.",
            file.display()
        )
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_that_does_not_number_its_objects_is_refused() {
        let check = |values: [f32; 6]| {
            let objects = Raster {
                channels: 1,
                size: vec![1, 6],
                values: values.to_vec().into(),
            };
            check_numbered(&objects, Path::new("m.png")).map_err(|e| e.to_string())
        };
        assert_eq!(check([0.0; 6]), Ok(()));
        assert_eq!(check([255.0, 0.0, 255.0, 0.0, 0.0, 0.0]), Ok(()));
        assert_eq!(check([1.0, 0.0, 1.0, 0.0, 2.0, 0.0]), Ok(()));
        assert_eq!(
            check([255.0, 0.0, 255.0, 0.0, 255.0, 255.0]).unwrap_err(),
            "--instances: m.png has 3 separate regions, and all have the number 255. Give each object a number of its own, \
             for example with scipy.ndimage.label."
        );
    }
}
