//! Reading and writing files, with errors that a user can act upon.

pub mod atomic;
pub mod bytes;
pub mod distinct;
pub mod ending;
pub mod json;
pub mod limits;
pub mod size_limit;
