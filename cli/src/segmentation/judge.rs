//! The validation of a network on an image of any size: by tiles, and a part of the image at a time.

use burn::tensor::{Device, ExecutionError, Tensor};
use burn::train::ItemLazy;
use burn::train::metric::{Adaptor, LossInput};
use burn_skip::Layer;
use burn_skip::loss::{Loss, LossConfig};
use burn_skip::metric::OverlapCounts;
use burn_skip::net::AnySegmentationModel;

use crate::segmentation::batch::{labels, tensor};
use crate::segmentation::data::Sample;
use crate::segmentation::metrics::counts;
use crate::segmentation::tiled_inference::Tiles;

/// So many pixels are judged together, and no less than a row: a loss takes several times the memory of its logits.
const PIXELS_AT_ONCE: usize = 1 << 24;

/// What the metrics read of a validation.
pub struct Judgement {
    /// The loss of the image; of one with more pixels than are judged together, the mean of the losses of its parts.
    loss: Tensor<1>,
    counts: OverlapCounts,
}

/// Judges an image as its rows come.
pub struct Judge<'a, const R: usize> {
    loss: &'a LossConfig,
    sample: &'a Sample,
    device: &'a Device,
    rows_at_once: usize,
    /// The logits that wait, the rows of them, and the rows before them.
    logits: Vec<Tensor<R>>,
    waiting: usize,
    done: usize,
    /// The losses of the parts, each by its share of the rows.
    losses: Vec<Tensor<1>>,
    counts: OverlapCounts,
}

impl<'a, const R: usize> Judge<'a, R> {
    /// The judgement of a network on an image.
    pub fn judge(
        net: &AnySegmentationModel<R>,
        loss: &'a LossConfig,
        sample: &'a Sample,
        device: &'a Device,
    ) -> Judgement {
        let plane: usize = sample.image.size[1..].iter().product();
        let rows_at_once = (PIXELS_AT_ONCE / plane.max(1)).max(1);
        Self::by(rows_at_once, net, loss, sample, device)
    }

    fn by(
        rows_at_once: usize,
        net: &AnySegmentationModel<R>,
        loss: &'a LossConfig,
        sample: &'a Sample,
        device: &'a Device,
    ) -> Judgement {
        let size = &sample.image.size;
        let mut judge = Self {
            loss,
            sample,
            device,
            rows_at_once,
            logits: Vec::new(),
            waiting: 0,
            done: 0,
            losses: Vec::new(),
            // (A training has checked that it is one label.)
            counts: counts(
                net.config().out_channels,
                loss.ignore_label().unwrap_or(None),
            ),
        };
        let tiles = Tiles::default().config(R - 2);
        let read = |rows| tensor(sample.image.rows(rows), device);
        match tiles.count(size) {
            Ok(1) => judge.add(net.forward(read(0..size[0]))),
            // (And so it is predicted later, too.)
            _ => tiles.predict_rows(
                size,
                read,
                |tile| net.forward(tile),
                |_, rows| judge.add(rows.to_device(device)),
            ),
        }
        judge.finish()
    }

    /// Takes the next rows.
    fn add(&mut self, mut logits: Tensor<R>) {
        loop {
            let rows = logits.dims()[2];
            let taken = rows.min(self.rows_at_once - self.waiting);
            self.logits.push(logits.clone().narrow(2, 0, taken));
            self.waiting += taken;
            if self.waiting == self.rows_at_once {
                self.score();
            }
            if taken == rows {
                break;
            }
            logits = logits.narrow(2, taken, rows - taken);
        }
    }

    /// Judges what waits. What is left of the judged columns is context.
    fn score(&mut self) {
        let left = self.sample.context;
        let logits = Tensor::cat(std::mem::take(&mut self.logits), 2);
        let rows = self.done..self.done + self.waiting;
        let truth = labels::<R>(&self.sample.mask.rows(rows), self.device);
        let columns = logits.dims()[R - 1] - left;
        let logits = logits.narrow(R - 1, left, columns);
        let truth = truth.narrow(R - 1, left, columns);
        self.counts.add_scores(&logits, &truth);
        let share = self.waiting as f64 / self.sample.image.size[0] as f64;
        self.losses.push(self.loss.forward(logits, truth) * share);
        self.done += self.waiting;
        self.waiting = 0;
    }

    fn finish(mut self) -> Judgement {
        if self.waiting > 0 {
            self.score();
        }
        Judgement {
            loss: Tensor::cat(self.losses, 0).sum(),
            counts: self.counts,
        }
    }
}

impl ItemLazy for Judgement {
    fn sync(self) -> Result<Self, ExecutionError> {
        self.loss.device().flush()?;
        Ok(self)
    }
}

impl Adaptor<LossInput> for Judgement {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.loss.clone())
    }
}

impl Adaptor<OverlapCounts> for Judgement {
    fn adapt(&self) -> OverlapCounts {
        self.counts.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_skip::loss::BinaryCrossEntropyLoss;
    use burn_skip::net::NetConfig;

    use crate::raster::Raster;
    use crate::segmentation::metrics::Scores;

    #[test]
    fn parts_are_judged_as_the_whole() {
        let net: NetConfig = serde_json::from_str(include_str!("../../net.json")).unwrap();
        let device = Device::flex();
        let net: AnySegmentationModel<4> = net.segmentation().unwrap().init(&device);
        let raster = |value: fn(usize) -> f32| Raster {
            channels: 1,
            size: vec![40, 32],
            values: (0..40 * 32).map(value).collect::<Vec<_>>().into(),
        };
        let sample = Sample {
            image: raster(|n| (n * 31 % 97) as f32 / 97.0),
            mask: raster(|n| (n / 5 % 2) as f32),
            context: 6,
            seed: 0,
        };
        // (The mean over the pixels: for it the parts say the same as the whole.)
        let loss = LossConfig::BinaryCrossEntropy(BinaryCrossEntropyLoss::new());
        let judged = |rows| {
            let judged = Judge::by(rows, &net, &loss, &sample, &device);
            let loss = judged.loss.try_into_scalar::<f64>().unwrap();
            let counts = judged.counts.total()[0];
            let pixels = counts.true_positives + counts.false_positives;
            let pixels = pixels + counts.false_negatives + counts.true_negatives;
            (loss, Scores::of(&judged.counts).iou, pixels)
        };
        let (loss, iou, pixels) = judged(40);
        assert_eq!(pixels, 40 * 26);
        for rows in [1, 7, 39, 1000] {
            let part = judged(rows);
            assert_eq!((part.1, part.2), (iou, pixels), "{rows} rows");
            assert!(
                (part.0 - loss).abs() < 1e-5,
                "{rows} rows: {} {loss}",
                part.0
            );
        }
    }
}
