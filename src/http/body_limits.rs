//! A body that is counted while it streams in, and got rid of where it is refused.
//!
//! It may not be longer than the limit, not take more memory than there is for uploads, and not come more slowly than
//! [`LEAST_RATE`]: a client that sends a byte a second would hold its connection and what it has sent for ever.
//!
//! A client that is refused while it is still sending would see a broken connection instead of the answer,
//! because closing a socket with unread data resets it (RFC 9112, section 9.6): what is left of the body is
//! therefore read and thrown away, within bounds, while the answer is already on its way.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderMap, header},
};
use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::{
    error::ApiError,
    uploads::{NoRoom, Share},
};

/// A client that sends nothing for so long has gone, or never meant to finish.
const IDLE: Duration = Duration::from_secs(30);

/// Bytes per second that a body must come with on the average, once [`GRACE`] is over.
const LEAST_RATE: usize = 16 * 1024;

/// Bytes that are handed over at a stretch.
const BURST: usize = 256 * 1024;

/// How long a body may be slower.
const GRACE: Duration = Duration::from_secs(10);

/// How much of a refused body is read, in multiples of the limit, and for how long.
const DRAIN_FACTOR: usize = 4;
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// The body stopped short; [`MeteredBody::refusal`] says why.
#[derive(Debug, thiserror::Error)]
#[error("the body ended early")]
pub(super) struct EndedEarly;

/// A body that counts itself and gives up on slow clients.
pub(super) struct MeteredBody {
    stream: BodyDataStream,
    /// Bytes allowed.
    pub limit: usize,
    /// The memory that the body takes; none for one that is thrown away.
    pub share: Option<Share>,
    /// Bytes of memory for a byte of the body.
    pub weight: usize,
    taken: usize,
    /// Bytes since the reader was last made to wait.
    burst: usize,
    began: Instant,
    /// When the body is too slow, or has stopped.
    due: Pin<Box<Sleep>>,
    /// Why the body ended before its end.
    pub refusal: Option<ApiError>,
    ended: bool,
}

impl MeteredBody {
    /// Starts counting.
    pub fn new(body: Body, limit: usize) -> Self {
        Self {
            stream: body.into_data_stream(),
            limit,
            share: None,
            weight: 1,
            taken: 0,
            burst: 0,
            began: Instant::now(),
            due: Box::pin(sleep(GRACE)),
            refusal: None,
            ended: false,
        }
    }

    /// Counts a piece that has arrived.
    ///
    /// # Errors
    /// What stands against taking it.
    fn account(&mut self, piece: &Bytes) -> Result<(), ApiError> {
        self.taken += piece.len();
        if self.taken > self.limit {
            return Err(ApiError::TooLarge { limit: self.limit });
        }
        if let Some(share) = &mut self.share {
            share.grow(piece.len() * self.weight).map_err(|NoRoom| ApiError::TooManyUploads)?;
        }
        // What has come buys time for what is to come.
        let paid = Duration::from_secs_f64(self.taken as f64 / LEAST_RATE as f64);
        let due = (self.began + GRACE + paid).min(Instant::now() + IDLE);
        self.due.as_mut().reset(due);
        Ok(())
    }

    /// Ends the body with the reason for it.
    fn refuse(&mut self, refusal: ApiError) -> Poll<Option<Result<Bytes, EndedEarly>>> {
        self.refusal = Some(refusal);
        Poll::Ready(Some(Err(EndedEarly)))
    }

    /// Reads what is left in the background and throws it away.
    pub fn drain(mut self, headers: &HeaderMap) {
        // A client that waits for "100 Continue" has sent nothing, and reading would ask it to.
        let waits = headers.contains_key(header::EXPECT) && self.taken == 0;
        // What has arrived already needs no task; neither does a body that is not there.
        while !self.ended && !waits {
            match self.stream.next().now_or_never() {
                Some(Some(Ok(_))) => {}
                Some(_) => self.ended = true,
                None => break,
            }
        }
        if self.ended || waits {
            return;
        }
        let mut left = self.limit.saturating_mul(DRAIN_FACTOR);
        tokio::spawn(async move {
            let rest = async {
                while let Some(Ok(piece)) = self.stream.next().await {
                    left = left.saturating_sub(piece.len());
                    if left == 0 {
                        break;
                    }
                }
            };
            // Whoever has not finished by now gets the reset after all.
            let _ = timeout(DRAIN_TIME, rest).await;
        });
    }
}

impl Stream for MeteredBody {
    type Item = Result<Bytes, EndedEarly>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.refusal.is_some() || self.ended {
            return Poll::Ready(None);
        }
        // A parser that reads as long as there is something would hold its thread, and the body twice.
        if self.burst >= BURST {
            self.burst = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.stream.poll_next_unpin(context) {
            Poll::Ready(Some(Ok(piece))) => {
                if let Err(refusal) = self.account(&piece) {
                    return self.refuse(refusal);
                }
                self.burst += piece.len();
                Poll::Ready(Some(Ok(piece)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.ended = true;
                self.refuse(ApiError::Malformed(format!("the body broke off: {error}")))
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => match self.due.as_mut().poll(context) {
                Poll::Ready(()) => {
                    self.refuse(ApiError::TooSlow { least: LEAST_RATE, grace: GRACE.as_secs() })
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }
}
