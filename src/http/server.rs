//! A listener and its connections: like `axum::serve`, with limits for slow clients.
//!
//! A client that opens a connection and sends nothing, or requests a file and does not read it, holds a file
//! descriptor and memory. This module closes both kinds; `http::body_limits` handles a body that stops
//! arriving.

use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo, serve::Listener};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;
use tracing::{debug, warn};

use super::{connections::Connections, tls::Tls};

/// Maximum size of a request's head in bytes; a larger one gets 431.
const MAX_HEAD: usize = 64 * 1024;

/// Response to a client beyond the connection limit. A few bytes fit into the buffer of any new socket.
const NO_CONNECTION: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 158\r\n\r\n\
    {\"type\":\"urn:reverie:problem:unavailable\",\"title\":\"Not available\",\"status\":503,\
    \"detail\":\"too many connections are open; close some, or try again in a moment\"}";

/// Time limits for clients.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the head of a request, including the wait before its first byte, and for a TLS handshake.
    pub keep_alive: Duration,
    /// For reading a piece of the response.
    pub write: Duration,
}

/// How a listener treats its clients.
#[derive(Clone)]
pub struct Terms {
    /// Time limits.
    pub timeouts: Timeouts,
    /// How many connections there may be.
    pub connections: Connections,
    /// The certificate; `None` for plain HTTP.
    pub tls: Option<Tls>,
}

/// Serves until `stop`, then finishes the open responses. Handlers find the peer's address in
/// `ConnectInfo<SocketAddr>`.
pub async fn serve(mut listener: TcpListener, router: Router, terms: Terms, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = stop.cancelled() => break,
        };
        let Some(counted) = terms.connections.open(peer.ip()) else {
            debug!(%peer, "refused a connection beyond the limit");
            // A client that speaks TLS could not read it.
            if terms.tls.is_none() {
                let _ = stream.try_write(NO_CONNECTION);
            }
            continue;
        };
        // Responses are short: send each as soon as it is written.
        if let Err(error) = stream.set_nodelay(true) {
            warn!(%error, "a connection could not be set up");
        }
        let serving = connection(stream, peer, router.clone(), terms.clone(), stop.clone());
        connections.spawn(async move {
            let _counted = counted;
            serving.await;
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Serves one connection, after a handshake where there is a certificate.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    Terms { timeouts, tls, .. }: Terms,
    stop: CancellationToken,
) {
    let stream = WriteTimeout::new(stream, timeouts.write);
    let Some(tls) = tls else {
        return requests(stream, peer, router, timeouts, stop).await;
    };
    let accepted = tokio::select! {
        accepted = timeout(timeouts.keep_alive, tls.accept(stream)) => accepted,
        () = stop.cancelled() => return,
    };
    match accepted {
        Ok(Ok(stream)) => requests(stream, peer, router, timeouts, stop).await,
        Ok(Err(error)) => debug!(%peer, %error, "a TLS handshake failed"),
        Err(_) => debug!(%peer, "a TLS handshake took too long"),
    }
}

/// Serves request after request.
async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    router: Router,
    timeouts: Timeouts,
    stop: CancellationToken,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.keep_alive)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // Clients often disconnect; that is not worth a warning.
        debug!(%peer, %error, "a connection ended early");
    }
}

/// A stream that fails if a write blocks for too long.
struct WriteTimeout {
    stream: TcpStream,
    write_timeout: Duration,
    /// Runs while a write is pending.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl WriteTimeout {
    fn new(stream: TcpStream, write_timeout: Duration) -> Self {
        Self { stream, write_timeout, waiting: None }
    }

    /// Passes on the outcome of a write, and times a pending one.
    fn timed<T>(&mut self, outcome: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waiting = None;
            return outcome;
        }
        let write_timeout = self.write_timeout;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(write_timeout)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for WriteTimeout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for WriteTimeout {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.timed(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.timed(outcome, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
        self.timed(outcome, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_too_many_is_told_in_whole_sentences() {
        let text = std::str::from_utf8(NO_CONNECTION).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{} bytes", body.len());
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["status"], 503);
    }
}
