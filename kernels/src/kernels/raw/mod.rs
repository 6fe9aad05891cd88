//! The only module of the crate with `unsafe` code: loads and stores whose bounds are checked once for a
//! whole tile, and uninitialised memory that is written before it is read.
#![allow(unsafe_code)]

pub(super) mod simd;
pub(super) mod transforms;
pub(super) mod uninit_buffer;
