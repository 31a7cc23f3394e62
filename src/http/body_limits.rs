//! Limits a request body while it streams in, and drains it after a refusal.
//!
//! A body may not exceed the size limit, not take more memory than uploads may, and not arrive more slowly
//! than `LEAST_RATE`: a client that sends a byte a second would hold its connection and its memory for
//! ever.
//!
//! If the server refuses a request and closes the connection while the client still sends, the client sees a
//! reset instead of the response, because closing a socket with unread data resets it (RFC 9112, section
//! 9.6). So the server reads and discards the rest of the body, within bounds, while the response is already
//! on its way.

use std::{
    net::IpAddr,
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
use tokio::{
    sync::Semaphore,
    time::{Instant, Sleep, sleep, timeout},
};

use super::{
    digests::Promised,
    error::ApiError,
    uploads::{NoRoom, Share, Uploads},
};

/// Limits of a body.
#[derive(Clone, Debug)]
pub struct BodyLimits {
    /// Maximum size of the body in bytes.
    pub body: usize,
    /// Maximum size of its JSON in bytes, not counting data URIs.
    pub json: usize,
    /// The memory for all bodies.
    pub uploads: Uploads,
    /// Address of the client, if known.
    pub client: Option<IpAddr>,
}

/// A client that sends nothing for this long is gone, or never meant to finish.
const IDLE: Duration = Duration::from_secs(30);

/// Minimum average rate of a body in bytes per second, after [`GRACE`].
const LEAST_RATE: usize = 16 * 1024;

/// Number of bytes handed over before the task yields.
const BURST: usize = 256 * 1024;

/// How long a body may be slower.
const GRACE: Duration = Duration::from_secs(10);

/// How much of a refused body is read, in multiples of the limit, and for how long.
const DRAIN_FACTOR: usize = 4;
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Refused bodies that are read at the same time.
static DRAINS: Semaphore = Semaphore::const_new(8);

/// The body ended early; [`MeteredBody::refusal`] has the reason.
#[derive(Debug, thiserror::Error)]
#[error("the body ended early")]
pub(super) struct EndedEarly;

/// A body that counts its bytes and rejects slow clients.
pub(super) struct MeteredBody {
    stream: BodyDataStream,
    /// Maximum number of bytes.
    pub limit: usize,
    /// The memory that the body takes; `None` for a discarded body.
    pub share: Option<Share>,
    /// What the client says of its content.
    pub promised: Promised,
    /// Bytes of memory per byte of the body.
    pub weight: usize,
    taken: usize,
    /// Bytes since the reader last yielded.
    burst: usize,
    began: Instant,
    /// When the body counts as too slow or stopped.
    due: Pin<Box<Sleep>>,
    /// Why the body was refused.
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
            promised: Promised::default(),
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
    /// The reason to refuse the piece.
    fn account(&mut self, piece: &Bytes) -> Result<(), ApiError> {
        self.taken += piece.len();
        if self.taken > self.limit {
            return Err(ApiError::TooLarge { limit: self.limit });
        }
        if let Some(share) = &mut self.share {
            share.grow(piece.len() * self.weight).map_err(|NoRoom| ApiError::TooManyUploads)?;
        }
        self.promised.update(piece);
        // Received bytes earn time for the next ones.
        let paid = Duration::from_secs_f64(self.taken as f64 / LEAST_RATE as f64);
        let due = (self.began + GRACE + paid).min(Instant::now() + IDLE);
        self.due.as_mut().reset(due);
        Ok(())
    }

    /// Compares the body with what the client promised. Reads the rest first: a form ends before its body does.
    ///
    /// # Errors
    /// [`ApiError::Malformed`], or why the rest cannot be read.
    pub async fn verify(&mut self) -> Result<(), ApiError> {
        if !self.promised.is_any() {
            return Ok(());
        }
        while self.next().await.is_some() {}
        match self.refusal.take() {
            Some(refusal) => Err(refusal),
            None => std::mem::take(&mut self.promised).check(),
        }
    }

    /// Ends the body with a refusal.
    fn refuse(&mut self, refusal: ApiError) -> Poll<Option<Result<Bytes, EndedEarly>>> {
        self.refusal = Some(refusal);
        Poll::Ready(Some(Err(EndedEarly)))
    }

    /// Reads the rest in the background and discards it.
    pub fn drain(mut self, headers: &HeaderMap) {
        // A client that waits for "100 Continue" has sent nothing, and reading would ask it to send.
        let waits = headers.contains_key(header::EXPECT) && self.taken == 0;
        // Bytes that have already arrived need no task; neither does an empty body.
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
        // Reading for nothing costs as much as reading: many refused bodies at once are an attack, and cut off.
        let Ok(drain) = DRAINS.try_acquire() else { return };
        let mut left = self.limit.saturating_mul(DRAIN_FACTOR);
        tokio::spawn(async move {
            let _drain = drain;
            let rest = async {
                while let Some(Ok(piece)) = self.stream.next().await {
                    left = left.saturating_sub(piece.len());
                    if left == 0 {
                        break;
                    }
                }
            };
            // A client that has not finished by now gets the reset after all.
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
        // Without a yield, a parser that reads while data is available would hold its thread, and the body
        // twice.
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
                self.refuse(ApiError::Malformed(format!("the body ended early: {error}")))
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
