//! `--device NAME`: one of Burn's backends, chosen at run time.
//!
//! The program always has flex. Each other backend comes with the Cargo feature of its name
//! (`cargo install --path cli --features ndarray,wgpu`).

use std::panic::{self, UnwindSafe};
use std::sync::{Arc, Mutex};

#[cfg(any(
    feature = "wgpu",
    feature = "vulkan",
    feature = "metal",
    feature = "webgpu"
))]
use burn::tensor::DeviceKind;
use burn::tensor::{Device, Tensor};
use clap::ValueEnum;

/// A backend, by the name that `--device` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceName {
    /// The CPU, in pure Rust: Burn's maintained CPU backend
    Flex,
    /// The CPU, through the ndarray crate (deprecated by Burn)
    Ndarray,
    /// Any GPU, through the best graphics API found
    Wgpu,
    /// An NVIDIA GPU
    Cuda,
    /// An AMD GPU
    Rocm,
    /// A GPU through Vulkan only
    Vulkan,
    /// A GPU through Metal only
    Metal,
    /// A GPU through WebGPU only
    Webgpu,
    /// The CPU, with kernels compiled at run time
    Cpu,
}

impl DeviceName {
    /// Opens the device, and runs one small operation on it to check that it works.
    ///
    /// # Errors
    /// When the machine lacks the hardware or its driver.
    pub fn open(self) -> Result<Device, String> {
        self.open_nth(0)
    }

    /// Opens the device of that number, counted from 0. (The CPU is one device, by any number.)
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_nth(self, number: usize) -> Result<Device, String> {
        let select = self.selector().ok_or_else(|| self.not_built())?;
        quietly(|| probe(select(number))).map_err(|reason| self.unusable(&reason))
    }

    /// How to select the device of a number, if this build has the backend.
    fn selector(self) -> Option<fn(usize) -> Device> {
        #[allow(unreachable_patterns)] // The last arm is for what the features left out.
        match self {
            Self::Flex => Some(|_| Device::flex()),
            // Deprecated by Burn, and kept here for those who run it.
            #[cfg(feature = "ndarray")]
            #[allow(deprecated)]
            Self::Ndarray => Some(|_| Device::ndarray()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Some(|n| Device::wgpu(gpu(n))),
            #[cfg(feature = "cuda")]
            Self::Cuda => Some(|n| Device::cuda(n)),
            #[cfg(feature = "rocm")]
            Self::Rocm => Some(|n| Device::rocm(n)),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => Some(|n| Device::vulkan(gpu(n))),
            #[cfg(feature = "metal")]
            Self::Metal => Some(|n| Device::metal(gpu(n))),
            #[cfg(feature = "webgpu")]
            Self::Webgpu => Some(|n| Device::webgpu(gpu(n))),
            #[cfg(feature = "cpu")]
            Self::Cpu => Some(|_| Device::cpu()),
            _ => None,
        }
    }

    /// As `--device` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
            Self::Rocm => "rocm",
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
            Self::Webgpu => "webgpu",
            Self::Cpu => "cpu",
        }
    }

    /// Whether its tensors lie in the memory that this program allocates.
    pub fn is_host(self) -> bool {
        matches!(self, Self::Flex | Self::Ndarray)
    }

    fn not_built(self) -> String {
        let built = Self::value_variants().iter();
        let built = built.filter(|device| device.selector().is_some());
        let built: Vec<_> = built.map(|device| device.name()).collect();
        format!(
            "this build has no {0}. Build it with --features {0}; it has: {1}",
            self.name(),
            built.join(", ")
        )
    }

    fn unusable(self, reason: &str) -> String {
        // The first line is the reason; the others are internals of a backend.
        let reason = reason.lines().next().unwrap_or_default().trim();
        format!(
            "the device {} cannot be used on this machine: {reason}. \
             Check its driver, or use --device flex, which needs none.",
            self.name()
        )
    }
}

/// The best GPU, or one of the others.
#[cfg(any(
    feature = "wgpu",
    feature = "vulkan",
    feature = "metal",
    feature = "webgpu"
))]
fn gpu(number: usize) -> DeviceKind {
    match number {
        0 => DeviceKind::DefaultDevice,
        number => DeviceKind::DiscreteGpu(number),
    }
}

/// Makes flex the device of everything that Burn computes without being told where.
///
/// Burn 0.22 reads the checkpoint of an optimizer into its default device before it moves it to
/// the right one. In a build with wgpu the default is a GPU, and a machine without one would panic
/// though the training runs on flex.
///
/// # Safety
/// Changes an environment variable: call it before there is a second thread.
pub unsafe fn default_to_flex() {
    unsafe { std::env::set_var("BURN_DEVICE", "flex") };
}

/// Adds two numbers on the device.
fn probe(device: Device) -> Result<Device, String> {
    let sum = Tensor::<1>::from_floats([1.0, 2.0], &device).sum();
    match sum.try_into_scalar::<f32>() {
        Ok(3.0) => Ok(device),
        Ok(other) => Err(format!("it computes 1 + 2 = {other}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Runs what may panic, and returns the panic's message instead of printing it.
///
/// Backends panic when they find no hardware, often on a thread of their own; the panic that then
/// reaches this thread only reports that the other thread is gone. So the first message counts.
fn quietly<T>(run: impl FnOnce() -> Result<T, String> + UnwindSafe) -> Result<T, String> {
    let first = Arc::new(Mutex::new(None));
    let heard = first.clone();
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if let Ok(mut first) = heard.lock() {
            first.get_or_insert(panic.payload_as_str().unwrap_or("it panicked").to_string());
        }
    }));
    let outcome = panic::catch_unwind(run);
    panic::set_hook(hook);
    outcome.unwrap_or_else(|_| {
        let message = first.lock().ok().and_then(|mut first| first.take());
        Err(message.unwrap_or_default())
    })
}
