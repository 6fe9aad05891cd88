//! [`Counted`]: an allocator that counts what one step allocates.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// An allocator, and how many bytes of it are held.
pub struct Counted<A> {
    inner: A,
    held: AtomicUsize,
    peak: AtomicUsize,
    bytes: AtomicUsize,
    count: AtomicUsize,
}

/// What was allocated in a step.
pub struct Allocated {
    /// The most bytes that were held at once.
    pub peak: usize,
    /// The bytes of all allocations.
    pub bytes: usize,
    /// How many there were.
    pub count: usize,
}

impl<A> Counted<A> {
    pub const fn new(inner: A) -> Self {
        Self {
            inner,
            held: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            count: AtomicUsize::new(0),
        }
    }

    /// The bytes that are held now.
    pub fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// Runs a step and counts.
    pub fn count(&self, step: impl FnOnce()) -> Allocated {
        self.peak.store(self.held(), Relaxed);
        self.bytes.store(0, Relaxed);
        self.count.store(0, Relaxed);
        step();
        Allocated {
            peak: self.peak.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            count: self.count.load(Relaxed),
        }
    }

    fn add(&self, bytes: usize) {
        let held = self.held.fetch_add(bytes, Relaxed) + bytes;
        self.peak.fetch_max(held, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.count.fetch_add(1, Relaxed);
    }
}

// SAFETY: all is done by the allocator inside; what is counted changes nothing.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counted<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.add(layout.size());
        // SAFETY: the caller's promise.
        unsafe { self.inner.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.add(layout.size());
        // SAFETY: the caller's promise.
        unsafe { self.inner.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.held.fetch_sub(layout.size(), Relaxed);
        self.add(size);
        // SAFETY: the caller's promise.
        unsafe { self.inner.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        self.held.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { self.inner.dealloc(place, layout) }
    }
}
