//! Jobs that this version cannot read because a newer version wrote them. That version runs beside this one,
//! or ran before.
//!
//! Those jobs belong to the newer version. Lists skip them, this process never claims them again, and it logs
//! each one once.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tracing::warn;

use super::QueueError;

/// Ids kept per set. Beyond that, a job is logged repeatedly, and each poll for work meets it again.
const KEPT: usize = 4096;

#[derive(Debug, Default)]
struct Known {
    /// Already logged.
    logged: HashSet<String>,
    /// Not to be claimed.
    excluded: HashSet<String>,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Unreadable(Mutex<Known>);

impl Unreadable {
    /// Returns the value read from a row, or `None` if this version cannot read the row.
    ///
    /// # Errors
    /// Any error that is not caused by the row.
    pub(super) fn skip<T>(&self, read: Result<T, QueueError>) -> Result<Option<T>, QueueError> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(QueueError::Corrupt { id, problem }) => {
                self.log(id, &problem);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Excludes a claimed job from later claims of this process; a newer version takes it. Returns whether it
    /// is excluded from now on: not if it was already, or if there are too many.
    pub(super) fn leave(&self, id: String, problem: &str) -> bool {
        let mut known = self.known();
        let excluded = known.excluded.len() < KEPT && known.excluded.insert(id.clone());
        drop(known);
        self.log(id, problem);
        excluded
    }

    /// The jobs that this process does not claim.
    pub(super) fn left(&self) -> Vec<String> {
        self.known().excluded.iter().cloned().collect()
    }

    fn log(&self, id: String, problem: &str) {
        let mut known = self.known();
        if known.logged.contains(&id) {
            return;
        }
        warn!(job = id, problem, "this version cannot read a job; it is left to a newer version");
        if known.logged.len() < KEPT {
            known.logged.insert(id);
        }
    }

    /// No code panics while it holds the lock.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_stepped_over_and_other_failures_are_not() {
        let unreadable = Unreadable::default();
        let corrupt = || Err::<(), _>(QueueError::Corrupt { id: "a".into(), problem: "new".into() });
        assert!(matches!(unreadable.skip(corrupt()), Ok(None)));
        assert!(unreadable.left().is_empty(), "skipping a row in a list must not exclude it from claims");
        let failed = Err::<(), _>(QueueError::Store(sqlx::Error::PoolTimedOut));
        assert!(unreadable.skip(failed).is_err());
        assert!(unreadable.leave("a".into(), "new"));
        assert!(!unreadable.leave("a".into(), "new"), "it was excluded before");
        assert_eq!(unreadable.left(), ["a"]);
    }
}
