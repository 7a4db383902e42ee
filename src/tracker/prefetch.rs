//! Fetching memory before it is needed.

/// Bytes of a cache line.
const LINE: usize = 64;

/// Begins to fetch all of `value`, and does not wait for it.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    let begin = std::ptr::from_ref(value).cast::<u8>();
    (0..size_of::<T>()).step_by(LINE).for_each(|at| prefetch_line(begin.wrapping_add(at)));
    // Where the beginning is somewhere on a cache line, the end may be on one more.
    if const { align_of::<T>() < LINE && align_of::<T>() < size_of::<T>() } {
        prefetch_line(begin.wrapping_add(size_of::<T>() - 1));
    }
}

/// Begins to fetch the first `most` of `values`, or all if there are fewer.
#[inline]
pub(super) fn prefetch_first<T>(values: &[T], most: usize) {
    const { assert!(size_of::<T>() <= LINE) };
    let values = values.get(..most).unwrap_or(values);
    values.iter().step_by(const { LINE / size_of::<T>() }).chain(values.last()).for_each(prefetch_begin);
}

#[inline(always)]
fn prefetch_begin<T>(value: &T) {
    prefetch_line(std::ptr::from_ref(value).cast());
}

#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "stable Rust has no way to say it there"))]
fn prefetch_line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "an intrinsic that is safe but not called so")]
    // SAFETY: every x86-64 has the instruction, which reads nothing into the program and cannot fault, whatever the
    // address; these are even valid.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[repr(align(128))]
    struct Aligned([u8; 200]);

    /// Fetches a value at the beginning of an allocation, where it ends another, and on the stack.
    fn fetch<T: Copy + PartialEq + std::fmt::Debug>(value: T) {
        prefetch(&value);
        let many = vec![value; 3].into_boxed_slice();
        many.iter().for_each(prefetch);
        assert_eq!(many[..], [value; 3]);
    }

    #[test]
    fn values_of_every_size_stay_as_they_are() {
        fetch(());
        fetch(7_u8);
        fetch([7_u8; 63]);
        fetch([7_u8; 64]);
        fetch([7_u8; 65]);
        fetch([7_u64; 100]);
        fetch(Aligned([7; 200]));
    }

    #[test]
    fn no_more_values_are_fetched_than_there_are() {
        for len in 0..40 {
            let values = vec![[7_u8; 20]; len].into_boxed_slice();
            (0..=len + 1).for_each(|most| prefetch_first(&values, most));
            assert_eq!(values.concat(), vec![7; 20 * len]);
        }
    }
}
