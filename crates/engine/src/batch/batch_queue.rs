//! Who is next, and who goes along: the order in which renders that share a network are served.
//!
//! Whoever has waited longest is always served, and those of the same kind go along in the order in which they came. A
//! render waits for the answer before it asks again, so each has at most one place in the line, and none can wait for
//! longer than one pass of every other.

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

/// Those who wait, first come first.
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

    /// The next batch; empty where nobody waits. `at_once` says how many tiles it shall have at the most, given who is
    /// first and how many tiles of that kind wait; whoever is first goes in any case.
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
        let mut line = BatchQueue::new();
        for one in [("a", 'x', 1), ("b", 'y', 1), ("c", 'x', 2), ("d", 'x', 1), ("e", 'y', 1)] {
            line.push(one);
        }
        let batch = line.take(|first, tiles| {
            assert_eq!((first.0, tiles), ("a", 4));
            3
        });
        assert_eq!(names(&batch), ["a", "c"]);
        assert_eq!(names(&line.take(|_, tiles| tiles)), ["b", "e"]);
        assert_eq!(names(&line.take(|_, _| 0)), ["d"], "whoever is first goes, however few are wanted");
        assert!(line.take(|_, _| 9).is_empty());
    }

    #[test]
    fn one_of_a_rare_kind_is_not_overtaken_for_longer_than_a_round() {
        let mut line = BatchQueue::new();
        let common = [("a", 'x', 1), ("b", 'x', 1), ("c", 'x', 1)];
        for one in [common[0], common[1], ("rare", 'y', 1), common[2]] {
            line.push(one);
        }
        for round in 0..50 {
            // Everybody asks again as soon as it has been served.
            let batch = line.take(|_, _| 2);
            if names(&batch) == ["rare"] {
                assert_eq!(round, 1);
                return;
            }
            batch.into_iter().for_each(|one| line.push(one));
        }
        panic!("it was never served");
    }
}
