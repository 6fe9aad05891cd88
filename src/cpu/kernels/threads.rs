//! Tasks, spread over the threads of the pool that is in use.

use alloc::vec::Vec;
use core::cell::RefCell;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Memory of a thread that stays from a task to the next.
pub(super) type Scratch = [Vec<f32>; 3];

std::thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new([Vec::new(), Vec::new(), Vec::new()]) };
}

/// Work that is cut into tasks.
pub(super) trait Work<T>: Sync {
    /// Does one task, with the instructions of `S`. It is inlined, with all that it calls: a function
    /// of its own would not be compiled for these instructions.
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

/// Does all tasks, on all threads, with the instructions that the processor has.
pub(super) fn run<T: Send>(work: &impl Work<T>, tasks: Vec<T>) {
    let arch = instructions();
    let each = |task| {
        // A task that waits inside finds the memory taken, and makes its own.
        let scratch = SCRATCH.take();
        SCRATCH.set(arch.dispatch(Job(work, task, scratch)));
    };
    if tasks.len() == 1 {
        tasks.into_iter().for_each(each);
    } else {
        tasks.into_par_iter().for_each(each);
    }
}

/// The best instructions that the processor has.
#[cfg(not(test))]
pub(super) fn instructions() -> Arch {
    Arch::new()
}

#[cfg(test)]
pub(super) use chosen::{instructions, with};

/// As many parts as keep all threads at work to the end.
pub(super) fn parts() -> usize {
    match rayon::current_num_threads() {
        1 => 1,
        threads => 3 * threads,
    }
}

/// As many shares as `most`, or some less, so that every thread has the same number of them.
pub(super) fn even(most: usize) -> usize {
    let threads = rayon::current_num_threads();
    if most < threads {
        most
    } else {
        most / threads * threads
    }
}

/// The least number of pieces, from `least` on, that each of some tasks is to be cut into to keep all threads at
/// work. (Every piece lays out the inputs of its task anew.)
pub(super) fn pieces(tasks: usize, least: usize) -> usize {
    let busy = |&pieces: &usize| {
        let tasks = tasks * pieces;
        tasks >= parts() || tasks.is_multiple_of(rayon::current_num_threads())
    };
    (least..=least + parts()).find(busy).unwrap_or(least)
}

/// `len` values of `scratch` that begin where a line of the caches does: vectors that lie across two lines
/// cost a tenth of the time of a convolution.
pub(super) fn grow(scratch: &mut Vec<f32>, len: usize) -> &mut [f32] {
    const LINE: usize = 64;
    if scratch.len() < len + LINE / size_of::<f32>() {
        scratch.resize(len + LINE / size_of::<f32>(), 0.0);
    }
    let start = scratch.as_ptr().addr().wrapping_neg() % LINE / size_of::<f32>();
    &mut scratch[start..start + len]
}

/// Tests choose the instructions, so that all of them are tested.
#[cfg(test)]
mod chosen {
    use super::*;
    use core::cell::Cell;

    std::thread_local! {
        static CHOSEN: Cell<Option<Arch>> = const { Cell::new(None) };
    }

    pub(in super::super) fn instructions() -> Arch {
        CHOSEN.get().unwrap_or_default()
    }

    /// Runs `f` with the work of this thread done by the instructions of `arch`.
    pub(in super::super) fn with(arch: Arch, f: impl FnOnce()) {
        CHOSEN.set(Some(arch));
        f();
        CHOSEN.set(None);
    }
}
