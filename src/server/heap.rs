//! Gives back to the system what the tracker has freed.
//!
//! glibc keeps most of it: among what is still in use, and at the ends of the heaps that each thread has. So it is
//! asked to, once a minute. Other C libraries return memory by themselves, or have no way to be asked.

/// Bytes from which on a vacant piece goes back by itself: at the end of a heap, or on its own. glibc begins with this
/// value, and raises both bounds to as much as 64 MiB when something large is freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const RETURNED: i32 = 128 * 1024;

/// Has what is large go back as soon as it is freed, for good. To be called before anything large is allocated.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the C library's own, which Rust does not call safe")]
pub fn return_large_pieces() {
    use nix::libc::{M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, mallopt};
    // SAFETY: sets two numbers of the allocator, under its lock. It takes any number, and refuses what it cannot use.
    unsafe {
        mallopt(M_TRIM_THRESHOLD, RETURNED);
        mallopt(M_MMAP_THRESHOLD, RETURNED);
    }
}

/// Has all vacant pages go back. Whoever allocates or frees in the same heap waits meanwhile: for tens of microseconds
/// if little has been freed, and for a millisecond for each 20 MB or so.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the C library's own, which Rust does not call safe")]
pub fn return_vacant_pages() {
    // SAFETY: works on what is not in use, under the allocator's locks, from any thread.
    unsafe { nix::libc::malloc_trim(0) };
}

/// Does nothing: there is nothing to be asked.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn return_large_pieces() {}

/// Does nothing: there is nothing to be asked.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn return_vacant_pages() {}
