//! A blob store that is away or full for a while is no fault of any job, and no reason to throw a finished dream away.

use tokio::time::{Duration, Instant, sleep};
use tracing::warn;

use super::{WorkerContext, run::AttemptError};
use crate::objects::ObjectError;
use reverie_engine::{CancelFlag, RenderError};

/// Between two tries, each of which has tried several times by itself.
const PAUSE: Duration = Duration::from_secs(1);

/// Does something with the store, again and again where the store cannot do it, for as long as a lease lasts; the
/// keeper renews it meanwhile. Beyond that another worker may have better luck. `bytes` is what the store has to have
/// room for.
pub(super) async fn insist<T, F: Future<Output = Result<T, ObjectError>>>(
    context: &WorkerContext,
    cancel: &CancelFlag,
    bytes: usize,
    step: impl Fn() -> F,
) -> Result<T, AttemptError> {
    let until = Instant::now() + context.lease;
    loop {
        let error = match step().await {
            Err(error) if error.is_down() || error.is_full() => error,
            ended => return Ok(ended?),
        };
        if cancel.is_canceled() {
            return Err(RenderError::Canceled.into());
        }
        if Instant::now() >= until {
            if error.is_full() || context.objects.check_now().await.is_err() {
                return Err(AttemptError::StoreAway { error, bytes });
            }
            // It answers, perhaps only since a moment ago: what fails even now, although the store answers, may be the
            // fault of this one blob.
            return match step().await {
                Err(error)
                    if error.is_full() || error.is_down() && context.objects.check_now().await.is_err() =>
                {
                    Err(AttemptError::StoreAway { error, bytes })
                }
                ended => Ok(ended?),
            };
        }
        warn!(%error, "the blob store fails; it is tried again");
        sleep(PAUSE).await;
    }
}
