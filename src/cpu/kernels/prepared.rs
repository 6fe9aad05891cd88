//! What is made of a weight before it multiplies: its sums for maps that are read enlarged, its components.
//! A layer keeps it from one inference to the next.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::any::Any;
use core::fmt;
use std::sync::{Mutex, PoisonError};

use super::stage::Source;
use crate::cpu::policy::Geometry;

/// Which of them, and for which sources.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    Components,
    /// With the channels and the factors of each source.
    Sums {
        pad: [isize; 2],
        sources: Vec<(usize, [usize; 2])>,
    },
}

impl Form {
    /// The sums for each position of sources that are read enlarged.
    pub(super) fn sums(geometry: &Geometry, sources: &[Source]) -> Self {
        let sources = sources.iter().map(|source| (source.channels, source.up));
        Self::Sums {
            pad: geometry.pad,
            sources: sources.collect(),
        }
    }
}

/// The weights that are multiplied by, one for each phase.
pub(super) type Made = Arc<Vec<Vec<f32>>>;

/// Where the values of a weight lie, and how many. (A part of a weight may lie at the address of the whole.)
type Place = (usize, usize);

fn place_of(values: &[f32]) -> Place {
    (values.as_ptr() as usize, values.len())
}

struct Entry {
    /// Keeps the values of the weight where they are, and what they are.
    _holder: Box<dyn Any + Send>,
    place: Place,
    form: Form,
    made: Made,
}

/// The place where a layer keeps what was made of its weight. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Prepared(Arc<Mutex<Option<Entry>>>);

impl Prepared {
    /// Forgets it.
    pub(crate) fn clear(&self) {
        *self.lock() = None;
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_none()
    }

    /// Forgets what was made of another weight.
    pub(crate) fn clear_others(&self, weight: &[f32]) {
        let mut entry = self.lock();
        if entry
            .as_ref()
            .is_some_and(|entry| entry.place != place_of(weight))
        {
            *entry = None;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = |entry: &Entry| entry.made.iter().map(Vec::len).sum();
        let count: usize = self.lock().as_ref().map_or(0, values);
        write!(f, "Prepared({count} values)")
    }
}

/// Where to keep it, and how to hold the weight meanwhile: so that its memory is not used for another, and nobody
/// changes it.
#[derive(Clone, Copy)]
pub(crate) struct Keep<'a> {
    pub(crate) prepared: &'a Prepared,
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
        let place = place_of(self.values);
        if let Some(entry) = &*keep.prepared.lock()
            && entry.place == place
            && entry.form == form
        {
            return entry.made.clone();
        }
        // (Not under the lock: a thread that waits for others may take up another call of this layer.)
        let made = Arc::new(make());
        *keep.prepared.lock() = Some(Entry {
            _holder: (keep.hold)(),
            place,
            form,
            made: made.clone(),
        });
        made
    }
}
