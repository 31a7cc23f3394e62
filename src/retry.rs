//! Retries with growing delays, for what may be just starting: a database server, a bucket.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use tokio::time::Instant;

/// Delay between two tries: the first, and the maximum.
const DELAYS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Tries again while `may_pass` says that an error may go away, and while another try fits into `timeout`. Each error that is
/// followed by another try is given to `report`.
///
/// # Errors
/// The last one.
pub async fn retry_with_backoff<T, E, F: Future<Output = Result<T, E>>>(
    timeout: Duration,
    attempt: impl FnMut() -> F,
    may_pass: impl Fn(&E) -> bool,
    report: impl Fn(&E),
) -> Result<T, E> {
    let (first, longest) = DELAYS;
    let backoff = ExponentialBuilder::new().with_min_delay(first).with_max_delay(longest).without_max_times();
    let end = Instant::now() + timeout;
    attempt
        .retry(backoff)
        .when(|error| may_pass(error))
        .adjust(|_, delay| delay.filter(|delay| Instant::now() + *delay <= end))
        .notify(|error, _| report(error))
        .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn tries_go_on_until_they_succeed_or_the_error_stays() {
        let tries = Cell::new(0);
        let third = || {
            tries.set(tries.get() + 1);
            std::future::ready(if tries.get() < 3 { Err("away") } else { Ok(tries.get()) })
        };
        let reported = Cell::new(0);
        let report = |_: &&str| reported.set(reported.get() + 1);
        let found = retry_with_backoff(Duration::from_secs(60), third, |_| true, report).await;
        assert_eq!((found, reported.get()), (Ok(3), 2));
        let refused = || std::future::ready(Err::<(), _>("refused"));
        let found = retry_with_backoff(Duration::from_secs(60), refused, |_| false, |_| {}).await;
        assert_eq!(found, Err("refused"));
    }

    #[tokio::test]
    async fn no_delay_ends_after_the_timeout() {
        let tries = Cell::new(0);
        let never = || {
            tries.set(tries.get() + 1);
            std::future::ready(Err::<(), _>("away"))
        };
        let found = retry_with_backoff(Duration::from_millis(100), never, |_| true, |_| {}).await;
        assert_eq!((found, tries.get()), (Err("away"), 1));
    }
}
