//! Dilated convolutions as convolutions without dilation: an output only reads rows and columns at one position modulo
//! the dilation.

use super::{
    ConvShape, Geometry, MIN_WINOGRAD_POSITIONS, SourceShape, VERY_FEW_POSITIONS, WeightUse,
};

/// The most that the laid out maps may be larger than the maps. A kernel without dilation saves up to 2.25 of the
/// products (measured: half of that).
const MAX_GROWTH: f64 = 2.0;

/// A map whose rows at each position modulo the dilation are maps of their own in the batch, and whose columns at each
/// position modulo the dilation lie side by side, with zeros between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseLayout {
    /// The number of phases of rows and columns.
    pub dilation: [usize; 2],
    /// Height and width of the map.
    pub full: [usize; 2],
    /// The distance from the columns of a phase to those of the next.
    pub pitch: usize,
}

impl PhaseLayout {
    /// Height and width of the map of a row phase.
    pub fn size(&self) -> [usize; 2] {
        let [rows, columns] = [0, 1].map(|axis| self.full[axis].div_ceil(self.dilation[axis]));
        let others = (self.dilation[1] - 1).saturating_mul(self.pitch);
        [rows, others.saturating_add(columns)]
    }

    /// The values of a channel of one sample.
    pub fn positions(&self) -> usize {
        let [rows, width] = self.size();
        self.dilation[0].saturating_mul(rows).saturating_mul(width)
    }
}

/// A convolution without dilation that computes a dilated one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undilated {
    /// Of the laid out maps.
    pub shape: ConvShape,
    /// That of the sources.
    pub input: PhaseLayout,
    /// That of the output.
    pub output: PhaseLayout,
}

impl ConvShape {
    /// The convolution without dilation by which this one is computed forward and backward, if that pays: by Winograd,
    /// over maps that are hardly larger, and not smaller than pays for it.
    pub fn undilated(&self, weight: WeightUse) -> Option<Undilated> {
        let geometry = &self.geometry;
        let Geometry {
            kernel,
            dilation,
            pad,
            size,
            ..
        } = *geometry;
        // (A plan may describe what nobody can run.)
        let is_within = |axis: usize| (1..=size[axis]).contains(&dilation[axis]);
        if dilation == [1, 1] || !(is_within(0) && is_within(1)) {
            return None;
        }
        let is_whole = |axis: usize| pad[axis].rem_euclid(dilation[axis] as isize) == 0;
        if geometry.stride != [1, 1]
            || !(is_whole(0) && is_whole(1))
            || self.sources.iter().any(SourceShape::is_enlarged)
        {
            return None;
        }
        let pad = [0, 1].map(|axis| pad[axis] / dilation[axis] as isize);
        let full = self.sources.first()?.size;
        let columns = |width: usize| (width.div_ceil(dilation[1])) as isize;
        // The zeros that the outputs of a phase read before its first column and after its last.
        let before = columns(full[1]).saturating_add(pad[1]);
        let after = columns(size[1]).saturating_add(kernel[1] as isize - 1);
        let after = after.saturating_sub(pad[1]);
        let pitch = before
            .max(after)
            .max(columns(size[1]))
            .max(columns(full[1]));
        let layout = |full| PhaseLayout {
            dilation,
            full,
            pitch: pitch as usize,
        };
        let (input, output) = (layout(full), layout(size));
        let laid_out = |source: &SourceShape| SourceShape {
            size: input.size(),
            ..*source
        };
        let shape = ConvShape {
            geometry: Geometry {
                dilation: [1, 1],
                pad,
                size: output.size(),
                ..geometry.clone()
            },
            batch: self.batch.saturating_mul(dilation[0]),
            sources: self.sources.iter().map(laid_out).collect(),
            outputs: self.outputs,
        };
        let of_a_phase = [0, 1].map(|axis| size[axis].div_ceil(dilation[axis]));
        let of_a_phase = of_a_phase[0].saturating_mul(of_a_phase[1]);
        let is_small = of_a_phase < MIN_WINOGRAD_POSITIONS
            || (of_a_phase < VERY_FEW_POSITIONS && self.has_few_products());
        let growth = output.positions() as f64 / geometry.plane_positions() as f64;
        let pays = growth <= MAX_GROWTH
            && !(is_small && self.has_outputs_in_lanes())
            && shape.is_winograd(weight)
            && shape.is_taken();
        pays.then_some(Undilated {
            shape,
            input,
            output,
        })
    }
}
