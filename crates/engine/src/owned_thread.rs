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

/// For so long an owner waits. Whoever computes looks before every pass whether to stop, and a pass takes seconds at most; a
/// device that hangs must not keep the process alive.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// A thread that is waited for when this is dropped. By then it must have been told to end, as by dropping the sender of its
/// requests: a field that stands before this one.
pub(crate) struct OwnedThread {
    /// Says nothing; its other end goes with the thread.
    ended: Mutex<Receiver<()>>,
    join: Option<JoinHandle<()>>,
}

impl OwnedThread {
    /// Starts a thread of this name.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (ending, ended) = channel();
        let join = thread::Builder::new().name(name.into()).spawn(move || {
            let _ending = ending;
            run();
        })?;
        Ok(Self { ended: Mutex::new(ended), join: Some(join) })
    }
}

impl Drop for OwnedThread {
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
