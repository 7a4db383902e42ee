//! Fetching memory before it is needed.

/// Begins to fetch the cache line at `place`, and does not wait for it.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "stable Rust has no way to say it there"))]
pub(super) fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "an intrinsic that is safe but not called so")]
    // SAFETY: every x86-64 has the instruction, which reads nothing into the program and cannot fault, whatever the
    // address; this one is even valid.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast());
    }
}

/// Begins to fetch `from` and as many places behind it as stand on `lines` cache lines.
#[inline]
pub(super) fn prefetch_lines<T>(from: &[T], lines: usize) {
    const LINE: usize = 64;
    const { assert!(size_of::<T>() <= LINE) };
    from.iter().step_by(const { LINE / size_of::<T>() }).take(lines).for_each(prefetch);
}
