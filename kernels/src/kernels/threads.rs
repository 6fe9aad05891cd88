//! Runs tasks on the threads of the current pool.

use alloc::vec::Vec;
use core::cell::RefCell;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use pulp::{Arch, Simd, WithSimd};

use super::workers;

/// Buffers of a thread that are reused from task to task.
pub(super) type Scratch = [Vec<f32>; 3];

std::thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new([Vec::new(), Vec::new(), Vec::new()]) };
}

/// Work that is divided into tasks. A task must not wait for threads of `rayon`'s: one of these may wait for the task.
pub(super) trait Work<T>: Sync {
    /// Runs one task with the instruction set `S`. It must be inlined, with everything that it calls: a function that is
    /// not inlined would not be compiled for these instructions.
    fn run<S: Simd>(&self, simd: S, task: T, scratch: &mut Scratch);
}

struct Job<'a, W, T>(&'a W, T, Scratch);

impl<W: Work<T>, T> WithSimd for Job<'_, W, T> {
    type Output = Scratch;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Scratch {
        let Self(work, task, mut scratch) = self;
        work.run(simd, task, &mut scratch);
        scratch
    }
}

/// Runs all tasks, on this thread and as many others as its pool has, with the best instruction set of the processor.
pub(super) fn run<T: Send>(work: &impl Work<T>, tasks: Vec<T>) {
    let arch = instructions();
    let others = tasks.len().min(count()).max(1) - 1;
    let tasks = Mutex::new(tasks.into_iter());
    let next = || tasks.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run_one = |task| {
        // A task that is started while another waits finds the buffers taken, and allocates its own.
        let scratch = SCRATCH.take();
        SCRATCH.set(arch.dispatch(Job(work, task, scratch)));
    };
    let run_rest = || core::iter::from_fn(next).for_each(run_one);
    workers::run_on(others, run_rest);
}

/// Bits of the widest vectors that are used.
static VECTOR_BITS: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Limits the vectors of the CPU kernels to `bits` bits: 512 for AVX-512, 256 for AVX2, 128 for NEON, 0 for one value at a
/// time. Without a limit they are as wide as the processor's.
///
/// A program that is timed for machines without AVX-512 calls it first. (Sums are taken in another order then, so that
/// last digits differ.)
/// ```
/// burn_skip_kernels::kernels::limit_vectors(256);
/// ```
pub fn limit_vectors(bits: usize) {
    VECTOR_BITS.store(bits, Ordering::Relaxed);
}

/// The best instruction set of the processor with vectors of at most so many bits.
pub(super) fn instructions_of(bits: usize) -> Arch {
    #[cfg(target_arch = "x86_64")]
    if bits < 512 {
        let avx2 = pulp::x86::V3::try_new().filter(|_| bits >= 256);
        return avx2.map_or(Arch::Scalar, Arch::V3);
    }
    if bits < 128 {
        Arch::Scalar
    } else {
        Arch::new()
    }
}

/// The best instruction set that is allowed.
pub(super) fn allowed() -> Arch {
    instructions_of(VECTOR_BITS.load(Ordering::Relaxed))
}

#[cfg(not(test))]
pub(super) use allowed as instructions;

#[cfg(test)]
pub(super) use chosen::{instructions, with};

/// The threads of the current pool.
pub(super) fn count() -> usize {
    rayon::current_num_threads()
}

/// A number of parts that keeps all threads busy to the end.
pub(super) fn parts() -> usize {
    match count() {
        1 => 1,
        threads => 3 * threads,
    }
}

/// At most `most` shares, so that every thread gets the same number.
pub(super) fn even(most: usize) -> usize {
    let threads = count();
    if most < threads {
        most
    } else {
        most / threads * threads
    }
}

/// The smallest number of pieces, at least `least`, into which each of `tasks` tasks must be split to keep all threads
/// busy. (Each piece packs the inputs of its task again.)
pub(super) fn pieces(tasks: usize, least: usize) -> usize {
    let busy = |&pieces: &usize| {
        let tasks = tasks * pieces;
        tasks >= parts() || tasks.is_multiple_of(count())
    };
    (least..=least + parts()).find(busy).unwrap_or(least)
}

/// `len` values of `scratch` that start at a cache line: vectors that cross cache lines cost a tenth of the time of a
/// convolution.
pub(super) fn grow(scratch: &mut Vec<f32>, len: usize) -> &mut [f32] {
    const LINE: usize = 64;
    if scratch.len() < len + LINE / size_of::<f32>() {
        scratch.resize(len + LINE / size_of::<f32>(), 0.0);
    }
    let start = scratch.as_ptr().addr().wrapping_neg() % LINE / size_of::<f32>();
    &mut scratch[start..start + len]
}

/// Tests choose the instruction set, so that all are tested.
#[cfg(test)]
mod chosen {
    use super::*;
    use core::cell::Cell;

    std::thread_local! {
        static CHOSEN: Cell<Option<Arch>> = const { Cell::new(None) };
    }

    pub(in super::super) fn instructions() -> Arch {
        CHOSEN.get().unwrap_or_else(allowed)
    }

    /// Runs `f` with the work of this thread done by the instruction set `arch`.
    pub(in super::super) fn with(arch: Arch, f: impl FnOnce()) {
        CHOSEN.set(Some(arch));
        f();
        CHOSEN.set(None);
    }
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn narrow_vectors_are_of_avx2() {
        assert!(matches!(instructions_of(0), Arch::Scalar));
        assert!(matches!(instructions_of(128), Arch::Scalar));
        assert!(!matches!(instructions_of(256), Arch::V4(_)));
        let is_avx2 = matches!(instructions_of(511), Arch::V3(_));
        assert_eq!(is_avx2, pulp::x86::V3::try_new().is_some());
    }
}
