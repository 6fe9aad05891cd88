//! Segmentation: the network with its loss and metrics, its data, and its use on images of any size.

mod average;
pub mod batch;
pub mod class_names;
mod clip;
pub mod data;
pub mod ensemble;
pub mod inputs;
pub mod judge;
pub mod lengths;
pub mod loss;
pub mod metrics;
pub mod model;
pub mod pairs;
pub mod percentile;
pub mod prediction;
pub mod spacing;
pub mod tiled_inference;
pub mod trained;
pub mod validation;
