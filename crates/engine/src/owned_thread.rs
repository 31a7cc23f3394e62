//! A thread that ends before its owner is gone. A process that exits while a thread is inside libtorch is killed by a signal:
//! the library's own data is destroyed under that thread.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// For so long an owner waits. A render checks before every pass whether it is canceled, and a pass takes seconds at most; a
/// device that hangs must not keep the process alive.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// A thread that serves what is sent to it, and ends when nothing more can come. Dropping this closes the way to it and waits.
pub(crate) struct OwnedThread<S> {
    /// The only sender to the thread. Fields are dropped in order: it is gone before the thread is waited for.
    pub(crate) inbox: S,
    _running: Running,
}

impl<S> OwnedThread<S> {
    /// Starts a thread of this name, which serves the other end of `inbox`.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn start(name: &str, inbox: S, serve: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (ending, ended) = channel();
        let join = thread::Builder::new().name(name.into()).spawn(move || {
            let _ending = ending;
            serve();
        })?;
        Ok(Self { inbox, _running: Running { ended: Mutex::new(ended), join: Some(join) } })
    }
}

/// A thread that is waited for when this is dropped.
struct Running {
    /// Says nothing; its other end goes with the thread.
    ended: Mutex<Receiver<()>>,
    join: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(join) = self.join.take() else { return };
        // What a request carries may hold the last handle; a thread cannot wait for itself.
        if join.thread().id() == thread::current().id() {
            return;
        }
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        match ended.recv_timeout(LAST_WAIT) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                // Only what libraries keep for the thread is left to be removed. A panic was reported where it happened.
                let _ = join.join();
            }
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!(thread = join.thread().name(), "a thread does not end; it is left behind");
            }
        }
    }
}
