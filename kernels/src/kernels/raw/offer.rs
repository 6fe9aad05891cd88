//! Work that a thread offers to others while it does it itself.

use alloc::boxed::Box;
use core::any::Any;
use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread::yield_now;

/// The offer belongs to a thread.
const TAKEN: usize = 1;
/// Others may join.
const OPEN: usize = 2;
/// One thread that has joined.
const ONE_JOINED: usize = 4;

/// How often the thread that offers looks for the end of the others before it lets other threads have its processor.
const PATIENCE: usize = 2000;

type Work = dyn Fn() + Sync + 'static;

/// A place for work that is offered.
///
/// The thread that offers waits for those that have joined, and for no others: on a busy machine, a thread that did not
/// get a processor in time is not missed.
///
/// (It has cache lines of its own, since all threads look at it.)
#[repr(align(128))]
pub(in super::super) struct Offer {
    /// [`TAKEN`], [`OPEN`], and the number of threads that do the work.
    state: AtomicUsize,
    /// Counts what was offered, so that a thread joins once.
    ticket: AtomicUsize,
    work: UnsafeCell<Option<*const Work>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `work` is written by the thread that has made the state `TAKEN`, while it is not `OPEN` and nobody has joined,
// and read by threads that have joined. What it points to is `Sync`.
unsafe impl Sync for Offer {}
// SAFETY: as above; the pointer is not used unless the state is `OPEN`.
unsafe impl Send for Offer {}

/// A thread that has joined; dropped, it has left.
struct Joined<'a>(&'a AtomicUsize);

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(ONE_JOINED, Ordering::Release);
    }
}

impl Offer {
    pub(in super::super) const fn new() -> Self {
        Self {
            state: AtomicUsize::new(0),
            ticket: AtomicUsize::new(0),
            work: UnsafeCell::new(None),
            panic: Mutex::new(None),
        }
    }

    /// Calls `work` on this thread and on those that join meanwhile, and returns when none does it any more; `opened` is
    /// called before. Returns false, and does nothing, if another thread offers here.
    ///
    /// # Panics
    /// When `work` does, on any thread.
    pub(in super::super) fn work_with_others(
        &self,
        work: &(dyn Fn() + Sync),
        opened: impl FnOnce(),
    ) -> bool {
        let taken = (self.state).compare_exchange(0, TAKEN, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_err() {
            return false;
        }
        // SAFETY: only the lifetime changes. Those that join do so while the state is `OPEN`; it is not when this function
        // returns, and no thread that has joined is left.
        let pointer =
            unsafe { core::mem::transmute::<*const (dyn Fn() + Sync), *const Work>(work) };
        // SAFETY: the state is `TAKEN` by this thread, and nobody has joined.
        unsafe { *self.work.get() = Some(pointer) };
        self.ticket.fetch_add(1, Ordering::Relaxed);
        self.state.store(TAKEN | OPEN, Ordering::SeqCst);
        let own = catch_unwind(AssertUnwindSafe(|| {
            opened();
            work();
        }));
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut looks = 0;
        while self.state.load(Ordering::Acquire) != TAKEN {
            looks += 1;
            match looks < PATIENCE {
                true => spin_loop(),
                false => yield_now(),
            }
        }
        let theirs = self.panic().take();
        self.state.store(0, Ordering::Release);
        if let Some(payload) = own.err().or(theirs) {
            resume_unwind(payload);
        }
        true
    }

    /// Whether there is work that was not yet joined with this `ticket`.
    pub(in super::super) fn is_open(&self, ticket: usize) -> bool {
        self.state.load(Ordering::SeqCst) & OPEN != 0
            && self.ticket.load(Ordering::Relaxed) != ticket
    }

    /// Does the work that is offered, if it is other than that of the `ticket`, which becomes its own.
    pub(in super::super) fn join(&self, ticket: &mut usize) -> bool {
        if !self.is_open(*ticket) {
            return false;
        }
        let join = |state: usize| (state & OPEN != 0).then_some(state + ONE_JOINED);
        let joined = (self.state).fetch_update(Ordering::AcqRel, Ordering::Relaxed, join);
        if joined.is_err() {
            return false;
        }
        *ticket = self.ticket.load(Ordering::Relaxed);
        // (It leaves whatever happens, or the thread that offers would wait for ever.)
        let _joined = Joined(&self.state);
        // SAFETY: this thread has joined while the state was `OPEN`: the work was written before, and is neither replaced
        // nor gone until this thread leaves.
        let work = unsafe { (*self.work.get()).map(|work| &*work) };
        let done = catch_unwind(AssertUnwindSafe(|| work.map(|work| work())));
        if let Err(payload) = done {
            self.panic().get_or_insert(payload);
        }
        true
    }

    fn panic(&self) -> std::sync::MutexGuard<'_, Option<Box<dyn Any + Send>>> {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
