//! The one source of time for everything that is stored or compared across processes.
//!
//! Leases, retries and timestamps use this clock instead of the system's, so a test can drive them through
//! minutes in no time. Durations inside one process (how long a render took) use [`std::time::Instant`] and
//! tokio's timers as usual.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use chrono::{DateTime, SecondsFormat};
use serde::{Serialize, Serializer};

/// Milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted; in the API an RFC 3339 string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Wraps a stored value.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The value to store.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Seconds from `earlier` to this time; 0 if the clock was set back in between.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0).max(0) as f64 / 1000.0
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_timestamp_millis(self.0) {
            Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true)),
            // Beyond the years of RFC 3339; only a damaged row contains such a value.
            None => write!(f, "@{}ms", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A clock. Clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    /// Milliseconds since 1970, advanced by hand.
    Driven(Arc<AtomicI64>),
    /// Another machine's clock: the time it showed at `began` of this process.
    Remote { began: Instant, then: Arc<AtomicI64> },
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands still at `start` until [`Clock::advance`] is called: for tests.
    pub fn driven(start: Timestamp) -> Self {
        Self(Source::Driven(Arc::new(AtomicI64::new(start.0))))
    }

    /// Another machine's clock, which shows `now`. Between two readings ([`Clock::set`]) it advances with
    /// this machine's monotonic time, so an error in this machine's clock does not matter.
    pub fn remote(now: Timestamp) -> Self {
        Self(Source::Remote { began: Instant::now(), then: Arc::new(AtomicI64::new(now.0)) })
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => system_now(),
            Source::Driven(millis) => Timestamp(millis.load(Ordering::SeqCst)),
            Source::Remote { began, then } => Timestamp(then.load(Ordering::SeqCst)) + began.elapsed(),
        }
    }

    /// The time of a clock driven by hand; `None` for others.
    pub fn by_hand(&self) -> Option<Timestamp> {
        matches!(self.0, Source::Driven(_)).then(|| self.now())
    }

    /// Sets the reading of a remote clock; ignored by others.
    pub fn set(&self, now: Timestamp) {
        if let Source::Remote { began, then } = &self.0 {
            then.store((now - began.elapsed()).0, Ordering::SeqCst);
        }
    }

    /// Advances a driven clock; ignored by others.
    pub fn advance(&self, by: Duration) {
        if let Source::Driven(now) = &self.0 {
            now.fetch_add(millis(by), Ordering::SeqCst);
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[allow(clippy::disallowed_methods, reason = "this is the clock that everything else asks")]
fn system_now() -> Timestamp {
    // A clock set before 1970 reads as 1970: times would be wrong either way, and nothing breaks.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(millis(since))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driven_clock_moves_only_when_told() {
        let clock = Clock::driven(Timestamp::from_millis(1_700_000_000_000));
        let copy = clock.clone();
        clock.advance(Duration::from_millis(1500));
        assert_eq!(copy.now().to_string(), "2023-11-14T22:13:21.500Z");
        let start = Timestamp::from_millis(1_700_000_000_000);
        assert!((copy.now().seconds_since(start) - 1.5).abs() < 1e-9);
        assert!(start.seconds_since(copy.now()).abs() < f64::EPSILON);
    }

    #[test]
    fn a_remote_clock_is_reckoned_from_the_last_look_at_it() {
        let hour = Duration::from_secs(3600);
        let there = Clock::system().now() + hour;
        let clock = Clock::remote(there);
        let copy = clock.clone();
        assert!(copy.now() >= there && copy.now() < there + hour);
        clock.set(there - hour - hour);
        assert!(copy.now() >= there - hour - hour && copy.now() < there);
        assert!(copy.now() <= copy.now());
        clock.advance(hour);
        assert!(copy.now() < there, "only a look moves it");
        assert_eq!((clock.by_hand(), Clock::system().by_hand()), (None, None));
        assert_eq!(Clock::driven(there).by_hand(), Some(there));
    }
}
