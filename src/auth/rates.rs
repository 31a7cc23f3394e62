//! Requests per second of each tenant, as this process counts them (GCRA, by the crate `governor`).

use std::{num::NonZeroU32, time::Duration};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
};

use crate::keys::Tenant;

type Limiter = DefaultKeyedRateLimiter<Tenant, StateInformationMiddleware>;

/// See the module's description.
pub struct Rates {
    /// The limit, and what counts; none without a limit.
    limiter: Option<(u32, Limiter)>,
    clock: DefaultClock,
}

/// What a tenant has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Requests per second.
    pub limit: u32,
    /// Requests that it may send at once now.
    pub remaining: u32,
    /// Time until it may send the next one; zero if it may now.
    pub wait: Duration,
}

impl Rates {
    /// Allows each tenant this many requests per second, and as many at once; any number for `None`.
    pub fn new(per_second: Option<u32>) -> Self {
        let limit = per_second.and_then(NonZeroU32::new);
        let limiter = limit.map(|limit| {
            let limiter = RateLimiter::keyed(Quota::per_second(limit));
            (limit.get(), limiter.with_middleware::<StateInformationMiddleware>())
        });
        Self { limiter, clock: DefaultClock::default() }
    }

    /// Counts a request. `None` without a limit.
    ///
    /// # Errors
    /// The used-up allowance, if the request comes too early.
    pub fn count(&self, tenant: &Tenant) -> Result<Option<Allowance>, Allowance> {
        let Some((limit, limiter)) = &self.limiter else { return Ok(None) };
        match limiter.check_key(tenant) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                Ok(Some(Allowance { limit: *limit, remaining, wait: Duration::ZERO }))
            }
            Err(early) => {
                let wait = early.wait_time_from(self.clock.now());
                Err(Allowance { limit: *limit, remaining: 0, wait })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_has_an_allowance_of_its_own() {
        let rates = Rates::new(Some(3));
        let (one, other): (Tenant, Tenant) = ("one".parse().unwrap(), "other".parse().unwrap());
        for remaining in [2, 1, 0] {
            let allowance = rates.count(&one).unwrap().unwrap();
            assert_eq!((allowance.limit, allowance.remaining), (3, remaining));
        }
        let used_up = rates.count(&one).unwrap_err();
        assert!(used_up.remaining == 0 && used_up.wait > Duration::ZERO, "{used_up:?}");
        assert!(used_up.wait <= Duration::from_millis(334), "{used_up:?}");
        assert_eq!(rates.count(&other).unwrap().unwrap().remaining, 2);
        assert_eq!(Rates::new(None).count(&one), Ok(None));
    }
}
