//! Handles Ctrl-C and similar signals for the commands that render: the render stops, and the unfinished output is deleted.
//!
//! The first signal cancels the render, which stops after the current tile; a second one ends the program at
//! once.

use std::{
    fs, io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
        mpsc,
    },
};

use reverie_engine::CancelFlag;

use super::ExitCode;

/// A program ended by a signal returns 128 plus the signal's number, as shells do.
#[cfg(unix)]
const SIGNAL: u8 = 128;

/// Whether the program was asked to stop.
#[derive(Clone)]
pub(super) struct Stop {
    /// Set by the first signal.
    pub(super) cancel: CancelFlag,
    /// The exit code of that signal; 0 before it.
    code: Arc<AtomicU8>,
    /// The file to delete if the program has to end at once.
    temporary: Arc<Mutex<Option<PathBuf>>>,
}

impl Stop {
    /// Starts to listen.
    ///
    /// # Errors
    /// If the system provides no thread or no handler.
    pub(super) fn listen() -> io::Result<Self> {
        let stop = Self { cancel: CancelFlag::default(), code: Arc::default(), temporary: Arc::default() };
        let Self { cancel, code, temporary } = stop.clone();
        let (ready, listening) = mpsc::channel();
        let listen = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            runtime.block_on(async {
                let mut signals = match Signals::new() {
                    Ok(signals) => signals,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                // If the program has already ended, there is no receiver.
                let _ = ready.send(Ok(()));
                code.store(signals.next().await, Ordering::Relaxed);
                cancel.cancel();
                let again = signals.next().await;
                if let Some(temporary) = &*temporary.lock().unwrap_or_else(PoisonError::into_inner) {
                    // The file may already have been renamed.
                    let _ = fs::remove_file(temporary);
                }
                ExitCode::from(again).end();
            });
        };
        std::thread::Builder::new().name("signals".into()).spawn(listen)?;
        listening.recv().map_err(io::Error::other)??;
        Ok(stop)
    }

    /// The file to delete if the program has to end at once, instead of the one before.
    pub(super) fn deletes(&self, temporary: Option<PathBuf>) {
        *self.temporary.lock().unwrap_or_else(PoisonError::into_inner) = temporary;
    }

    /// The exit code, if the program was asked to stop.
    pub(super) fn asked(&self) -> Option<ExitCode> {
        let code = self.code.load(Ordering::Relaxed);
        (code != 0).then(|| code.into())
    }
}

/// The signals that ask a program to end, except those that its parent made it ignore, as `nohup` does.
#[cfg(unix)]
struct Signals(Vec<(u8, tokio::signal::unix::Signal)>);

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let ignored = ignored();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].into_iter();
        let wanted = kinds.filter(|kind| ignored >> (kind.as_raw_value() - 1) & 1 == 0);
        let signals = wanted.map(|kind| Ok((SIGNAL + kind.as_raw_value() as u8, signal(kind)?)));
        Ok(Self(signals.collect::<io::Result<_>>()?))
    }

    /// Waits for a signal; returns its exit code.
    async fn next(&mut self) -> u8 {
        std::future::poll_fn(|context| {
            let mut arrived = self.0.iter_mut().filter_map(|(code, signal)| {
                matches!(signal.poll_recv(context), std::task::Poll::Ready(Some(()))).then_some(*code)
            });
            arrived.next().map_or(std::task::Poll::Pending, std::task::Poll::Ready)
        })
        .await
    }
}

/// A bit for each ignored signal, the lowest for signal 1, as in Linux's proc(5); 0 elsewhere.
#[cfg(unix)]
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> u8 {
        // Without a handler there is nothing to wait for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        130
    }
}
