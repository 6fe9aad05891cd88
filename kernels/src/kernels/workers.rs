//! The threads that compute beside the one that calls.
//!
//! To wake a sleeping thread takes as long as a small convolution. So the threads stay awake for a moment after a
//! convolution, for that of the next layer, and the thread that calls waits awake for the others.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::cell::Cell;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::{Mutex, PoisonError};
use std::thread::yield_now;
use std::time::Instant;

use rayon::{ThreadPool, ThreadPoolBuilder, Yield};

/// How long a thread stays awake after its last work.
const AWAKE: Duration = Duration::from_micros(500);

/// How long the caller waits awake for the others.
const PATIENCE: Duration = Duration::from_millis(5);

/// The pools, by their number of threads. There is one, unless the program calls from several pools of its own.
static POOLS: Mutex<BTreeMap<usize, Option<&'static ThreadPool>>> = Mutex::new(BTreeMap::new());

std::thread_local! {
    static STAYS_AWAKE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` on this thread and on `others` more. (On this one alone, where the system gives no threads.)
pub(super) fn run_on(others: usize, work: impl Fn() + Sync) {
    // As many threads as the pool of the caller has, with this one.
    let pool = match others {
        0 => None,
        _ => pool_of(rayon::current_num_threads() - 1),
    };
    let Some(pool) = pool else {
        return work();
    };
    let running = AtomicUsize::new(others);
    pool.in_place_scope(|scope| {
        for _ in 0..others {
            scope.spawn(|_| {
                work();
                stay_awake();
                running.fetch_sub(1, Ordering::Release);
            });
        }
        work();
        wait_for(&running);
    });
}

/// The pool with so many threads.
fn pool_of(threads: usize) -> Option<&'static ThreadPool> {
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    *pools.entry(threads).or_insert_with(|| {
        let builder = ThreadPoolBuilder::new().num_threads(threads);
        let builder = builder.thread_name(|index| alloc::format!("burn-skip-{index}"));
        // (Its threads end with the program, as those of the global pool.)
        builder.build().ok().map(|pool| &*Box::leak(Box::new(pool)))
    })
}

/// Keeps this thread of a pool awake for a while; it takes what work comes.
fn stay_awake() {
    if STAYS_AWAKE.get() {
        return;
    }
    rayon::spawn(|| {
        if STAYS_AWAKE.replace(true) {
            return;
        }
        let mut since = Instant::now();
        while since.elapsed() < AWAKE {
            if rayon::yield_now() == Some(Yield::Executed) {
                since = Instant::now();
            } else {
                // (In favour of any other thread that wants this processor.)
                yield_now();
            }
        }
        STAYS_AWAKE.set(false);
    });
}

/// Waits awake until none is running, but not for ever: the scope waits for the rest asleep.
fn wait_for(running: &AtomicUsize) {
    let since = Instant::now();
    while running.load(Ordering::Acquire) > 0 && since.elapsed() < PATIENCE {
        yield_now();
    }
    // The last one has yet to tell the scope.
    for _ in 0..100 {
        spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn with_threads(threads: usize, run: impl FnOnce() + Send) {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(run);
    }

    #[test]
    fn all_have_worked_when_it_returns() {
        with_threads(4, || {
            for round in 0..100 {
                let count = AtomicUsize::new(0);
                run_on(round % 4, || {
                    count.fetch_add(1, Ordering::Relaxed);
                });
                assert_eq!(count.into_inner(), round % 4 + 1);
            }
        });
    }

    #[test]
    fn threads_that_call_at_the_same_time_share_the_workers() {
        let count = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    with_threads(3, || {
                        run_on(2, || {
                            count.fetch_add(1, Ordering::Relaxed);
                        });
                    });
                });
            }
        });
        assert_eq!(count.into_inner(), 24);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_threads_usable() {
        with_threads(2, || {
            let found = catch_unwind(AssertUnwindSafe(|| run_on(1, || panic!("of the work"))));
            assert!(found.is_err());
            let count = AtomicUsize::new(0);
            run_on(1, || {
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(count.into_inner(), 2);
        });
    }
}
