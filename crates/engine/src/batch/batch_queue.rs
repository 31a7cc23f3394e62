//! The order in which renders that share a network are served.
//!
//! The request that has waited longest is always served; requests of the same kind join its batch, first come first. A render
//! waits for the answer before it sends the next request, so it has at most one in the queue and waits for at most one pass
//! of every other render.

use std::collections::VecDeque;

/// Something that waits for a pass.
pub(super) trait Waiting {
    /// What can go together.
    type Kind: PartialEq;

    /// The kind of pass that it wants.
    fn kind(&self) -> &Self::Kind;

    /// How many tiles it brings.
    fn tiles(&self) -> usize;
}

/// Requests that wait, first come first.
#[derive(Debug)]
pub(super) struct BatchQueue<T>(VecDeque<T>);

impl<T: Waiting> BatchQueue<T> {
    pub(super) fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(super) fn push(&mut self, one: T) {
        self.0.push_back(one);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The next batch; empty if nothing waits. `at_once` returns its largest number of tiles, given the first request and how
    /// many tiles of that kind wait. The first request is in the batch in any case.
    pub(super) fn take(&mut self, at_once: impl FnOnce(&T, usize) -> usize) -> Vec<T> {
        let Some(first) = self.0.pop_front() else { return Vec::new() };
        let alike = self.0.iter().filter(|other| other.kind() == first.kind());
        let most = at_once(&first, first.tiles() + alike.map(Waiting::tiles).sum::<usize>());
        let mut taken = first.tiles();
        let mut batch = vec![first];
        let mut left = VecDeque::with_capacity(self.0.len());
        for other in self.0.drain(..) {
            if other.kind() == batch[0].kind() && taken + other.tiles() <= most {
                taken += other.tiles();
                batch.push(other);
            } else {
                left.push_back(other);
            }
        }
        self.0 = left;
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name, a kind and tiles.
    type One = (&'static str, char, usize);

    impl Waiting for One {
        type Kind = char;

        fn kind(&self) -> &char {
            &self.1
        }

        fn tiles(&self) -> usize {
            self.2
        }
    }

    fn names(batch: &[One]) -> Vec<&'static str> {
        batch.iter().map(|one| one.0).collect()
    }

    #[test]
    fn the_first_is_served_and_its_kind_goes_along() {
        let mut queue = BatchQueue::new();
        for one in [("a", 'x', 1), ("b", 'y', 1), ("c", 'x', 2), ("d", 'x', 1), ("e", 'y', 1)] {
            queue.push(one);
        }
        let batch = queue.take(|first, tiles| {
            assert_eq!((first.0, tiles), ("a", 4));
            3
        });
        assert_eq!(names(&batch), ["a", "c"]);
        assert_eq!(names(&queue.take(|_, tiles| tiles)), ["b", "e"]);
        assert_eq!(names(&queue.take(|_, _| 0)), ["d"], "the first one goes, however few are wanted");
        assert!(queue.take(|_, _| 9).is_empty());
    }

    #[test]
    fn one_of_a_rare_kind_is_not_overtaken_for_longer_than_a_round() {
        let mut queue = BatchQueue::new();
        let common = [("a", 'x', 1), ("b", 'x', 1), ("c", 'x', 1)];
        for one in [common[0], common[1], ("rare", 'y', 1), common[2]] {
            queue.push(one);
        }
        for round in 0..50 {
            // Everybody asks again as soon as it has been served.
            let batch = queue.take(|_, _| 2);
            if names(&batch) == ["rare"] {
                assert_eq!(round, 1);
                return;
            }
            batch.into_iter().for_each(|one| queue.push(one));
        }
        panic!("it was never served");
    }
}
