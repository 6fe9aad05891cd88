//! The allocator of this program, and how many bytes are in use.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use mimalloc::MiMalloc;

/// mimalloc, which keeps its pages: glibc's allocator returns large buffers to the system after every step of a training,
/// and the page faults that follow can double the time. It counts the bytes.
pub struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The bytes that are in use.
pub fn in_use() -> usize {
    IN_USE.load(Relaxed)
}

/// The most bytes that were in use at once since [`reset_peak`].
pub fn peak() -> usize {
    PEAK.load(Relaxed)
}

/// Begins to look for the peak anew.
pub fn reset_peak() {
    PEAK.store(in_use(), Relaxed);
}

fn count(allocated: *mut u8, bytes: usize) {
    if !allocated.is_null() {
        let now = IN_USE.fetch_add(bytes, Relaxed) + bytes;
        PEAK.fetch_max(now, Relaxed);
    }
}

// SAFETY: each call is handed on as it is, and what it returns is returned.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let allocated = unsafe { MiMalloc.alloc(layout) };
        count(allocated, layout.size());
        allocated
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let allocated = unsafe { MiMalloc.alloc_zeroed(layout) };
        count(allocated, layout.size());
        allocated
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { MiMalloc.dealloc(pointer, layout) };
        IN_USE.fetch_sub(layout.size(), Relaxed);
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let allocated = unsafe { MiMalloc.realloc(pointer, layout, bytes) };
        if !allocated.is_null() {
            count(allocated, bytes);
            IN_USE.fetch_sub(layout.size(), Relaxed);
        }
        allocated
    }
}
