//! The allocator of the process, and giving back what threads have freed.
//!
//! Each thread has pages of its own. What another thread frees in them, and what is empty, is looked at when the thread
//! allocates the next many times; a thread that has nothing to do any more keeps it for ever. So a thread looks before
//! it goes to sleep. It does so at most once a second; a thread that has slept since without having looked is idle, and
//! [`idle_threads`] says that it is to be woken for that.

use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Alignment of every block of 16 bytes or more.
const ALIGNED: usize = 16;

/// mimalloc, which is asked for an alignment only where it is not what every block has. Asked for one, it searches
/// longer whenever the first free block will not do or the size is above 1 KiB, takes more than is needed, and then
/// frees all blocks of that page the slow way: a twentieth of all instructions of a small message.
pub struct Allocator;

#[allow(unsafe_code)]
unsafe extern "C" {
    fn mi_malloc(size: usize) -> *mut c_void;
    fn mi_zalloc(size: usize) -> *mut c_void;
    fn mi_realloc(block: *mut c_void, size: usize) -> *mut c_void;
    fn mi_collect(force: bool);
}

/// A block of that size has that alignment without being asked: blocks of 16 bytes and more begin at multiples of 16,
/// smaller ones at multiples of 8.
const fn is_aligned(size: usize, align: usize) -> bool {
    align <= ALIGNED && align <= size
}

// SAFETY: all blocks are mimalloc's, which fulfils the contract of an allocator for any thread, and whose functions
// may be mixed: what one of them allocated, the others free and resize. Those that take no alignment are called only
// where `is_aligned` says that the block has the one that the layout wants. Null is returned when there is no memory.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match is_aligned(layout.size(), layout.align()) {
            // SAFETY: it takes any size.
            true => unsafe { mi_malloc(layout.size()) }.cast(),
            // SAFETY: the caller's promise about the layout.
            false => unsafe { MiMalloc.alloc(layout) },
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match is_aligned(layout.size(), layout.align()) {
            // SAFETY: it takes any size.
            true => unsafe { mi_zalloc(layout.size()) }.cast(),
            // SAFETY: the caller's promise about the layout.
            false => unsafe { MiMalloc.alloc_zeroed(layout) },
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise: the block is one of ours.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match is_aligned(size, layout.align()) {
            // SAFETY: the caller's promise: the block is one of ours.
            true => unsafe { mi_realloc(block.cast(), size) }.cast(),
            // SAFETY: the caller's promises about block, layout and size.
            false => unsafe { MiMalloc.realloc(block, layout, size) },
        }
    }
}

/// Between two looks of one thread.
const PAUSE: Duration = Duration::from_secs(1);

/// Threads that went to sleep without having looked.
static UNSEEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// When this thread has looked last, and whether it is among those.
    static LOOKED: Cell<(Option<Instant>, bool)> = const { Cell::new((None, false)) };
}

/// This thread goes to sleep: it gives back what is free of its pages, if it has not done so of late.
pub fn before_sleep() {
    LOOKED.with(|looked| {
        let (at, is_unseen) = looked.get();
        if at.is_some_and(|at| at.elapsed() < PAUSE) {
            if !is_unseen {
                UNSEEN.fetch_add(1, Ordering::Relaxed);
            }
            looked.set((at, true));
            return;
        }
        give_back();
        if is_unseen {
            UNSEEN.fetch_sub(1, Ordering::Relaxed);
        }
        looked.set((Some(Instant::now()), false));
    });
}

/// How many threads have gone to sleep, perhaps, without having given back what they had.
pub fn idle_threads() -> usize {
    UNSEEN.load(Ordering::Relaxed)
}

/// Gives back what is free of this thread's pages, and what was free for a second of all.
#[allow(unsafe_code)]
fn give_back() {
    // SAFETY: the function is the allocator's own, which is linked with this crate; it takes no pointer, may be called
    // by any thread at any time, and only releases memory that nobody has.
    unsafe { mi_collect(false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every size up to some KiB, and some larger ones, with every alignment up to a page.
    #[test]
    #[allow(unsafe_code)]
    fn blocks_are_aligned_zeroed_and_keep_their_bytes() {
        let sizes = (1..3_000usize).chain([4_095, 4_097, 65_537, 1 << 20, (1 << 20) + 1]);
        for (size, align) in sizes.flat_map(|size| (0..=12).map(move |power| (size, 1 << power))) {
            let layout = Layout::from_size_align(size, align).expect("a layout");
            // SAFETY: the layout's size is not zero; each block is used within its size and freed once, with the
            // layout that it has then.
            unsafe {
                let block = Allocator.alloc_zeroed(layout);
                assert!(!block.is_null() && block.addr().is_multiple_of(align), "{layout:?}");
                let bytes = std::slice::from_raw_parts_mut(block, size);
                assert!(bytes.iter().all(|byte| *byte == 0), "{layout:?}");
                bytes.fill(7);
                let grown = 2 * size + 1;
                let block = Allocator.realloc(block, layout, grown);
                assert!(!block.is_null() && block.addr().is_multiple_of(align), "{layout:?} grown");
                let bytes = std::slice::from_raw_parts(block, size);
                assert!(bytes.iter().all(|byte| *byte == 7), "{layout:?} grown");
                let layout = Layout::from_size_align(grown, align).expect("a layout");
                let other = Allocator.alloc(layout);
                assert!(other.addr().is_multiple_of(align) && other != block, "{layout:?}");
                Allocator.dealloc(other, layout);
                Allocator.dealloc(block, layout);
            }
        }
    }

    #[test]
    fn a_thread_looks_once_a_second() {
        before_sleep();
        assert_eq!(idle_threads(), 0);
        before_sleep();
        before_sleep();
        assert_eq!(idle_threads(), 1);
        std::thread::sleep(PAUSE);
        before_sleep();
        assert_eq!(idle_threads(), 0);
    }
}
