//! When a delivery is tried again, and when it has ended.

use std::time::Duration;

use crate::jobs::{DeliveryAttempt, DeliveryOutcome, DeliveryState};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Seconds to the next attempt after each that failed, as Standard Webhooks recommends. After the last one the delivery
/// has failed.
const RETRIES: [u64; 9] =
    [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];

/// What becomes of a delivery after an attempt, with `failures` before it. A redirect is a failure: the client that gave
/// the URL did not name where it leads.
pub(super) fn outcome(failures: u32, attempt: DeliveryAttempt) -> DeliveryOutcome {
    let ended = |state| (state, Duration::ZERO);
    let failed = || match RETRIES.get(failures as usize) {
        Some(seconds) => (DeliveryState::Pending, jittered(Duration::from_secs(*seconds), random())),
        None => ended(DeliveryState::Failed),
    };
    let (state, retry_after) = match attempt.status {
        Some(200..=299) => ended(DeliveryState::Delivered),
        Some(410) => ended(DeliveryState::Gone),
        _ => failed(),
    };
    let failures = failures + u32::from(matches!(state, DeliveryState::Pending | DeliveryState::Failed));
    DeliveryOutcome { state, retry_after, failures, attempt }
}

/// Up to a tenth more, so that what failed together does not come back together.
fn jittered(delay: Duration, share: f64) -> Duration {
    delay + delay.mul_f64(0.1 * share)
}

/// From 0 to 1. Without random numbers there is no jitter.
fn random() -> f64 {
    let mut bytes = [0; 4];
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(status: Option<u16>) -> DeliveryAttempt {
        DeliveryAttempt { at: 0, status, error: None, milliseconds: 1 }
    }

    #[test]
    fn a_receiver_that_fails_is_tried_for_days() {
        let (mut failures, mut delays) = (0, Vec::new());
        let last = loop {
            let outcome = outcome(failures, attempt(Some(500)));
            assert_eq!(outcome.failures, failures + 1);
            failures = outcome.failures;
            if outcome.state != DeliveryState::Pending {
                break outcome;
            }
            delays.push(outcome.retry_after.as_secs_f64());
        };
        assert_eq!((last.state, last.failures), (DeliveryState::Failed, 10));
        let expected = [5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0];
        assert_eq!(delays.len(), expected.len());
        for (delay, expected) in delays.iter().zip(expected) {
            assert!((expected..=expected * 1.1 + 1e-6).contains(delay), "{delay} after {expected}");
        }
        let hour = Duration::from_secs(3600);
        assert_eq!([jittered(hour, 0.0), jittered(hour, 1.0)].map(|delay| delay.as_secs()), [3600, 3960]);
    }

    #[test]
    fn success_and_410_end_a_delivery() {
        for (status, state) in [
            (Some(200), DeliveryState::Delivered),
            (Some(204), DeliveryState::Delivered),
            (Some(410), DeliveryState::Gone),
            (Some(302), DeliveryState::Pending),
            (Some(404), DeliveryState::Pending),
            (Some(429), DeliveryState::Pending),
            (None, DeliveryState::Pending),
        ] {
            assert_eq!(outcome(3, attempt(status)).state, state, "{status:?}");
        }
        assert_eq!(outcome(3, attempt(Some(200))).failures, 3);
    }
}
