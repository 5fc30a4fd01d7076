//! How the kernel backs our memory, and gets it back.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::io;
use std::ptr;
use std::sync::OnceLock;

use libmimalloc_sys as mi;
use mimalloc::MiMalloc;

/// Keeps the process on pages of 4 KiB.
///
/// With huge pages a heap that needs 50 bytes more takes 2 MiB more, and gives none of it back
/// while any part is used: 15,000 idle connections measured 131 bytes each with them and 55
/// without (Linux 6.18). Only what is touched from now on is affected.
pub fn forgo_huge_pages() -> io::Result<()> {
    // SAFETY: PR_SET_THP_DISABLE takes a flag and no pointer; the other arguments must be zero.
    let failed = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// mimalloc, with a heap of its own for what connections bring.
///
/// It gives pages of 64 KiB back once they are empty, and one page for each size of blocks. A
/// shard is some hundred small blocks that stay for its life, and each of them would keep a page
/// that a crowd of connections has filled: of 360 KB a shard that stayed after 18,000 sessions had
/// left, all lay in such pages. So from [`set_apart`] on a thread allocates elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct TwoHeaps;

thread_local! {
    /// Where this thread allocates; null for the heap of everybody.
    static HEAP: Cell<*mut mi::mi_heap_t> = const { Cell::new(ptr::null_mut()) };
}

/// The heap of connections; each thread has pages of its own in it.
struct OfConnections(*mut mi::mi_heap_t);

// SAFETY: the heap lives as long as the process, and mimalloc's heaps are for any thread (3.0).
unsafe impl Send for OfConnections {}
// SAFETY: as above.
unsafe impl Sync for OfConnections {}

static OF_CONNECTIONS: OnceLock<OfConnections> = OnceLock::new();

// SAFETY: both heaps give blocks of the layout or null, `mi_free` takes those of any heap on any
// thread, and the thread's own heap is reached without allocating: the cell needs no destructor.
unsafe impl GlobalAlloc for TwoHeaps {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let heap = HEAP.get();
        if heap.is_null() {
            // SAFETY: the caller's contract.
            return unsafe { MiMalloc.alloc(layout) };
        }
        // SAFETY: the heap was made by mimalloc and is never deleted.
        unsafe { mi::mi_heap_malloc_aligned(heap, layout.size(), layout.align()).cast() }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let heap = HEAP.get();
        if heap.is_null() {
            // SAFETY: the caller's contract.
            return unsafe { MiMalloc.alloc_zeroed(layout) };
        }
        // SAFETY: the heap was made by mimalloc and is never deleted.
        unsafe { mi::mi_heap_zalloc_aligned(heap, layout.size(), layout.align()).cast() }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract; of whichever heap it is.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let heap = HEAP.get();
        if heap.is_null() {
            // SAFETY: the caller's contract.
            return unsafe { MiMalloc.realloc(block, layout, size) };
        }
        // SAFETY: the heap was made by mimalloc and is never deleted; the block is of any heap.
        unsafe { mi::mi_heap_realloc_aligned(heap, block.cast(), size, layout.align()).cast() }
    }
}

/// From now on what the calling thread allocates lies apart from what it has. For a thread that
/// has made all that stays, and begins to serve. Without [`TwoHeaps`] it costs an empty heap, and
/// changes nothing else; doing it again changes nothing.
pub fn set_apart() {
    // SAFETY: it takes nothing, and gives null where there is no memory: then nothing changes.
    let heap = OF_CONNECTIONS.get_or_init(|| OfConnections(unsafe { mi::mi_heap_new() }));
    HEAP.set(heap.0);
    // What mimalloc keeps for a thread in a heap comes with its first block: now, not with the
    // first connection.
    drop(std::hint::black_box(Box::new(0_u64)));
}

/// Has mimalloc, the allocator of the binary, give back what the calling thread has freed, and
/// what all threads have left behind. In a program with another allocator it does nothing.
pub fn give_back() {
    let heap = HEAP.get();
    // SAFETY: both may be called by any thread at any time, and touch no memory that is in use.
    unsafe {
        if !heap.is_null() {
            mi::mi_heap_collect(heap, true);
        }
        mi::mi_collect(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_says_that_it_has_no_huge_pages() {
        forgo_huge_pages().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("THP_enabled:")).unwrap();
        assert_eq!(line.split_whitespace().nth(1), Some("0"));
    }

    #[test]
    fn blocks_of_both_heaps_are_whole_wherever_they_are_freed() {
        fn layout(size: usize) -> Layout {
            Layout::from_size_align(size, 64).unwrap()
        }
        /// A block full of sevens, by its address.
        fn made(size: usize) -> usize {
            // SAFETY: so many bytes are the block's.
            unsafe {
                let block = TwoHeaps.alloc(layout(size));
                block.write_bytes(7, size);
                block as usize
            }
        }
        fn bytes<'a>(block: usize, size: usize) -> &'a [u8] {
            // SAFETY: a block of `made` or what it has grown to, before it is freed.
            unsafe { std::slice::from_raw_parts(block as *const u8, size) }
        }
        const SIZES: [usize; 5] = [64, 192, 5056, 100_032, 3 << 20];
        let before = made(64);
        let apart = std::thread::spawn(move || {
            set_apart();
            // SAFETY: the block of the other heap, which is known by its new address from now on.
            let grown = unsafe { TwoHeaps.realloc(before as *mut u8, layout(64), 9024) as usize };
            assert!(bytes(grown, 64).iter().all(|&byte| byte == 7));
            // SAFETY: freed with the layout that it was asked for with.
            unsafe {
                let zeroed = TwoHeaps.alloc_zeroed(layout(4096));
                assert!(bytes(zeroed as usize, 4096).iter().all(|&byte| byte == 0));
                TwoHeaps.dealloc(zeroed, layout(4096));
                TwoHeaps.dealloc(grown as *mut u8, layout(9024));
            }
            give_back();
            SIZES.map(made)
        });
        // Its thread is gone, its blocks are not.
        for (block, size) in apart.join().unwrap().into_iter().zip(SIZES) {
            assert!(bytes(block, size).iter().all(|&byte| byte == 7), "{size}");
            // SAFETY: freed once, with the layout that it was asked for with.
            unsafe { TwoHeaps.dealloc(block as *mut u8, layout(size)) };
        }
        give_back();
    }

    #[test]
    fn from_then_on_a_thread_allocates_apart() {
        let heap = std::thread::spawn(|| {
            let before = HEAP.get();
            set_apart();
            (before.is_null(), HEAP.get().is_null())
        });
        assert_eq!(heap.join().unwrap(), (true, false));
        assert!(HEAP.get().is_null(), "others do not");
    }
}
