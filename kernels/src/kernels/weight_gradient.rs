//! The gradient of the weight: for each tap, the product of the output's gradient and what the tap has read.

use alloc::{vec, vec::Vec};

use super::channelwise_gradient::ChannelwiseGradient;
use super::dilated::{as_sources, lay_out, lay_out_all};
use super::direct_gradient::DirectGradient;
use super::enlarged::{Enlarged, as_stored};
use super::reach::TakenTaps;
use super::source::{Source, channels_of, output_shape, shape_of, through};
use super::tiling::whole_shares;
use super::weight_rows::{WeightSize, share};
use super::winograd_gradient::WinogradGradient;
use crate::policy::{Algorithm, Geometry, Undilated, WeightUse};

/// The gradient of the weight, `[outputs, inputs / groups, kernel...]`, from the gradient of the output.
pub fn weight_gradient(
    sources: &[Source],
    gradient: Source,
    batch: usize,
    geometry: &Geometry,
) -> Vec<f32> {
    let outputs = gradient.channels;
    let shape = shape_of(sources, outputs, batch, geometry);
    if let Some(reached) = shape.reached() {
        let found = weight_gradient(sources, gradient, batch, &reached.shape.geometry);
        return TakenTaps::new(geometry, &reached).put_back(&found);
    }
    if let Some(flat) = shape.flattened() {
        let size = flat.geometry.size;
        let sources = sources.iter().map(|source| source.with_size(size));
        let sources: Vec<_> = sources.collect();
        return plain_weight_gradient(&sources, gradient.with_size(size), batch, &flat.geometry);
    }
    if let Some(undilated) = shape.undilated(WeightUse::Once) {
        let Undilated {
            shape,
            input,
            output,
        } = undilated;
        let maps = lay_out_all(sources, batch, input);
        let laid_out = lay_out(&gradient, batch, output);
        let gradient = Source::new(&laid_out, output_shape(&shape.geometry, outputs));
        let sources = as_sources(&maps, &shape.sources);
        return plain_weight_gradient(&sources, gradient, shape.batch, &shape.geometry);
    }
    if !shape.has_weight_gradient_by_tap_sums() {
        return plain_weight_gradient(sources, gradient, batch, geometry);
    }
    let taps = geometry.taps();
    let mut weight = WeightColumns {
        values: vec![0.0; outputs * channels_of(sources) * taps],
        row: channels_of(sources) * taps,
    };
    let is_plain = |source: &&Source| !source.is_enlarged();
    let plain: Vec<Source> = sources.iter().filter(is_plain).copied().collect();
    let found = plain_weight_gradient(&plain, gradient, batch, geometry);
    let plain_row = channels_of(&plain) * taps;
    let (mut first, mut first_plain) = (0, 0);
    for source in sources {
        let len = source.channels * taps;
        if source.is_enlarged() {
            let enlarged = Enlarged::new(geometry, source.shape());
            let larger = enlarged.larger_geometry();
            // (By the larger kernel, the output's gradient is the input and the source the gradient.)
            let found = plain_weight_gradient(&[gradient], as_stored(source), batch, &larger);
            let found = enlarged.smaller_weight(&found, outputs);
            weight.write(first, len, found.chunks_exact(len));
        } else {
            let rows = found.chunks_exact(plain_row);
            weight.write(first, len, rows.map(|row| &row[first_plain..][..len]));
            first_plain += len;
        }
        first += len;
    }
    weight.values
}

/// A weight that is written in column ranges.
struct WeightColumns {
    values: Vec<f32>,
    /// The values of a row.
    row: usize,
}

impl WeightColumns {
    fn write<'a>(&mut self, first: usize, len: usize, rows: impl Iterator<Item = &'a [f32]>) {
        for (into, from) in self.values.chunks_exact_mut(self.row).zip(rows) {
            into[first..first + len].copy_from_slice(from);
        }
    }
}

/// The gradient of the weight, `[outputs, inputs / groups, kernel...]`, for sources that are read without sums of taps.
fn plain_weight_gradient(
    sources: &[Source],
    gradient: Source,
    samples: usize,
    geometry: &Geometry,
) -> Vec<f32> {
    let outputs = gradient.channels;
    let shape = shape_of(sources, outputs, samples, geometry);
    // One map of the batch for each slice of the output.
    let sources = &through(sources, geometry.depth)[..];
    let batch = samples * geometry.depth.size;
    let channels = channels_of(sources) / geometry.groups;
    if channels == 0 {
        return Vec::new();
    }
    let weight = WeightSize {
        outputs,
        row: channels * geometry.plane_taps(),
    };
    let is_line = shape.is_line();
    // (Only ungrouped convolutions have several sources.)
    if let (true, [source]) = (
        geometry.has_small_groups([shape.inputs(), outputs]),
        sources,
    ) {
        let work = ChannelwiseGradient::new(*source, gradient, batch, geometry, is_line);
        let whole = |wanted| work.rows_of_a_task(wanted);
        return share(&work, weight, work.blocks(), outputs, whole);
    }
    let groups = geometry.groups;
    let whole = |wanted| whole_shares(wanted, outputs / groups, groups);
    if shape.weight_gradient_algorithm() == Algorithm::Winograd {
        let work = WinogradGradient::new(sources, gradient, batch, geometry);
        return share(&work, weight, work.blocks(), work.rows_of_a_task(), whole);
    }
    let work = DirectGradient::new(sources, gradient, batch, geometry, is_line);
    share(&work, weight, work.blocks(), outputs, whole)
}
