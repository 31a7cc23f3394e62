//! An answer that may be some seconds old: however many ask, the one who is asked is bothered seldom.

use std::time::Duration;

use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

/// How long an answer is good for, when it was yes and when it was no.
const FRESH: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1));

/// A question is given up after this time, which is less than readiness waits.
pub const PROBE_TIME: Duration = Duration::from_millis(1500);

/// The last answer and its age.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Option<(Instant, Result<(), String>)>>);

impl Recent {
    /// What was answered a moment ago, else what `probe` answers. Where it has to be `now`, a moment ago does not count.
    /// One asks, the others wait for what it hears.
    ///
    /// # Errors
    /// The reason why not, in words.
    pub async fn ask(
        &self,
        now: bool,
        probe: impl Future<Output = Result<(), String>>,
    ) -> Result<(), String> {
        let mut last = self.0.lock().await;
        let good = |answer: &Result<(), String>| if answer.is_ok() { FRESH.0 } else { FRESH.1 };
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
