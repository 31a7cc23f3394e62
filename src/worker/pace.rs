//! How long a dream takes here, learned from the ones that were finished: what `Retry-After` and the
//! estimated time of a queued job are made of.

use std::sync::{Mutex, PoisonError};

/// Assumed before the first dream is finished, in seconds.
const FIRST_GUESS: f64 = 10.0;

/// Weight of the newest dream: the last handful decides, so that a change of habits shows soon.
const NEWEST: f64 = 0.25;

/// Running mean of the seconds from claim to end.
#[derive(Debug)]
pub struct Pace(Mutex<f64>);

impl Pace {
    /// Starts from what an earlier process left in the store.
    pub fn new(known: Option<f64>) -> Self {
        Self(Mutex::new(known.unwrap_or(FIRST_GUESS)))
    }

    /// Learns from one finished dream.
    pub fn learn(&self, seconds: f64) {
        let mut mean = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *mean += NEWEST * (seconds - *mean);
    }

    /// Seconds per dream.
    pub fn seconds(&self) -> f64 {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds until `jobs` jobs are done by `workers` workers: whole seconds, at least 1, at most an hour.
    pub fn wait(&self, jobs: u64, workers: usize) -> u64 {
        let seconds = jobs as f64 * self.seconds() / workers.max(1) as f64;
        seconds.ceil().clamp(1.0, 3600.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_grows_with_the_queue_and_stays_sane() {
        let pace = Pace::new(Some(2.0));
        assert_eq!(pace.wait(0, 1), 1);
        assert_eq!(pace.wait(5, 1), 10);
        assert_eq!(pace.wait(5, 4), 3);
        assert_eq!(pace.wait(5, 0), 10);
        assert_eq!(pace.wait(1_000_000, 1), 3600);
        pace.learn(6.0);
        assert!((pace.seconds() - 3.0).abs() < 1e-9);
    }
}
