//! How many tiles of one size are worth computing at once: found by trying, on work that has to be done anyway. On the
//! library path it is a rule instead, so that the same job has the same batches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use reverie_dream::plan;
use reverie_graph::NodeId;

/// Passes that are timed with each number of tiles, after a first one that has kernels to choose and weights to pack;
/// the fastest counts.
const TRIES: u32 = 3;

/// Kinds of pass that are remembered; beyond that all is found out anew. Pictures come in any size.
const SIZES: usize = 4096;

/// Sizes in a row that may fail to pay before the search ends. One may be chance, or two tiles still too few for the
/// threads.
const MAX_MISSES: u32 = 2;

/// A larger batch has to take so much less time per tile: less is noise, and a batch takes memory.
const GAIN: f64 = 0.95;

/// By the layers that are wanted and the size of the tiles, `[H, W]`.
type Known = HashMap<(Vec<NodeId>, [i64; 2]), Trial>;

/// What is known about passes of a network; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Autotuner {
    known: Arc<Mutex<Known>>,
    /// Pixels of all tiles in a pass, at the most. On the CPU that is part of the [plan](plan::Plan::memory).
    room: i64,
    /// Whether to fill the room rather than to try.
    fixed: bool,
}

impl Autotuner {
    /// For the library path, or for loops of our own.
    pub(super) fn new(library: bool) -> Self {
        let room = if library { plan::LIBRARY_BATCH } else { plan::BATCH };
        Self { known: Arc::default(), room, fixed: library }
    }

    /// For a GPU with so many bytes of memory.
    pub(super) fn of_gpu(memory: u64) -> Self {
        Self { room: plan::batch_within(memory), ..Self::new(true) }
    }

    /// Whether the answer depends on the question alone.
    pub(super) fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// How many tiles a pass may hold.
    pub(super) fn most(&self, size: [i64; 2]) -> usize {
        plan::held(self.room, size)
    }

    /// How many tiles to compute next, of so many that there are.
    pub(super) fn at_once(&self, layers: &[NodeId], size: [i64; 2], tiles: usize) -> usize {
        let room = self.most(size);
        if self.fixed {
            // Batches of one size where that is possible: a GPU plans anew for every size that it meets.
            return tiles.div_ceil(tiles.div_ceil(room).max(1)).max(1);
        }
        let known = self.known();
        let trial = known.get(&(layers.to_vec(), size));
        trial.map_or(1, |trial| trial.at_once(tiles.min(room)))
    }

    /// Learns that so many tiles took so long together.
    pub(super) fn note(&self, layers: &[NodeId], size: [i64; 2], tiles: usize, seconds: f64) {
        if self.fixed {
            return;
        }
        let mut known = self.known();
        if known.len() >= SIZES {
            known.clear();
        }
        known.entry((layers.to_vec(), size)).or_default().note(tiles, seconds);
    }

    /// Learns that so many tiles failed together: more than one may not fit the memory of the device. What fails alone
    /// says nothing about batches.
    pub(super) fn fail(&self, layers: &[NodeId], size: [i64; 2], tiles: usize) {
        if tiles > 1
            && let Some(trial) = self.known().get_mut(&(layers.to_vec(), size))
        {
            trial.best = trial.best.min(tiles / 2).max(1);
            trial.trying = None;
        }
    }

    /// No code panics while it holds the lock.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The search for one kind of pass: twice as many tiles each time, until that has not paid for a while.
#[derive(Debug)]
struct Trial {
    best: usize,
    /// Seconds per tile.
    best_seconds: f64,
    /// None once it has ended.
    trying: Option<usize>,
    /// How often in a row it has not paid.
    missed: u32,
    timed: u32,
    /// Seconds per tile of what is tried, the least so far.
    fastest: f64,
}

impl Default for Trial {
    fn default() -> Self {
        Self {
            best: 1,
            best_seconds: f64::INFINITY,
            trying: Some(1),
            missed: 0,
            timed: 0,
            fastest: f64::INFINITY,
        }
    }
}

impl Trial {
    /// How many tiles to compute next, of so many that there are or may be held.
    fn at_once(&self, tiles: usize) -> usize {
        match self.trying {
            Some(trying) if trying <= tiles => trying,
            _ => self.best.min(tiles).max(1),
        }
    }

