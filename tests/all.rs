//! The tests with the usual harness, as one program: a program for each would compile most of the library anew.

mod contract;
mod fuzz;
mod keras;
mod losses;
mod metrics;
mod pairs;
mod plans;
mod properties;
mod short_files;
mod tiles;
mod training;
mod weights;
