//! Buffers of maps that are used again.
//!
//! An allocator gives large buffers back to the system, and the system clears their pages before it gives them out
//! again. The maps of a network have the same sizes in every step, so the kernels keep the memory of a map that nobody
//! else holds for the next map of its size.

use alloc::vec::Vec;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Values of a buffer that is worth keeping: allocators keep smaller ones themselves.
const MIN: usize = 16 * 1024;

/// What is kept at most, unless the program sets another limit.
const DEFAULT_LIMIT: usize = 64 << 20;

/// What is kept while buffers of other sizes are allocated: the maps of a small network.
const SPARE: usize = 16 << 20;

static KEPT: Mutex<Buffers> = Mutex::new(Buffers::new(DEFAULT_LIMIT, SPARE));

/// Limits the memory that the CPU kernels keep for the maps of later calls to `bytes` (64 MiB to begin with), and frees
/// what they keep beyond that. With 0 they keep nothing.
///
/// ```
/// burn_skip_kernels::buffers::keep_at_most(256 << 20);
/// ```
pub fn keep_at_most(bytes: usize) {
    let dropped = kept().set_limit(bytes);
    drop(dropped);
}

/// How much larger the buffer of a map may be that is needed for a short time. (It may be an output that a program keeps.)
const MAX_GROWTH: usize = 4;

/// How long a map is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// It may be saved for the backward pass: its buffer is hardly larger than the map.
    Long,
    /// The next layers read it, as in inference: its buffer may be much larger than the map, which is better than to clear
    /// new memory.
    Short,
}

impl Lifetime {
    /// The most room of a buffer for a map of `len` values.
    fn most_room(self, len: usize) -> usize {
        match self {
            Self::Long => len + len / 8,
            Self::Short => len.saturating_mul(MAX_GROWTH),
        }
    }
}

/// An empty buffer with room for `len` values.
pub fn take(len: usize, lifetime: Lifetime) -> Vec<f32> {
    let capacity = capacity_for(len);
    if is_large(len) {
        let mut kept = kept();
        if let Some(buffer) = kept.take(len, lifetime) {
            return buffer;
        }
        // What is kept must not add much to what is in use: beyond a part, as much is freed as is allocated.
        let dropped = kept.shrink_by(capacity * size_of::<f32>());
        drop((kept, dropped));
    }
    Vec::with_capacity(capacity)
}

/// Whether a map of so many values has a buffer that is worth keeping.
pub fn is_large(len: usize) -> bool {
    len >= MIN
}

/// Keeps a buffer whose values are not needed any more, if it is one of these. (Those that Burn allocates for its own
/// operations would only pile up.)
pub fn give(buffer: Vec<f32>) {
    if is_large(buffer.capacity()) && is_ours(&buffer) {
        // (What is freed is freed after the lock.)
        let dropped = kept().give(buffer);
        drop(dropped);
    }
}

/// Values that the room of a large buffer is a multiple of, but for one value more: the mark by which it is known.
const UNIT: usize = 256;

fn capacity_for(len: usize) -> usize {
    match is_large(len) {
        true => len.next_multiple_of(UNIT) + 1,
        false => len,
    }
}

fn is_ours(buffer: &Vec<f32>) -> bool {
    buffer.capacity() % UNIT == 1
}

fn kept() -> MutexGuard<'static, Buffers> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Buffers, the one that was given first in front.
struct Buffers {
    buffers: Vec<Vec<f32>>,
    bytes: usize,
    limit: usize,
    spare: usize,
}

fn bytes_of(buffer: &Vec<f32>) -> usize {
    buffer.capacity() * size_of::<f32>()
}

impl Buffers {
    const fn new(limit: usize, spare: usize) -> Self {
        Self {
            buffers: Vec::new(),
            bytes: 0,
            limit,
            spare,
        }
    }

