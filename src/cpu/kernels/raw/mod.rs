//! The only module of the crate with `unsafe` code: loads and stores whose bounds were checked once for a
//! whole tile, and memory that is written before it is read.
#![allow(unsafe_code)]

pub(super) mod blank;
pub(super) mod simd;
pub(super) mod transforms;
