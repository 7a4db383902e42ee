//! A vector that grows block by block, and never moves what it holds.
//!
//! A vector in one piece moves whenever it outgrows its place. A thousand of them, each as large as the next, leave the
//! heap full of holes that none of them fits in any more: a quarter of all memory, measured with a million torrents.
//! Blocks are all of one size, but for one that is short, so that each hole fits the next block.

/// Length of the first block to begin with: most shards of a small tracker have a torrent or two.
const INITIAL_LEN: usize = 4;

/// A vector in blocks of `BLOCK` elements; the last may be shorter.
#[derive(Debug)]
pub(super) struct Blocks<T, const BLOCK: usize> {
    /// Apart from the rest: most vectors need no other block, and reach this one without reading a list of blocks.
    first: Box<[T]>,
    rest: Vec<Box<[T]>>,
    len: usize,
}

impl<T, const BLOCK: usize> Default for Blocks<T, BLOCK> {
    fn default() -> Self {
        Self { first: Box::default(), rest: Vec::new(), len: 0 }
    }
}

impl<T: Default, const BLOCK: usize> Blocks<T, BLOCK> {
    /// Returns how many elements there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the element at a position; `None` from [`Self::len`] on.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.block(at)?.get(at % BLOCK).filter(|_| at < self.len)
    }

    /// Returns the element at a position, to be changed.
    #[inline]
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        let block = if at < BLOCK { &mut self.first } else { self.rest.get_mut(at / BLOCK - 1)? };
        block.get_mut(at % BLOCK).filter(|_| at < self.len)
    }

    /// Returns the elements from a position to the end of its block. In the last block, default values that are not
    /// elements yet may follow.
    #[inline]
    pub(super) fn piece(&self, at: usize) -> &[T] {
        self.block(at).and_then(|block| block.get(at % BLOCK..)).unwrap_or_default()
    }

    /// Returns all elements, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(self.rest.iter().flat_map(|block| block.iter())).take(self.len)
    }

    /// Adds an element at the end.
    pub(super) fn push(&mut self, element: T) {
        if self.len == self.first.len() && self.len < BLOCK {
            let small = std::mem::replace(&mut self.first, new_block((2 * self.len).clamp(INITIAL_LEN, BLOCK)));
            self.first.iter_mut().zip(small).for_each(|(place, element)| *place = element);
        } else if self.len == (1 + self.rest.len()) * BLOCK {
            self.rest.push(new_block(BLOCK));
        }
        self.len += 1;
        match self.get_mut(self.len - 1) {
            Some(place) => *place = element,
            None => debug_assert!(false, "room has just been made"),
        }
    }

    /// Removes the element at a position, moves the last one there, and returns the removed one.
    pub(super) fn swap_remove(&mut self, at: usize) -> Option<T> {
        let last = self.len.checked_sub(1).filter(|last| at <= *last)?;
        debug_assert!(self.block(last).is_some(), "{last} has no block");
        let moved = std::mem::take(self.get_mut(last)?);
        let removed = if at == last { moved } else { std::mem::replace(self.get_mut(at)?, moved) };
        self.len = last;
        // A vacant block stays for half a block more: what comes and goes at a border is not to cost an allocation each
        // time.
        if self.rest.len() * BLOCK >= self.len + BLOCK / 2 {
            self.rest.pop();
        }
        Some(removed)
    }

    /// Gives back what an emptied vector still holds, and the list of blocks if less than a quarter of it is in use.
    /// What a block stands on is at most a page or two: one for each shard would keep as many pages of an emptied heap.
    pub(super) fn shrink(&mut self) {
        if self.len == 0 {
            *self = Self::default();
        } else if self.rest.len() * 4 < self.rest.capacity() {
            self.rest.shrink_to(self.rest.len() * 2);
        }
    }

    /// Replaces all elements by `len` default ones. Blocks of full length are kept as far as they are needed.
    pub(super) fn reset(&mut self, len: usize) {
        if self.first.len() != len.min(BLOCK) {
            self.first = new_block(len.min(BLOCK));
        }
        let (whole, last) = (len.saturating_sub(BLOCK) / BLOCK, len.saturating_sub(BLOCK) % BLOCK);
        self.rest.truncate(whole);
        self.rest.retain(|block| block.len() == BLOCK);
        let kept = self.first.iter_mut().chain(self.rest.iter_mut().flat_map(|block| block.iter_mut()));
        kept.for_each(|element| *element = T::default());
        self.rest.reserve_exact(whole + usize::from(last > 0) - self.rest.len());
        self.rest.resize_with(whole, || new_block(BLOCK));
        if last > 0 {
            self.rest.push(new_block(last));
        }
        self.rest.shrink_to_fit();
        self.len = len;
    }

    /// Returns the block that a position belongs to.
    #[inline]
    fn block(&self, at: usize) -> Option<&[T]> {
        if at < BLOCK { Some(&self.first) } else { self.rest.get(at / BLOCK - 1).map(|block| &**block) }
    }
}

