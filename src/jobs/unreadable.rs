//! Jobs that this version cannot read: a newer one has written them, and works beside this one or did so before.
//!
//! They are somebody else's. They are stepped over in lists, are not claimed again by this process, and each is told of
//! once.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tracing::warn;

use super::QueueError;

/// Ids that are kept of either kind: beyond that, jobs are told of again and again, and claims meet them again and
/// again, once per look.
const KEPT: usize = 4096;

#[derive(Debug, Default)]
struct Known {
    /// Told of.
    told: HashSet<String>,
    /// Not to be claimed.
    left: HashSet<String>,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Unreadable(Mutex<Known>);

impl Unreadable {
    /// What was read of a row, or nothing where it cannot be read here.
    ///
    /// # Errors
    /// When it was not the row's fault.
    pub(super) fn skip<T>(&self, read: Result<T, QueueError>) -> Result<Option<T>, QueueError> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(QueueError::Corrupt { id, problem }) => {
                self.tell(id, &problem);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Leaves a job that was claimed to others from now on.
    pub(super) fn leave(&self, id: String, problem: &str) {
        let mut known = self.known();
        if known.left.len() < KEPT {
            known.left.insert(id.clone());
        }
        drop(known);
        self.tell(id, problem);
    }

    /// The jobs that are left to others.
    pub(super) fn left(&self) -> Vec<String> {
        self.known().left.iter().cloned().collect()
    }

    fn tell(&self, id: String, problem: &str) {
        let mut known = self.known();
        if known.told.contains(&id) {
            return;
        }
        warn!(job = id, problem, "a job cannot be read by this version; it is left to a newer one");
        if known.told.len() < KEPT {
            known.told.insert(id);
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
        assert!(unreadable.left().is_empty(), "a list has nothing to do with claims");
        let failed = Err::<(), _>(QueueError::Store(sqlx::Error::PoolTimedOut));
        assert!(unreadable.skip(failed).is_err());
        unreadable.leave("a".into(), "new");
        assert_eq!(unreadable.left(), ["a"]);
    }
}
