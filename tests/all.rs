//! The tests with the usual harness, as one program: a program for each would compile most of the library anew.

#[path = "support/devices.rs"]
mod devices;
#[path = "support/every_pair.rs"]
mod every_pair;
#[path = "support/formula.rs"]
#[allow(dead_code)] // whole networks are read by tests/networks.rs
mod formula;
#[path = "support/golden.rs"]
#[allow(dead_code)] // the cases of single layers are read by tests/parity.rs
mod golden;

mod augment;
mod contract;
mod fuzz;
mod keras;
mod losses;
mod metrics;
mod onnx;
mod pairs;
mod plans;
mod properties;
mod short_files;
mod tiles;
mod training;
mod weights;
