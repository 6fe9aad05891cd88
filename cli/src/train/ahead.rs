//! Results that threads compute before they are asked for.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// The results of a function of a number. Threads compute those that will be asked for next; they are the same as without.
pub struct Ahead<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<T> {
    compute: Box<dyn Fn(u64) -> T + Send + Sync>,
    work: Mutex<Work<T>>,
    changed: Condvar,
}

struct Work<T> {
    /// Not begun yet.
    waiting: VecDeque<u64>,
    /// Being computed by a thread.
    begun: HashSet<u64>,
    done: HashMap<u64, T>,
    /// Whether the threads are to end.
    over: bool,
}

impl<T: Send + 'static> Ahead<T> {
    /// With so many threads; with none, a result is computed when it is asked for.
    pub fn new(threads: usize, compute: impl Fn(u64) -> T + Send + Sync + 'static) -> Self {
        let work = Work {
            waiting: VecDeque::new(),
            begun: HashSet::new(),
            done: HashMap::new(),
            over: false,
        };
        let shared = Arc::new(Shared {
            compute: Box::new(compute),
            work: Mutex::new(work),
            changed: Condvar::new(),
        });
        let spawn = |_| {
            let shared = shared.clone();
            // (Where the system has no more threads, those that there are do all.)
            let thread = thread::Builder::new().name("crops".into());
            thread.spawn(move || shared.run()).ok()
        };
        Self {
            threads: (0..threads).filter_map(spawn).collect(),
            shared,
        }
    }

    /// The result of `n`, which is asked for once. Those of `next` will be asked for later.
    pub fn take(&self, n: u64, next: impl Iterator<Item = u64>) -> T {
        let shared = &self.shared;
        let mut work = shared.lock();
        if !self.threads.is_empty() {
            for number in next {
                if !work.knows(number) {
                    work.waiting.push_back(number);
                }
            }
            shared.changed.notify_all();
        }
        loop {
            if let Some(result) = work.done.remove(&n) {
                return result;
            }
            if !work.begun.contains(&n) {
                work.waiting.retain(|&waiting| waiting != n);
                drop(work);
                return (shared.compute)(n);
            }
            work = shared.wait(work);
        }
    }
}

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // (What a thread panics of is caught in it.)
            thread.join().ok();
        }
    }
}

impl<T> Work<T> {
    fn knows(&self, n: u64) -> bool {
        self.done.contains_key(&n) || self.begun.contains(&n) || self.waiting.contains(&n)
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Work<T>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'w>(&self, work: MutexGuard<'w, Work<T>>) -> MutexGuard<'w, Work<T>> {
        let woken = self.changed.wait(work);
        woken.unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread does.
    fn run(&self) {
        let mut work = self.lock();
        while !work.over {
            let Some(n) = work.waiting.pop_front() else {
                work = self.wait(work);
                continue;
            };
            work.begun.insert(n);
            drop(work);
            // (If it panics, so it will where it is asked for.)
            let result = catch_unwind(AssertUnwindSafe(|| (self.compute)(n)));
            work = self.lock();
            work.begun.remove(&n);
            if let Ok(result) = result {
                work.done.insert(n, result);
            }
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn results_are_those_that_were_asked_for_with_any_number_of_threads() {
        for threads in [0, 1, 2, 5] {
            let computed = Arc::new(AtomicUsize::new(0));
            let count = computed.clone();
            let ahead = Ahead::new(threads, move |n| {
                count.fetch_add(1, Ordering::Relaxed);
                // The threads overtake each other.
                thread::sleep(std::time::Duration::from_micros(n * 7919 % 300));
                n * n
            });
            for n in 0..200 {
                let next = (n + 1..n + 8).filter(|&next| next < 200);
                assert_eq!(ahead.take(n, next), n * n);
            }
            drop(ahead);
            assert_eq!(computed.load(Ordering::Relaxed), 200, "each once");
        }
    }

    #[test]
    fn a_panic_comes_where_the_result_is_asked_for() {
        let ahead = Ahead::new(2, |n| {
            assert!(n != 3, "three");
            n
        });
        for n in 0..3 {
            assert_eq!(ahead.take(n, n + 1..n + 4), n);
        }
        let three = catch_unwind(AssertUnwindSafe(|| ahead.take(3, 4..6)));
        assert!(three.is_err());
        assert_eq!(ahead.take(4, 5..6), 4);
    }
}
