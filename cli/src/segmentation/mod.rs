//! Segmentation: the network with its loss and metrics, its data, and its use on images of any size.

pub mod batch;
pub mod data;
pub mod ensemble;
pub mod lengths;
pub mod loss;
pub mod metrics;
pub mod model;
pub mod pairs;
pub mod tiled_inference;
pub mod trained;
pub mod validation;
