//! The threads that compute beside the one that calls.
//!
//! To wake a sleeping thread takes as long as a small convolution. So the threads stay awake for a moment after a
//! convolution, for that of the next layer.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, yield_now};
use std::time::Instant;

use super::raw::offer::Offer;

/// How long a thread stays awake after its last work.
const AWAKE: Duration = Duration::from_micros(500);

/// The threads that may offer work at the same time; one more computes alone.
const OFFERS: usize = 8;

/// The pools, by their number of threads. There is one, unless the program calls from several pools of its own.
static POOLS: Mutex<BTreeMap<usize, &'static Pool>> = Mutex::new(BTreeMap::new());

/// Runs `work` on this thread, and on `others` more or fewer: on those that come before it is done.
pub(super) fn run_on(others: usize, work: impl Fn() + Sync) {
    if others > 0 {
        // As many threads as the pool of the caller has, with this one.
        let pool = pool_of(rayon::current_num_threads() - 1);
        let done = |offer: &Offer| offer.work_with_others(&work, || pool.wake(others));
        if pool.offers.iter().any(done) {
            return;
        }
    }
    work();
}

/// Threads that join in what is offered.
struct Pool {
    offers: [Offer; OFFERS],
    /// How many of them sleep.
    asleep: AtomicUsize,
    lock: Mutex<()>,
    bell: Condvar,
}

/// The pool with so many threads, or as many as the system gives.
fn pool_of(threads: usize) -> &'static Pool {
    let mut pools = lock(&POOLS);
    pools.entry(threads).or_insert_with(|| {
        // (Its threads end with the program, as those of rayon's global pool.)
        let pool: &'static Pool = Box::leak(Box::new(Pool {
            offers: [const { Offer::new() }; OFFERS],
            asleep: AtomicUsize::new(0),
            lock: Mutex::new(()),
            bell: Condvar::new(),
        }));
        for index in 0..threads {
            let builder = Builder::new().name(alloc::format!("burn-skip-{index}"));
            if builder.spawn(|| pool.work()).is_err() {
                break;
            }
        }
        pool
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// What each of its threads does.
    fn work(&self) {
        let mut tickets = [0; OFFERS];
        let mut since = Instant::now();
        loop {
            let mut offers = self.offers.iter().zip(&mut tickets);
            if offers.any(|(offer, ticket)| offer.join(ticket)) {
                since = Instant::now();
            } else if since.elapsed() < AWAKE {
                // (In favour of any other thread that wants this processor.)
                yield_now();
            } else {
                self.sleep(&tickets);
                since = Instant::now();
            }
        }
    }

    fn sleep(&self, tickets: &[usize; OFFERS]) {
        let guard = lock(&self.lock);
        self.asleep.fetch_add(1, Ordering::SeqCst);
        // (An offer that was made before it was known that this thread sleeps rings no bell.)
        let mut offers = self.offers.iter().zip(tickets);
        if !offers.any(|(offer, &ticket)| offer.is_open(ticket)) {
            drop(self.bell.wait(guard));
        }
        self.asleep.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes as many threads as are wanted, if so many sleep.
    fn wake(&self, wanted: usize) {
        if self.asleep.load(Ordering::SeqCst) > 0 {
            let guard = lock(&self.lock);
            (0..wanted).for_each(|_| self.bell.notify_one());
            drop(guard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::ThreadPoolBuilder;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread::sleep;

    fn with_threads(threads: usize, run: impl FnOnce() + Send) {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(run);
    }

    /// Does `tasks` tasks on several threads, each once.
    fn do_tasks(others: usize, tasks: usize) {
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        run_on(others, || {
            while next.fetch_add(1, Ordering::Relaxed) < tasks {
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert_eq!(done.into_inner(), tasks);
    }

    #[test]
    fn all_tasks_are_done_when_it_returns() {
        with_threads(4, || {
            for round in 0..1000 {
                do_tasks(round % 4, round % 50);
            }
        });
    }

    #[test]
    fn threads_that_call_at_the_same_time_share_the_workers() {
        std::thread::scope(|scope| {
            for _ in 0..2 * OFFERS {
                scope.spawn(|| with_threads(3, || (0..100).for_each(|_| do_tasks(2, 20))));
            }
        });
    }

    #[test]
    fn others_join_awake_or_asleep() {
        with_threads(2, || {
            for pause in [Duration::ZERO, 4 * AWAKE] {
                sleep(pause);
                let here = AtomicUsize::new(0);
                // Each waits for the other.
                run_on(1, || {
                    here.fetch_add(1, Ordering::Relaxed);
                    while here.load(Ordering::Relaxed) < 2 {
                        yield_now();
                    }
                });
            }
        });
    }

    #[test]
    fn work_may_offer_work() {
        with_threads(3, || {
            run_on(2, || do_tasks(2, 30));
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_threads_usable() {
        with_threads(2, || {
            for thread in 0..2 {
                let here = AtomicUsize::new(0);
                let found = catch_unwind(AssertUnwindSafe(|| {
                    run_on(1, || {
                        let index = here.fetch_add(1, Ordering::Relaxed);
                        while here.load(Ordering::Relaxed) < 2 {
                            yield_now();
                        }
                        assert_ne!(index, thread, "of the work");
                    });
                }));
                assert!(found.is_err());
                do_tasks(1, 10);
            }
        });
    }
}