    /// The smallest buffer with room for `len` values; of those that are hardly larger, the one that was given last, which
    /// is the nearest in the caches.
    fn take(&mut self, len: usize, lifetime: Lifetime) -> Option<Vec<f32>> {
        let close = Lifetime::Long.most_room(len);
        let room = |index: &usize| self.buffers[*index].capacity();
        let fits = (0..self.buffers.len()).rev();
        let fits = fits.filter(|index| (len..=lifetime.most_room(len)).contains(&room(index)));
        let index = fits.min_by_key(|index| room(index).max(close))?;
        let buffer = self.buffers.remove(index);
        self.bytes -= bytes_of(&buffer);
        Some(buffer)
    }

    /// Keeps a buffer, and returns those that are too many.
    fn give(&mut self, mut buffer: Vec<f32>) -> Vec<Vec<f32>> {
        buffer.clear();
        self.bytes += bytes_of(&buffer);
        self.buffers.push(buffer);
        self.shrink_to(self.limit)
    }

    fn set_limit(&mut self, bytes: usize) -> Vec<Vec<f32>> {
        self.limit = bytes;
        self.shrink_to(bytes)
    }

    fn shrink_by(&mut self, bytes: usize) -> Vec<Vec<f32>> {
        self.shrink_to(self.bytes.saturating_sub(bytes).max(self.spare))
    }

    /// Takes out the oldest buffers, until no more than `bytes` are left.
    fn shrink_to(&mut self, bytes: usize) -> Vec<Vec<f32>> {
        let mut count = 0;
        while self.bytes > bytes {
            self.bytes -= bytes_of(&self.buffers[count]);
            count += 1;
        }
        self.buffers.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(len: usize) -> Vec<f32> {
        let mut buffer = Vec::with_capacity(len);
        buffer.push(1.0);
        buffer
    }

    #[test]
    fn a_buffer_is_taken_for_a_length_that_it_nearly_has() {
        let mut kept = Buffers::new(1000, 0);
        assert!(kept.give(buffer(90)).is_empty());
        assert!(kept.take(91, Lifetime::Short).is_none());
        assert!(kept.take(79, Lifetime::Long).is_none());
        let found = kept.take(80, Lifetime::Long).unwrap();
        assert_eq!((found.len(), found.capacity()), (0, 90));
        assert!(kept.take(80, Lifetime::Long).is_none());
    }

    #[test]
    fn a_map_for_a_short_time_takes_the_smallest_buffer_that_is_large_enough() {
        let mut kept = Buffers::new(10_000, 0);
        for len in [300, 90, 200, 80] {
            assert!(kept.give(buffer(len)).is_empty());
        }
        let mut take = |len| {
            kept.take(len, Lifetime::Short)
                .map(|found| found.capacity())
        };
        // (Both are close; the last one is nearer.)
        assert_eq!(take(80), Some(80));
        assert_eq!(take(100), Some(200));
        assert_eq!(take(100), Some(300));
        assert_eq!(take(22), None);
        assert_eq!(take(23), Some(90));
    }

    #[test]
    fn only_buffers_of_this_module_are_known() {
        let take = |len| take(len, Lifetime::Long);
        assert!(is_ours(&take(MIN)) && is_ours(&take(MIN + 300)));
        assert!(!is_ours(&Vec::with_capacity(MIN)));
        assert_eq!(take(10).capacity(), 10);
    }

    #[test]
    fn the_last_one_is_taken_first_and_the_oldest_are_freed() {
        let mut kept = Buffers::new(4 * 250, 0);
        let buffers = [100, 101, 102].map(buffer);
        let addresses = buffers.each_ref().map(|buffer| buffer.as_ptr());
        let [a, b, c] = buffers;
        assert!(kept.give(a).is_empty() && kept.give(b).is_empty());
        let freed = kept.give(c);
        assert_eq!(freed.len(), 1);
        assert_eq!(freed[0].as_ptr(), addresses[0]);
        let last = kept.take(100, Lifetime::Long).unwrap();
        assert_eq!(last.as_ptr(), addresses[2]);
        let bytes = kept.bytes;
        kept.spare = bytes;
        assert!(kept.shrink_by(1).is_empty());
        kept.spare = bytes - 1;
        assert_eq!(kept.shrink_by(1).len(), 1);
        assert_eq!(kept.bytes, 0);
    }
}
