//! The only module of the crate with `unsafe` code: loads and stores whose bounds are checked once for a whole tile,
//! uninitialised memory that is written before it is read, and work that other threads join while it is on the stack of
//! one.
#![allow(unsafe_code)]

pub(super) mod lane_products;
pub(super) mod lane_sums;
pub(super) mod matrices;
pub(super) mod offer;
pub(super) mod piece;
pub(super) mod pieces;
pub(super) mod simd;
pub(super) mod transforms;
pub(super) mod transpose;
pub(super) mod uninit_buffer;
