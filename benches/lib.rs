//! What the benches share.

use burn::tensor::Device;

/// The CPU backends; ndarray is deprecated upstream, and measured for those who run it.
#[allow(deprecated)]
pub fn devices() -> [(&'static str, Device); 2] {
    [("flex", Device::flex()), ("ndarray", Device::ndarray())]
}
