//! The network, the crop and the batch for data and a memory.

use burn_skip::PerAxis;
use burn_skip::net::{NetConfig, SegmentationConfig, TraceSupervised};

use super::fingerprint::Fingerprint;
use super::topology::Topology;
use crate::Result;
use crate::files::bytes;
use crate::segmentation::lengths::{self, shape};
use crate::train::loss_memory::LossMemory;
use crate::train::options::Options;
use crate::train::step_memory;

/// The longest side of a square image whose pixels are those of nnU-Net's first crop, and of a cubic volume.
const FIRST_SIDE: [usize; 2] = [2048, 256];

/// nnU-Net's least batch: that of the largest crop.
const LEAST_BATCH: usize = 2;

/// A batch has this part of all pixels at most, as in nnU-Net, unless it has fewer crops than these: of images and of
/// volumes.
const LARGEST_PART: f64 = 0.05;
const SMALL_BATCH: [usize; 2] = [8, 2];

/// More crops a step change little.
const LARGEST_BATCH: usize = 64;

/// What training takes, in numbers.
pub struct Proposal {
    pub topology: Topology,
    pub widths: Vec<usize>,
    pub crop: Vec<usize>,
    pub batch: usize,
    pub net: NetConfig,
    /// The memory of a step: maps, gradients, weights and what Adam keeps of them, the next crops, the threads.
    pub bytes: u64,
}

/// What is proposed for.
pub struct Asked {
    /// Bytes.
    pub memory: u64,
    pub channels: usize,
    pub classes: usize,
    /// The number in masks that the loss ignores.
    pub ignored: Option<i64>,
    /// What the loss of these classes holds.
    pub loss: LossMemory,
    /// The channels of the finest level.
    pub width: usize,
    /// No crop is longer: the least length of each axis that is trained on.
    pub longest: Vec<usize>,
}

impl Proposal {
    /// The largest crop and batch that fit.
    ///
    /// # Errors
    /// When nothing fits.
    pub fn new(found: &Fingerprint, asked: &Asked) -> Result<Self> {
        let (spacing, median) = (found.spacing(), found.median_size());
        let mut crop = first_crop(&spacing, &median, &asked.longest);
        loop {
            let sized = Self::of_crop(&spacing, &crop, LEAST_BATCH, asked)?;
            if sized.bytes <= asked.memory {
                return sized.with_largest_batch(found, asked);
            }
            crop = smaller(&sized, &spacing, &median).ok_or_else(|| {
                format!(
                    "--memory: {} are too few: {LEAST_BATCH} crops of {} need {}. Give more, or pass a smaller --width \
                     than {}.",
                    bytes::shown(asked.memory),
                    lengths::shown(&sized.crop),
                    bytes::shown(sized.bytes),
                    asked.width
                )
            })?;
        }
    }

    fn of_crop(spacing: &[f64], crop: &[usize], batch: usize, asked: &Asked) -> Result<Self> {
        // (A multiple of what the levels halve wastes nothing.)
        let multiples = Topology::new(spacing, crop).multiples();
        let lengths = crop.iter().zip(multiples);
        let crop: Vec<usize> = lengths.map(|(length, of)| length / of * of).collect();
        let topology = Topology::new(spacing, &crop);
        let widths = topology.widths(asked.width);
        let channels = [asked.channels, asked.classes];
        let each = |levels: &[Vec<usize>]| {
            let levels = levels.iter().map(|lengths| PerAxis::Each(lengths.clone()));
            levels.collect::<Vec<_>>()
        };
        let (kernels, strides) = (each(&topology.kernels), each(&topology.strides));
        let net = SegmentationConfig::monai_dynunet(channels, &kernels, &strides, &widths, false);
        let bytes = match crop.len() {
            3 => bytes::<5>(&net, batch, asked, &crop),
            _ => bytes::<4>(&net, batch, asked, &crop),
        }?;
        Ok(Self {
            topology,
            widths,
            crop,
            batch,
            net: NetConfig::Segmentation(net),
            bytes,
        })
    }

    fn with_largest_batch(self, found: &Fingerprint, asked: &Asked) -> Result<Self> {
        let pixels = self.crop.iter().product::<usize>() as f64;
        let part = (found.pixels() as f64 * LARGEST_PART / pixels) as usize;
        let small = SMALL_BATCH[usize::from(self.crop.len() == 3)];
        let most = part.clamp(small, LARGEST_BATCH);
        let spacing = found.spacing();
        let (mut fits, mut low, mut high) = (self, LEAST_BATCH, most);
        while low < high {
            let batch = (low + high).div_ceil(2);
            let larger = Self::of_crop(&spacing, &fits.crop, batch, asked)?;
            match larger.bytes <= asked.memory {
                true => (fits, low) = (larger, batch),
                false => high = batch - 1,
            }
        }
        Ok(fits)
    }
}

/// A crop as large in every direction, no larger than the images.
fn first_crop(spacing: &[f64], median: &[usize], longest: &[usize]) -> Vec<usize> {
    let axes = spacing.len();
    let side = FIRST_SIDE[usize::from(axes == 3)] as f64;
    let mean = spacing.iter().product::<f64>().powf(1.0 / axes as f64);
    let limits = median.iter().zip(longest);
    let lengths = spacing.iter().zip(limits);
    lengths
        .map(|(spacing, (&median, &longest))| {
            let length = (side * mean / spacing).round() as usize;
            length.clamp(1, median.min(longest).max(1))
        })
        .collect()
}

/// The crop that is shorter on the axis that has the most of its image, if one can be shorter.
fn smaller(sized: &Proposal, spacing: &[f64], median: &[usize]) -> Option<Vec<usize>> {
    let multiples = sized.topology.multiples();
    let can = (0..median.len()).filter(|&axis| sized.crop[axis] > multiples[axis]);
    let part = |axis: usize| sized.crop[axis] as f64 / median[axis] as f64;
    let axis = can.max_by(|&a, &b| part(a).total_cmp(&part(b)))?;
    let mut crop = sized.crop.clone();
    crop[axis] -= multiples[axis];
    // (Of the shorter one the multiple may be less, and so may be the step.)
    let step = Topology::new(spacing, &crop).multiples()[axis];
    crop[axis] = sized.crop[axis] - step;
    Some(crop)
}

fn bytes<const R: usize>(
    net: &SegmentationConfig,
    batch: usize,
    asked: &Asked,
    crop: &[usize],
) -> Result<u64> {
    let (channels, loss) = (asked.channels, asked.loss);
    let plan = net.plan_supervised(shape::<R>(batch, channels, crop));
    if let Some(error) = plan.error() {
        return Err(format!("crops of {}: {error}", lengths::shown(crop)).into());
    }
    // (As a training by default.)
    Ok(step_memory::planned(&plan, Options::default().step(loss)))
}
