//! Ctrl-C and its like: the render stops, and what was begun of the output goes.
//!
//! The first signal cancels the render, which stops after the tile at work; a second one ends the program at once.

use std::{
    fs, io,
    path::PathBuf,
    process::{self, ExitCode},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
        mpsc,
    },
};

use reverie_engine::CancelFlag;

/// Exit codes of programs that a signal ended are those of shells: 128 and the number of the signal.
#[cfg(unix)]
const SIGNAL: u8 = 128;

/// Whether somebody has asked the program to stop.
#[derive(Clone)]
pub(super) struct Stop {
    /// Set by the first signal.
    pub(super) cancel: CancelFlag,
    /// The exit code that it means; 0 before it.
    code: Arc<AtomicU8>,
    /// What goes when the program has to end at once.
    temporary: Arc<OnceLock<PathBuf>>,
}

impl Stop {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the system has no thread or no handler for it.
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
                // Nobody waits any more where the program has ended already.
                let _ = ready.send(Ok(()));
                code.store(signals.next().await, Ordering::Relaxed);
                cancel.cancel();
                let again = signals.next().await;
                if let Some(temporary) = temporary.get() {
                    // It may have been renamed already.
                    let _ = fs::remove_file(temporary);
                }
                process::exit(again.into());
            });
        };
        std::thread::Builder::new().name("signals".into()).spawn(listen)?;
        listening.recv().map_err(io::Error::other)??;
        Ok(stop)
    }

    /// Has `temporary` deleted if the program has to end at once.
    pub(super) fn deletes(&self, temporary: PathBuf) {
        // There is one output, so that nothing is there yet.
        let _ = self.temporary.set(temporary);
    }

    /// What to end with, if somebody has asked.
    pub(super) fn asked(&self) -> Option<ExitCode> {
        let code = self.code.load(Ordering::Relaxed);
        (code != 0).then(|| code.into())
    }
}

/// The signals that ask a program to end, but for those that whoever started it has had ignored, as `nohup` does.
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

    /// Waits for one; the exit code that it means.
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

/// A bit for each signal that is ignored, the first for signal 1, as Linux tells it (proc(5)); none elsewhere.
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
        // Where there is no handler, there is nothing to wait for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        130
    }
}
