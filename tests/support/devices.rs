//! The devices that the tests run on: flex, and those of the features `ndarray` and `wgpu`.

use burn::tensor::Device;

/// All devices of this build and this machine, with their names.
///
/// With `BURN_SKIP_REQUIRE_WGPU` set, a build with wgpu fails where there is no adapter, instead of leaving it
/// out.
pub fn devices() -> Vec<(&'static str, Device)> {
    let flex = [("flex", Device::flex())].into_iter();
    flex.chain(ndarray()).chain(wgpu()).collect()
}

/// A device to move a module to: the last of them, which is flex again in a build with nothing else.
#[allow(dead_code)] // Not every test moves something.
pub fn another() -> Device {
    devices()
        .pop()
        .map_or_else(Device::flex, |(_, device)| device)
}

/// Deprecated upstream, and supported here because users ask for it.
#[cfg(feature = "ndarray")]
#[allow(deprecated)]
fn ndarray() -> Option<(&'static str, Device)> {
    Some(("ndarray", Device::ndarray()))
}

#[cfg(not(feature = "ndarray"))]
fn ndarray() -> Option<(&'static str, Device)> {
    None
}

#[cfg(feature = "wgpu")]
fn wgpu() -> Option<(&'static str, Device)> {
    use std::panic;
    use std::sync::OnceLock;

    use burn::tensor::{DeviceKind, Tensor};

    let device = || Device::wgpu(DeviceKind::DefaultDevice);
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = *FOUND.get_or_init(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let found = panic::catch_unwind(|| Tensor::<1>::ones([1], &device()).into_data());
        panic::set_hook(hook);
        let required = std::env::var_os("BURN_SKIP_REQUIRE_WGPU").is_some();
        assert!(
            found.is_ok() || !required,
            "wgpu is required and there is no adapter"
        );
        found.is_ok()
    });
    found.then(|| ("wgpu", device()))
}

#[cfg(not(feature = "wgpu"))]
fn wgpu() -> Option<(&'static str, Device)> {
    None
}
