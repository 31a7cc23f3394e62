//! Caches the result of a check for some seconds: however often it is requested, the check runs seldom.

use std::time::Duration;

use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

/// How long a result stays valid: a success, and a failure.
const MAX_AGE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1));

/// Time limit of a check: less than readiness waits.
pub const PROBE_TIME: Duration = Duration::from_millis(1500);

/// The last result and its time.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Option<(Instant, Result<(), String>)>>);

impl Recent {
    /// Returns the recent result, or else runs `probe`. With `now`, only a new result counts. One task runs
    /// the check, and the others wait for its result.
    ///
    /// # Errors
    /// The reason for the failure, in words.
    pub async fn ask(
        &self,
        now: bool,
        probe: impl Future<Output = Result<(), String>>,
    ) -> Result<(), String> {
        let mut last = self.0.lock().await;
        let good = |answer: &Result<(), String>| if answer.is_ok() { MAX_AGE.0 } else { MAX_AGE.1 };
        let fresh = last.take().filter(|(at, answer)| !now && at.elapsed() < good(answer));
        let (at, answer) = match fresh {
            Some(fresh) => fresh,
            None => {
                let answer = timeout(PROBE_TIME, probe).await;
                (Instant::now(), answer.unwrap_or_else(|_| Err("it does not answer in time".into())))
            }
        };
        *last = Some((at, answer.clone()));
        answer
    }
}
