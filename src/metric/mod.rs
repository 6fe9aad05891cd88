//! Metrics of segmentation: numbers from predicted and true labels, with or without a trainer.
//!
//! | to measure | use |
//! | --- | --- |
//! | how many positions are right: IoU, Dice, precision, recall, ... | [`OverlapCounts`], [`Overlap`], [`Reduction`] |
//! | how far surfaces are apart: Hausdorff distance, surface Dice, ... | [`SurfaceDistances`], [`Surface`] |
//! | how well objects are found: panoptic quality | [`PanopticCounts`], [`Segments`] |
//! | the objects of a mask | [`LabelMap::connected_components`] |
//! | the distance to the background | [`LabelMap::distance_transform`] |
//! | the overlap while Burn's trainer runs | `OverlapMetric` (feature `train`) |
//!
//! Labels are integers of the shape `[batch, spatial...]`, on any device: a `Tensor<3, Int>` for images, a
//! `Tensor<2, Int>` for signals, a `Tensor<4, Int>` for volumes. They are read to memory and counted there, in
//! integers; all scores are `f64`. [`LabelMap`] is one image of them.
//!
//! # Example
//! ```
//! use burn::tensor::{Device, Int, Tensor};
//! use burn_skip::metric::{OverlapCounts, Reduction, SurfaceDistances};
//!
//! let device = Device::flex();
//! let predicted = Tensor::<3, Int>::from_ints([[[0, 1, 1, 0], [0, 1, 1, 0]]], &device);
//! let labels = Tensor::<3, Int>::from_ints([[[0, 0, 1, 1], [0, 0, 1, 255]]], &device);
//!
//! let mut counts = OverlapCounts::new(2).ignoring(255);
//! counts.add(&predicted, &labels);
//! // Class 0: 2 of 5 positions of either. Class 1: 2 of 5.
//! assert_eq!(counts.iou(Reduction::Macro), 0.4);
//!
//! // The surfaces of class 1, in millimetres.
//! let distances = SurfaceDistances::of_batch(&predicted, &labels, 1, &[0.5]);
//! assert_eq!(distances[0].hausdorff(), 0.5);
//! ```

mod components;
mod counts;
#[cfg(feature = "std")]
mod distance;
mod label_map;
mod mode;
mod overlap;
mod overlap_counts;
mod panoptic;
mod panoptic_quality;
mod reduction;
mod segments;
#[cfg(feature = "std")]
mod surface;
#[cfg(feature = "std")]
mod surface_score;
#[cfg(feature = "train")]
mod train;

pub use components::{Components, Connectivity};
pub use counts::Counts;
pub use label_map::LabelMap;
pub use mode::Mode;
pub use overlap::Overlap;
pub use overlap_counts::OverlapCounts;
pub use panoptic::PanopticCounts;
pub use panoptic_quality::{PanopticQuality, SegmentCounts};
pub use reduction::{Reduction, ZeroDivision, mean_of_defined};
pub use segments::Segments;
#[cfg(feature = "std")]
pub use surface::SurfaceDistances;
#[cfg(feature = "std")]
pub use surface_score::Surface;
#[cfg(feature = "train")]
pub use train::{OverlapInput, OverlapMetric};
