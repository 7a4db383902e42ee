//! A vector that grows block by block, and never moves what it holds.
//!
//! A vector in one piece moves whenever it outgrows its place. A thousand of them, each as large as the next, leave the
//! heap full of holes that none of them fits in any more: a quarter of all memory, measured with a million torrents.
//! Blocks are all of one size, so that each hole fits the next block.

/// Elements of a block.
const BLOCK: usize = 32;

/// A vector in blocks.
#[derive(Debug)]
pub(super) struct Blocks<T> {
    blocks: Vec<Box<[T; BLOCK]>>,
    len: usize,
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Self { blocks: Vec::new(), len: 0 }
    }
}

impl<T: Default> Blocks<T> {
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

    /// Adds one at the end.
    pub(super) fn push(&mut self, element: T) {
        if self.len == self.blocks.len() * BLOCK {
            self.blocks.push(Box::new(std::array::from_fn(|_| T::default())));
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_holds_what_a_vector_holds(steps in prop::collection::vec((prop::bool::weighted(0.6), any::<u16>()), 0..500)) {
            let (mut blocks, mut vec) = (Blocks::default(), Vec::new());
            for (add, n) in steps {
                if add || vec.is_empty() {
                    blocks.push(n);
                    vec.push(n);
                } else {
                    let at = usize::from(n) % vec.len();
                    prop_assert_eq!(blocks.swap_remove(at), Some(vec.swap_remove(at)));
                }
                prop_assert_eq!(blocks.len(), vec.len());
                prop_assert!(blocks.blocks.len() * BLOCK < vec.len() + 2 * BLOCK, "no more than one block is vacant");
                prop_assert_eq!(blocks.get(vec.len()), None);
                prop_assert_eq!(blocks.swap_remove(vec.len()), None);
            }
            for (at, n) in vec.iter_mut().enumerate() {
                prop_assert_eq!(blocks.get(at), Some(&*n));
                prop_assert_eq!(blocks.get_mut(at), Some(n));
            }
        }
    }
}
