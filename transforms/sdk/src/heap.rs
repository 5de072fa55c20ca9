//! The heap of a module. An instance runs on one thread and lives for some thousand messages, each of which makes and
//! drops hundreds of small values; so small blocks are kept in lists by size, and taken from and put back there without
//! looking at anything else. What is larger than 32 KiB is the standard allocator's.
//!
//! ```text
//! size:  1..=16  17..=32  ...  497..=512  513..=1024  ...  16385..=32768
//! list:     0       1     ...     31          32      ...       37
//! ```
//!
//! A list's blocks stay its own: a module takes, for each size, what it needed at most at one time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;

/// Blocks up to this size have lists by steps of 16 bytes, larger ones by powers of two.
const FINE_MAX: usize = 512;
const STEP: usize = 16;
const FINE: usize = FINE_MAX / STEP;
const SMALL_MAX: usize = 32 << 10;
const LISTS: usize = FINE + 6;
/// Bytes that are asked of the standard allocator at once.
const CHUNK: usize = 64 << 10;

#[global_allocator]
static HEAP: Heap = Heap { lists: UnsafeCell::new(Lists::new()) };

/// A block that nobody uses holds the next one of its list.
struct Free {
    next: *mut Free,
}

struct Lists {
    free: [*mut Free; LISTS],
    /// What is left of the last chunk.
    at: *mut u8,
    left: usize,
}

struct Heap {
    lists: UnsafeCell<Lists>,
}

// SAFETY: a component of wasm32-wasip2 has one thread.
unsafe impl Sync for Heap {}

impl Lists {
    const fn new() -> Self {
        Self { free: [ptr::null_mut(); LISTS], at: ptr::null_mut(), left: 0 }
    }
}

/// The list of blocks for that size, and how many bytes they have.
#[inline(always)]
const fn list(size: usize) -> (usize, usize) {
    if size <= FINE_MAX {
        let list = size.saturating_sub(1) / STEP;
        return (list, (list + 1) * STEP);
    }
    let bytes = size.next_power_of_two();
    (FINE + (bytes.trailing_zeros() - FINE_MAX.trailing_zeros() - 1) as usize, bytes)
}

#[inline(always)]
fn is_small(layout: &Layout) -> bool {
    layout.size() <= SMALL_MAX && layout.align() <= STEP
}

impl Heap {
    /// A block from the last chunk, or from a new one; the rest of the old one is not used any more.
    #[cold]
    #[inline(never)]
    unsafe fn carve(lists: &mut Lists, bytes: usize) -> *mut u8 {
        if lists.left < bytes {
            // SAFETY: the layout has a size.
            let chunk = unsafe { System.alloc(Layout::from_size_align_unchecked(CHUNK, STEP)) };
            if chunk.is_null() {
                return chunk;
            }
            (lists.at, lists.left) = (chunk, CHUNK);
        }
        let block = lists.at;
        // SAFETY: the chunk has that many bytes left.
        lists.at = unsafe { block.add(bytes) };
        lists.left -= bytes;
        block
    }
}

// SAFETY: a block is in one list or with one owner; it has the bytes of its list, and begins at a multiple of 16.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_small(&layout) {
            return unsafe { System.alloc(layout) };
        }
        let (list, bytes) = list(layout.size());
        // SAFETY: there is one thread, and nothing below calls back.
        let lists = unsafe { &mut *self.lists.get() };
        let block = lists.free[list];
        if block.is_null() {
            return unsafe { Self::carve(lists, bytes) };
        }
        // SAFETY: a block in a list holds a `Free`.
        lists.free[list] = unsafe { (*block).next };
        block.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !is_small(&layout) {
            return unsafe { System.dealloc(block, layout) };
        }
        // SAFETY: as above; the block is nobody's now, and has room for a `Free`.
        let lists = unsafe { &mut *self.lists.get() };
        let first = &mut lists.free[list(layout.size()).0];
        let block: *mut Free = block.cast();
        unsafe { (*block).next = *first };
        *first = block;
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller has made sure of the new size.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let (is_small_now, is_small_then) = (is_small(&layout), is_small(&new));
        if is_small_now && is_small_then && list(layout.size()).0 == list(size).0 {
            return block;
        }
        if !is_small_now && !is_small_then {
            return unsafe { System.realloc(block, layout, size) };
        }
        // SAFETY: the new block has at least the bytes that are copied, and is another one.
        unsafe {
            let moved = self.alloc(new);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}
