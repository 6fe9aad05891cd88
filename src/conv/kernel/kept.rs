//! What is made of a weight before it multiplies: its sums for maps that are read enlarged, its components.
//! A layer keeps it from one inference to the next.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::any::Any;
use core::fmt;
use std::sync::{Mutex, PoisonError};

use super::plan::Geometry;
use super::stage::Source;

/// Which of them, and for which sources.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Form {
    pub(super) by_components: bool,
    geometry: ([usize; 2], [isize; 2]),
    sources: Vec<(usize, [usize; 2])>,
}

impl Form {
    pub(super) fn new(by_components: bool, geometry: &Geometry, sources: &[Source]) -> Self {
        let sources = sources.iter().map(|source| (source.channels, source.up));
        Self {
            by_components,
            geometry: (geometry.kernel, geometry.pad),
            sources: sources.collect(),
        }
    }
}

/// The weights that are multiplied by, one for each phase.
pub(super) type Made = Arc<Vec<Vec<f32>>>;

struct Entry {
    /// Keeps the values of the weight where they are, and what they are.
    _holder: Box<dyn Any + Send>,
    address: usize,
    form: Form,
    made: Made,
}

/// The place where a layer keeps what was made of its weight. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Option<Entry>>>);

impl Kept {
    /// Forgets it.
    pub(crate) fn clear(&self) {
        *self.lock() = None;
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_none()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = |entry: &Entry| entry.made.iter().map(Vec::len).sum();
        let count: usize = self.lock().as_ref().map_or(0, values);
        write!(f, "Kept({count} values)")
    }
}

/// A place, and how a weight is held there. While it is held, nothing else is at its address, and nobody
/// changes it.
#[derive(Clone, Copy)]
pub(crate) struct Keep<'a> {
    pub(crate) kept: &'a Kept,
    pub(crate) hold: &'a dyn Fn() -> Box<dyn Any + Send>,
}

/// A weight, `[outputs, inputs / groups, kernel...]`.
#[derive(Clone, Copy)]
pub(crate) struct Weight<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) outputs: usize,
    /// Where to keep what is made of it, if it may be used again.
    pub(crate) keep: Option<Keep<'a>>,
}

impl<'a> Weight<'a> {
    /// One that is used once.
    pub(crate) fn new(values: &'a [f32], outputs: usize) -> Self {
        Self {
            values,
            outputs,
            keep: None,
        }
    }

    /// What is made of it, now or before.
    pub(super) fn made(&self, form: Form, make: impl FnOnce() -> Vec<Vec<f32>>) -> Made {
        let Some(keep) = self.keep else {
            return Arc::new(make());
        };
        let address = self.values.as_ptr() as usize;
        if let Some(entry) = &*keep.kept.lock()
            && entry.address == address
            && entry.form == form
        {
            return entry.made.clone();
        }
        // (Not under the lock: a thread that waits for others may take up another call of this layer.)
        let made = Arc::new(make());
        *keep.kept.lock() = Some(Entry {
            _holder: (keep.hold)(),
            address,
            form,
            made: made.clone(),
        });
        made
    }
}