    /// Learns that so many tiles took so long together.
    fn note(&mut self, tiles: usize, seconds: f64) {
        // What others had left may be fewer than were wanted.
        if !self.trying.is_some_and(|trying| tiles == trying || (self.best < tiles && tiles < trying)) {
            return;
        }
        self.timed += 1;
        if self.timed == 1 {
            return;
        }
        self.fastest = self.fastest.min(seconds / tiles as f64);
        if self.timed <= TRIES {
            return;
        }
        if self.fastest < self.best_seconds * GAIN {
            (self.best, self.best_seconds, self.missed) = (tiles, self.fastest, 0);
        } else {
            self.missed += 1;
        }
        self.trying = (self.missed < MAX_MISSES).then_some(2 * tiles);
        (self.timed, self.fastest) = (0, f64::INFINITY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries until nothing changes any more, where `n` tiles take `seconds(n)`.
    fn settle(tiles: usize, seconds: impl Fn(usize) -> f64) -> usize {
        let mut trial = Trial::default();
        for _ in 0..100 {
            let n = trial.at_once(tiles);
            trial.note(n, seconds(n));
        }
        trial.at_once(tiles)
    }

    #[test]
    fn batches_grow_for_as_long_as_that_pays() {
        // Nothing to share.
        assert_eq!(settle(64, |n| n as f64), 1);
        // As much for the pass as for a tile: 4 take 1.25 each, 8 take 1.125, 16 take 1.06, 32 would take 1.03.
        assert_eq!(settle(64, |n| n as f64 + 1.0), 16);
        assert_eq!(settle(64, |_| 1.0), 64);
        // Two are still too few.
        assert_eq!(settle(64, |n| if n > 2 { 0.5 * n as f64 } else { n as f64 }), 4);
        // Too large for a cache from 5 tiles on.
        assert_eq!(settle(64, |n| if n > 4 { 3.0 * n as f64 } else { 1.0 + n as f64 }), 4);
        assert_eq!(settle(5, |_| 1.0), 4);
        assert_eq!(settle(1, |_| 1.0), 1);
        assert_eq!(settle(0, |_| 1.0), 1);
    }

    #[test]
    fn the_first_pass_and_a_disturbed_one_do_not_count() {
        let mut trial = Trial::default();
        for seconds in [90.0, 1.0, 50.0, 1.0] {
            assert_eq!(trial.at_once(2), 1);
            trial.note(1, seconds);
        }
        // Other numbers of tiles say nothing about this one.
        trial.note(1, 0.001);
        for seconds in [90.0, 9.0, 1.0, 9.0] {
            assert_eq!(trial.at_once(2), 2);
            trial.note(2, seconds);
        }
        assert_eq!(trial.at_once(2), 2);
    }

    #[test]
    fn on_the_library_path_batches_go_by_count_and_size_alone() {
        let autotuner = Autotuner::new(true);
        let layers = [NodeId(1)];
        let at_once = |size, tiles| autotuner.at_once(&layers, size, tiles);
        assert_eq!([1, 9, 16, 17, 40].map(|tiles| at_once([512, 512], tiles)), [1, 9, 16, 9, 14]);
        assert_eq!((at_once([4096, 4096], 7), at_once([64, 64], 0)), (1, 1));
        for (tiles, seconds) in [(1, 1.0), (1, 1.0), (1, 1.0), (1, 1.0), (9, 90.0)] {
            autotuner.note(&layers, [512, 512], tiles, seconds);
        }
        autotuner.fail(&layers, [512, 512], 9);
        assert_eq!(at_once([512, 512], 9), 9, "neither time nor failure changes it");
    }

    #[test]
    fn a_batch_that_failed_is_not_tried_again_and_a_tile_that_failed_changes_nothing() {
        let autotuner = Autotuner::new(false);
        let (layers, size) = ([NodeId(1)], [8, 8]);
        let pass = |tiles| autotuner.note(&layers, size, tiles, 1.0);
        let at_once = || autotuner.at_once(&layers, size, 64);
        (0..4).for_each(|_| pass(1));
        autotuner.fail(&layers, size, 1);
        assert_eq!(at_once(), 2);
        (0..4).for_each(|_| pass(2));
        assert_eq!(at_once(), 4);
        autotuner.fail(&layers, size, 4);
        (0..9).for_each(|_| pass(at_once()));
        assert_eq!(at_once(), 2);
    }
}
