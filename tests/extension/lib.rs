//! A user's crate: parts that burn-skip does not have, written with its public API alone, one file each.

mod decoder;
mod encoder;
mod gate;

pub use decoder::LadderDecoder;
pub use encoder::MobileEncoder;
pub use gate::EcaGate;
