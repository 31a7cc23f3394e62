//! Retries on an unavailable or full blob store. That is no job's fault, and no reason to throw away a
//! finished dream.

use std::time::Duration;

use backon::{ConstantBuilder, Retryable};
use tokio::time::Instant;
use tracing::warn;

use super::{WorkerContext, error::AttemptError};
use crate::objects::ObjectError;
use reverie_engine::{CancelFlag, RenderError};

/// Delay between two tries; each try has already retried several times by itself.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs an operation on the blob store. If the store is unavailable or full, retries each second for the
/// duration of a lease, while the heartbeat renews the lease. After that, another worker may have better
/// luck. `bytes` is the room that the operation needs.
pub(super) async fn retry_while_away<T, F: Future<Output = Result<T, ObjectError>>>(
    context: &WorkerContext,
    cancel: &CancelFlag,
    bytes: usize,
    step: impl Fn() -> F,
) -> Result<T, AttemptError> {
    let away = |error: &ObjectError| error.is_down() || error.is_full();
    let every_second = ConstantBuilder::new().with_delay(PAUSE).without_max_times();
    let end = Instant::now() + context.lease;
    let error = match (&step)
        .retry(every_second)
        .when(|error| away(error) && !cancel.is_canceled() && Instant::now() < end)
        .notify(|error, _| warn!(%error, "the blob store fails; trying again"))
        .await
    {
        Err(error) if away(&error) => error,
        ended => return Ok(ended?),
    };
    if cancel.is_canceled() {
        return Err(RenderError::Canceled.into());
    }
    if error.is_full() || context.objects.check_now().await.is_err() {
        return Err(AttemptError::StoreAway { error, bytes });
    }
    // The store answers, perhaps only since a moment ago: an error now may be the fault of this one blob.
    match step().await {
        Err(error) if error.is_full() || error.is_down() && context.objects.check_now().await.is_err() => {
            Err(AttemptError::StoreAway { error, bytes })
        }
        ended => Ok(ended?),
    }
}
