//! Holds a test of the crate above, built without its kernels: Burn's own features enable the backends,
//! and every convolution is composed of Burn's operations.
