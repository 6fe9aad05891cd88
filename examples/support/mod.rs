//! What the examples share: `--device NAME`, images, and one line an epoch.
#![allow(dead_code)] // Each example uses a part.

pub mod images;
pub mod progress;

use std::process::ExitCode;

use burn::tensor::Device;

/// Runs an example: `--help` prints its usage, an option that it does not know is an error, and an error is printed in
/// one line. Every example knows `--device NAME`.
pub fn main(
    usage: &str,
    options: &[&str],
    run: impl FnOnce() -> Result<(), Box<dyn std::error::Error>>,
) -> ExitCode {
    const DEVICE: &str =
        "  --device NAME  flex, or ndarray, wgpu, ... of the enabled features [default: flex]";
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .iter()
        .any(|argument| argument == "--help" || argument == "-h")
    {
        println!("{usage}\n{DEVICE}");
        return ExitCode::SUCCESS;
    }
    // (Each option has a value.)
    let is_known = |name: &String| name == "--device" || options.contains(&&name[..]);
    if let Some(unknown) = arguments.iter().step_by(2).find(|name| !is_known(name)) {
        eprintln!("error: there is no option {unknown}\n\n{usage}\n{DEVICE}");
        return ExitCode::from(2);
    }
    if let [.., last] = &arguments[..]
        && arguments.len() % 2 == 1
    {
        eprintln!("error: {last} has no value\n\n{usage}\n{DEVICE}");
        return ExitCode::from(2);
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The value after an option on the command line, such as `--device wgpu`.
pub fn option(name: &str) -> Option<String> {
    std::env::args()
        .skip_while(|argument| argument != name)
        .nth(1)
}

/// The number after an option, or another if it is not there.
///
/// # Errors
/// When it is no whole number, or zero.
pub fn number(name: &str, default: usize) -> Result<usize, String> {
    match option(name).map(|text| (text.parse(), text)) {
        None => Ok(default),
        Some((Ok(number), _)) if number > 0 => Ok(number),
        Some((_, text)) => Err(format!("{name} takes a whole number from 1 on, not {text}")),
    }
}

/// Every device that a feature of the same name adds.
const DEVICES: [&str; 6] = ["ndarray", "wgpu", "vulkan", "metal", "cuda", "rocm"];

/// The device of `--device NAME`; flex, if there is none.
///
/// # Errors
/// When this build has no such device: each of the others comes with the Cargo feature of its name.
#[allow(deprecated)] // ndarray is deprecated by Burn, and works.
pub fn device() -> Result<Device, String> {
    let name = option("--device").unwrap_or_else(|| "flex".into());
    match name.as_str() {
        "flex" => Ok(Device::flex()),
        #[cfg(feature = "ndarray")]
        "ndarray" => Ok(Device::ndarray()),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(Default::default())),
        #[cfg(feature = "vulkan")]
        "vulkan" => Ok(Device::vulkan(Default::default())),
        #[cfg(feature = "metal")]
        "metal" => Ok(Device::metal(Default::default())),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(0)),
        #[cfg(feature = "rocm")]
        "rocm" => Ok(Device::rocm(0)),
        known if DEVICES.contains(&known) => Err(format!(
            "this build has no {name}: add --features {name} to the cargo command"
        )),
        _ => Err(format!(
            "there is no device {name}: choose flex, ndarray, wgpu, vulkan, metal, cuda or rocm"
        )),
    }
}
