//! The turns of very many tenants, kept for some milliseconds.
//!
//! To find whose turn it is costs a look at each tenant that waits. With a thousand of them that is more than all the rest of a claim. So a
//! process takes several turns from one such look, as long as it is young in proportion to what it cost. It counts its own claims on
//! it. What others do meanwhile, it sees with the next look. A job of a tenant that is not on it ends the look early, so that a
//! newcomer does not wait behind the whole crowd.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::jobs::{TenantOptions, row::Turn};

/// Up to this number of waiting tenants, each claim has a look of its own.
const FEW: usize = 64;

/// How long a look is used: a multiple of the time that it took, and at most so long. With a newcomer, as long as it took: then at most
/// half of the time goes into looks, however many come.
const AGE_PER_COST: u32 = 9;
const MOST_AGE: Duration = Duration::from_millis(100);

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct TurnCache {
    look: Mutex<Option<Look>>,
    /// Held while somebody looks.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Look {
    /// In the order in which they were last served, longest ago first.
    turns: Vec<Turn>,
    until: Instant,
    /// When it has been used for as long as it took.
    paid: Instant,
}

impl TurnCache {
    /// With very many tenants, waits until nobody else in this process looks.
    pub async fn looking(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let crowded = self.look().is_some();
        if crowded { Some(self.looking.lock().await) } else { None }
    }

    /// Keeps the turns that a look at the store gave, in their order, and which took so long, if they are very many.
    pub fn keep(&self, turns: &[Turn], took: Duration) -> bool {
        let now = Instant::now();
        let (until, paid) = (now + (took * AGE_PER_COST).min(MOST_AGE), now + took.min(MOST_AGE));
        let many = turns.len() > FEW;
        *self.look() = many.then(|| Look { turns: turns.to_vec(), until, paid });
        many
    }

    /// The next turn; `None` if a look is needed. The tenant counts as served.
    pub fn next(&self, options: &TenantOptions) -> Option<Turn> {
        let mut look = self.look();
        let Look { turns, .. } = look.as_mut().filter(|look| Instant::now() < look.until)?;
        let due = turns.iter().enumerate().filter(|(_, turn)| turn.is_due(options));
        // The first of those with the least load.
        let (place, _) =
            due.min_by(|(_, one), (_, other)| one.load(options).total_cmp(&other.load(options)))?;
        let turn = turns.remove(place);
        // Whoever was the last is it no more.
        turns.iter_mut().for_each(|other| other.is_last = false);
        turns.push(Turn { is_last: false, busy: turn.busy + 1, ..turn.clone() });
        Some(turn)
    }

    /// Notes that a tenant has a new job.
    pub fn came(&self, tenant: &str) {
        if let Some(look) =
            self.look().as_mut().filter(|look| look.turns.iter().all(|turn| turn.tenant != tenant))
        {
            look.until = look.until.min(look.paid);
        }
    }

    /// Takes a tenant out that has no job to be claimed.
    pub fn leave_out(&self, tenant: &str) {
        if let Some(look) = self.look().as_mut() {
            look.turns.retain(|turn| turn.tenant != tenant);
        }
    }

    /// No code panics while it holds the lock.
    fn look(&self) -> MutexGuard<'_, Option<Look>> {
        self.look.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_ends_a_look_and_nobody_else_does() {
        let turn = |number: usize| Turn { tenant: format!("t{number}"), is_last: false, busy: 0 };
        let crowd: Vec<Turn> = (0..=FEW).map(turn).collect();
        let (cache, options) = (TurnCache::default(), TenantOptions::default());
        let next = || cache.next(&options).map(|turn| turn.tenant);
        cache.keep(&crowd, Duration::from_secs(60));
        assert_eq!(next().as_deref(), Some("t0"));
        // It took nothing, so it is paid for at once; and then it is no longer used at all.
        cache.look().as_mut().unwrap().paid = Instant::now();
        cache.came("t7");
        assert_eq!(next().as_deref(), Some("t1"));
        cache.came("new");
        assert_eq!(next(), None);
        // With few tenants nothing is kept.
        cache.keep(&crowd[..FEW], Duration::from_secs(60));
        cache.came("new");
        assert_eq!(next(), None);
    }
}
