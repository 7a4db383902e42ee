//! A vector that grows block by block, and never moves what it holds.
//!
//! A vector in one piece moves whenever it outgrows its place. A thousand of them, each as large as the next, leave the
//! heap full of holes that none of them fits in any more: a quarter of all memory, measured with a million torrents.
//! Blocks are all of one size, so that each hole fits the next block.

/// Elements of the first block to begin with: most shards of a small tracker have a torrent or two.
const FIRST: usize = 4;

/// A vector in blocks of `BLOCK` elements; the last may be shorter.
#[derive(Debug)]
pub(super) struct Blocks<T, const BLOCK: usize> {
    blocks: Vec<Box<[T]>>,
    len: usize,
}

impl<T, const BLOCK: usize> Default for Blocks<T, BLOCK> {
    fn default() -> Self {
        Self { blocks: Vec::new(), len: 0 }
    }
}

impl<T: Default, const BLOCK: usize> Blocks<T, BLOCK> {
    /// How many elements there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The element at a position.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.blocks.get(at / BLOCK)?.get(at % BLOCK).filter(|_| at < self.len)
    }

    /// The element at a position.
    #[inline]
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.blocks.get_mut(at / BLOCK)?.get_mut(at % BLOCK).filter(|_| at < self.len)
    }

    /// The elements from a position to the end of its block, or to the last; none behind that.
    #[inline]
    pub(super) fn piece(&self, at: usize) -> &[T] {
        let Some(block) = self.blocks.get(at / BLOCK) else { return &[] };
        let end = block.len().min(self.len.saturating_sub(at - at % BLOCK));
        block.get(at % BLOCK..end).unwrap_or_default()
    }

    /// All elements.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flat_map(|block| block.iter()).take(self.len)
    }

    /// Adds one at the end.
    pub(super) fn push(&mut self, element: T) {
        match self.blocks.as_mut_slice() {
            [] => self.blocks.push(block(FIRST.min(BLOCK))),
            [first] if self.len == first.len() && self.len < BLOCK => {
                let small = std::mem::replace(first, block((2 * self.len).min(BLOCK)));
                first.iter_mut().zip(small).for_each(|(place, element)| *place = element);
            }
            blocks if self.len == blocks.len() * BLOCK => self.blocks.push(block(BLOCK)),
            _ => {}
        }
        self.len += 1;
        if let Some(place) = self.get_mut(self.len - 1) {
            *place = element;
        }
    }

    /// Takes the element at a position out, and moves the last one there.
    pub(super) fn swap_remove(&mut self, at: usize) -> Option<T> {
        let last = self.len.checked_sub(1).filter(|last| at <= *last)?;
        let moved = std::mem::take(self.get_mut(last)?);
        let removed = if at == last { moved } else { std::mem::replace(self.get_mut(at)?, moved) };
        self.len = last;
        // One vacant block may stay: what comes and goes at a border is not to cost an allocation each time.
        if self.blocks.len() * BLOCK >= self.len + 2 * BLOCK {
            self.blocks.pop();
        }
        Some(removed)
    }

    /// Becomes so many default elements. Whole blocks stay where they are.
    pub(super) fn reset(&mut self, len: usize) {
        let (whole, rest) = (len / BLOCK, len % BLOCK);
        self.blocks.truncate(whole);
        self.blocks.retain_mut(|block| {
            block.iter_mut().for_each(|element| *element = T::default());
            block.len() == BLOCK
        });
        self.blocks.reserve_exact(len.div_ceil(BLOCK) - self.blocks.len());
        self.blocks.resize_with(whole, || block(BLOCK));
        if rest > 0 {
            self.blocks.push(block(rest));
        }
        self.blocks.shrink_to_fit();
        self.len = len;
    }
}

fn block<T: Default>(len: usize) -> Box<[T]> {
    (0..len).map(|_| T::default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCK: usize = 8;

    proptest! {
        #[test]
        fn it_holds_what_a_vector_holds(steps in prop::collection::vec((prop::bool::weighted(0.6), any::<u16>()), 0..150)) {
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
                prop_assert!(blocks.blocks.len() * BLOCK < vec.len() + 2 * BLOCK, "no more than one block is vacant");
                if blocks.blocks.len() == 1 && add {
                    let room = blocks.blocks[0].len();
                    prop_assert!(room <= longest.max(FIRST / 2) * 2, "the first block is as large as it had to be");
                }
                prop_assert_eq!(blocks.get(vec.len()), None);
                prop_assert_eq!(blocks.swap_remove(vec.len()), None);
            }
            prop_assert!(blocks.iter().eq(&vec));
            for (at, n) in vec.iter_mut().enumerate() {
                prop_assert_eq!(blocks.get(at), Some(&*n));
                prop_assert_eq!(blocks.get_mut(at), Some(n));
            }
            for at in 0..vec.len() {
                let end = vec.len().min((at / BLOCK + 1) * BLOCK);
                prop_assert_eq!(blocks.piece(at), &vec[at..end]);
            }
            for at in vec.len()..vec.len() + 3 * BLOCK {
                prop_assert_eq!(blocks.piece(at), &[] as &[u16]);
            }
        }

        #[test]
        fn it_is_reset(before in 0..50_u16, first in 0..50_usize, second in 0..50_usize) {
            let mut blocks = Blocks::<_, BLOCK>::default();
            (1..=before).for_each(|n| blocks.push(n));
            for len in [first, second] {
                blocks.reset(len);
                prop_assert_eq!(blocks.len(), len);
                prop_assert!(blocks.iter().eq(&vec![0; len]));
                prop_assert_eq!(blocks.blocks.iter().map(|block| block.len()).sum::<usize>(), len);
                prop_assert!(blocks.blocks.iter().rev().skip(1).all(|block| block.len() == BLOCK));
                (0..len).for_each(|at| *blocks.get_mut(at).unwrap() = 1);
            }
        }
    }
}
