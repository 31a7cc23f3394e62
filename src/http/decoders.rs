//! Limits the memory for decoding uploads. A decoded image is many times the size of its file, so the limit
//! counts bytes, not images.

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::config::LimitsConfig;

/// Bytes per permit.
const UNIT: u64 = 64 * 1024;

const MEGABYTE: u64 = 1_000_000;

/// A budget of bytes. Clones share it.
#[derive(Clone, Debug)]
pub struct Decoders {
    budget: Arc<Semaphore>,
    units: u32,
}

impl Decoders {
    /// The configured budget, or a quarter of `memory`, the process's memory limit in bytes.
    pub fn new(limits: &LimitsConfig, memory: u64) -> Self {
        let bytes = match limits.max_decode_mb {
            0 => memory / 4,
            megabytes => megabytes.saturating_mul(MEGABYTE),
        };
        let most = u64::from(u32::MAX).min(Semaphore::MAX_PERMITS as u64);
        let units = (bytes / UNIT).clamp(1, most) as u32;
        Self { budget: Arc::new(Semaphore::new(units as usize)), units }
    }

    /// Waits until `bytes` are free, and holds them until the permit is dropped. A request beyond the whole
    /// budget waits for the whole budget, and then runs alone.
    ///
    /// # Errors
    /// None in practice: the budget is never closed.
    pub async fn reserve(&self, bytes: u64) -> Result<OwnedSemaphorePermit, AcquireError> {
        let units = bytes.div_ceil(UNIT).clamp(1, self.units.into()) as u32;
        Arc::clone(&self.budget).acquire_many_owned(units).await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn pictures_share_a_budget_of_bytes() {
        let limits = LimitsConfig { max_decode_mb: 10, ..LimitsConfig::default() };
        let decoders = Decoders::new(&limits, 0);
        let small: Vec<_> = (0..4).map(|_| decoders.reserve(2_000_000).now_or_never()).collect();
        assert!(small.iter().all(Option::is_some), "four of two megabytes fit into ten");
        assert!(decoders.reserve(3_000_000).now_or_never().is_none());
        // A request larger than the budget runs alone, instead of waiting for ever.
        assert!(decoders.reserve(50_000_000).now_or_never().is_none());
        drop(small);
        let large = decoders.reserve(50_000_000).now_or_never();
        assert!(large.is_some_and(|held| held.is_ok()));
        let quarter = Decoders::new(&LimitsConfig::default(), 40 * MEGABYTE);
        assert_eq!(u64::from(quarter.units), 10 * MEGABYTE / UNIT);
    }
}
