//! Weights in the form in which the kernels multiply by them: sums of taps for enlarged maps, Winograd's components.
//! A layer caches them between inferences.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::any::Any;
use core::fmt;
use std::sync::{Mutex, PoisonError};

use crate::policy::{Algorithm, ConvShape, SourceShape, WeightUse};

/// The packed weights, one for each phase.
pub(super) type PackedWeights = Arc<Vec<Vec<f32>>>;

/// What packed weights were computed for: the algorithm, and everything that it reads of the convolution's shape.
/// (The same memory may later be used as a weight of another shape.)
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PackedFor {
    algorithm: Algorithm,
    /// The taps of the depth, and of rows and columns.
    depth: usize,
    kernel: [usize; 2],
    pad: [isize; 2],
    outputs: usize,
    sources: Vec<PackedSource>,
}

#[derive(Clone, Debug, PartialEq)]
struct PackedSource {
    channels: usize,
    factors: [usize; 2],
}

impl PackedFor {
    pub(super) fn new(shape: &ConvShape, algorithm: Algorithm) -> Self {
        let source = |source: &SourceShape| PackedSource {
            channels: source.channels,
            factors: source.factors,
        };
        Self {
            algorithm,
            depth: shape.geometry.depth.kernel,
            kernel: shape.geometry.kernel,
            pad: shape.geometry.pad,
            outputs: shape.outputs,
            sources: shape.sources.iter().map(source).collect(),
        }
    }
}

/// Address and length of a weight. (A slice of a weight may start at the address of the whole.)
#[derive(Clone, Copy, PartialEq)]
struct Address {
    start: usize,
    len: usize,
}

impl Address {
    fn of(values: &[f32]) -> Self {
        Self {
            start: values.as_ptr().addr(),
            len: values.len(),
        }
    }
}

struct Entry {
    /// Keeps the weight alive and unchanged, so that its address identifies it.
    _holder: Box<dyn Any + Send>,
    address: Address,
    packed_for: PackedFor,
    packed: PackedWeights,
}

/// A layer's cache of packed weights. Clones share it.
#[derive(Clone, Default)]
pub struct WeightCache(Arc<Mutex<Option<Entry>>>);

impl WeightCache {
    /// Empties the cache.
    pub fn clear(&self) {
        *self.lock() = None;
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.lock().is_none()
    }

    /// The number of cached values.
    fn len(&self) -> usize {
        let numbers = |entry: &Entry| entry.packed.iter().map(Vec::len).sum();
        self.lock().as_ref().map_or(0, numbers)
    }

    /// The number of cached bytes.
    #[cfg(test)]
    pub fn bytes(&self) -> u64 {
        (self.len() * size_of::<f32>()) as u64
    }

    /// Empties the cache if it belongs to another weight.
    pub fn clear_others(&self, weight: &[f32]) {
        let mut entry = self.lock();
        if entry
            .as_ref()
            .is_some_and(|entry| entry.address != Address::of(weight))
        {
            *entry = None;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for WeightCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WeightCache({} values)", self.len())
    }
}

/// A cache, and a function that returns an owner of the weight's memory. While the cache holds that owner, the memory
/// is neither reused nor changed.
#[derive(Clone, Copy)]
pub struct CacheSlot<'a> {
    /// Where what is derived from the weight is kept.
    pub cache: &'a WeightCache,
    /// Returns an owner of the memory of the weight.
    pub hold: &'a dyn Fn() -> Box<dyn Any + Send>,
}

/// A weight, `[outputs, inputs / groups, kernel...]`.
#[derive(Clone, Copy)]
pub struct Weight<'a> {
    /// The values, in this order.
    pub values: &'a [f32],
    /// The output channels.
    pub outputs: usize,
    /// The cache for what is derived from it; `None` for a weight that is used once.
    pub cache: Option<CacheSlot<'a>>,
}

impl<'a> Weight<'a> {
    /// A weight that is used once.
    pub fn new(values: &'a [f32], outputs: usize) -> Self {
        Self {
            values,
            outputs,
            cache: None,
        }
    }

    pub(super) fn weight_use(&self) -> WeightUse {
        match self.cache {
            Some(_) => WeightUse::Kept,
            None => WeightUse::Once,
        }
    }

    /// The packed weights, from the cache or computed now.
    pub(super) fn packed(
        &self,
        packed_for: PackedFor,
        pack: impl FnOnce() -> Vec<Vec<f32>>,
    ) -> PackedWeights {
        let Some(slot) = self.cache else {
            return Arc::new(pack());
        };
        let address = Address::of(self.values);
        if let Some(entry) = &*slot.cache.lock()
            && entry.address == address
            && entry.packed_for == packed_for
        {
            return entry.packed.clone();
        }
        // (Without holding the lock: while it waits for other threads, this one may start another call of this layer.)
        let packed = Arc::new(pack());
        *slot.cache.lock() = Some(Entry {
            _holder: (slot.hold)(),
            address,
            packed_for,
            packed: packed.clone(),
        });
        packed
    }
}