fn new_block<T: Default>(len: usize) -> Box<[T]> {
    (0..len).map(|_| T::default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCK: usize = 8;

    proptest! {
        #[test]
        fn it_holds_what_a_vector_holds(
            steps in prop::collection::vec((prop::bool::weighted(0.6), any::<u16>()), 0..150),
        ) {
            let (mut blocks, mut vec) = (Blocks::<_, BLOCK>::default(), Vec::new());
            let mut longest = 0;
            for (add, n) in steps {
                if add || vec.is_empty() {
                    blocks.push(n);
                    vec.push(n);
                    longest = longest.max(vec.len());
                } else {
                    let at = usize::from(n) % vec.len();
                    prop_assert_eq!(blocks.swap_remove(at), Some(vec.swap_remove(at)));
                }
                prop_assert_eq!(blocks.len(), vec.len());
                prop_assert!(blocks.rest.len() * BLOCK < vec.len() + BLOCK / 2, "no more than one block is vacant");
                prop_assert!(blocks.first.len() <= longest.max(INITIAL_LEN / 2) * 2, "it is as large as it had to be");
                prop_assert_eq!(blocks.get(vec.len()), None);
                prop_assert_eq!(blocks.swap_remove(vec.len()), None);
            }
            prop_assert!(blocks.iter().eq(&vec));
            for (at, n) in vec.iter_mut().enumerate() {
                prop_assert_eq!(blocks.get(at), Some(&*n));
                prop_assert_eq!(blocks.get_mut(at), Some(n));
            }
        }

        #[test]
        fn it_gives_memory_back(longest in 0..300_u16, left in 0..300_usize) {
            let mut blocks = Blocks::<_, BLOCK>::default();
            (0..longest).for_each(|n| blocks.push(n));
            while blocks.len() > left {
                blocks.swap_remove(0);
            }
            let kept: Vec<_> = blocks.iter().copied().collect();
            blocks.shrink();
            prop_assert!(blocks.iter().eq(&kept));
            prop_assert!(!kept.is_empty() || blocks.first.is_empty() && blocks.rest.capacity() == 0);
            prop_assert!(blocks.rest.capacity() <= 4 * blocks.rest.len());
            blocks.push(7);
            prop_assert_eq!(blocks.get(kept.len()), Some(&7));
        }

        #[test]
        fn it_is_reset(before in 0..50_u16, first in 0..50_usize, second in 0..50_usize) {
            let mut blocks = Blocks::<_, BLOCK>::default();
            (1..=before).for_each(|n| blocks.push(n));
            for len in [first, second] {
                blocks.reset(len);
                prop_assert_eq!(blocks.len(), len);
                prop_assert!(blocks.iter().eq(&vec![0; len]));
                prop_assert_eq!(blocks.first.len(), len.min(BLOCK));
                prop_assert_eq!(blocks.first.len() + blocks.rest.iter().map(|block| block.len()).sum::<usize>(), len);
                prop_assert!(blocks.rest.iter().rev().skip(1).all(|block| block.len() == BLOCK));
                for at in 0..len + 2 * BLOCK {
                    let end = len.min((at / BLOCK + 1) * BLOCK);
                    prop_assert_eq!(blocks.piece(at).len(), end.saturating_sub(at));
                    if let Some(place) = blocks.get_mut(at) {
                        let element = 1000 + at as u16;
                        *place = element;
                        prop_assert_eq!(blocks.piece(at).first(), Some(&element));
                    }
                }
            }
        }
    }
}
