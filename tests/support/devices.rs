//! The devices that the tests run on.

use std::panic;
use std::sync::OnceLock;

use burn::tensor::{Device, DeviceKind, Tensor};

/// All devices of this machine, with their names: flex, ndarray, and wgpu where there is an adapter.
///
/// With `BURN_SKIP_REQUIRE_WGPU` set, a missing adapter is a failure and not a shorter list.
pub fn devices() -> Vec<(&'static str, Device)> {
    let mut devices = vec![("flex", Device::flex()), ("ndarray", ndarray())];
    if has_wgpu() {
        devices.push(("wgpu", Device::wgpu(DeviceKind::DefaultDevice)));
    }
    devices
}

/// Deprecated upstream, and supported here because users ask for it.
#[allow(deprecated)]
pub fn ndarray() -> Device {
    Device::ndarray()
}

fn has_wgpu() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let found = panic::catch_unwind(|| {
            let device = Device::wgpu(DeviceKind::DefaultDevice);
            Tensor::<1>::ones([1], &device).into_data();
        });
        panic::set_hook(hook);
        let required = std::env::var_os("BURN_SKIP_REQUIRE_WGPU").is_some();
        assert!(
            found.is_ok() || !required,
            "wgpu is required and there is no adapter"
        );
        found.is_ok()
    })
}
