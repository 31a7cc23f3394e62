//! The interface between the service and the engine: a [`Backend`] renders one request after another on a thread of its own,
//! and a [`Renderer`] hands requests to it and tells its [`Health`].
//!
//! Everything heavy is behind this file. The service sees no tensor, the engine no job and no HTTP; tests put backends in
//! that are out of memory or whose device is lost.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError},
    },
};

use tokio::sync::oneshot;

use crate::{CancelFlag, RenderError, RenderRequest, Unencoded, owned_thread::OwnedThread};

/// Renders. Made on the thread that it works on, and made anew after a panic.
pub trait Backend {
    /// Renders one dream, up to what is to be encoded.
    ///
    /// # Errors
    /// See [`RenderError`].
    fn render(&mut self, request: RenderRequest) -> Result<Unencoded, RenderError>;
}

impl<F: FnMut(RenderRequest) -> Result<Unencoded, RenderError>> Backend for F {
    fn render(&mut self, request: RenderRequest) -> Result<Unencoded, RenderError> {
        self(request)
    }
}

/// How a backend is, judged by its last render.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The last render succeeded, or failed because of its request.
    Well,
    /// The last render failed in a way that a broken device can cause: a render with a known result tells.
    Doubtful,
}

/// A handle to one render thread. Clones share the thread. The last handle cancels what is at work, and returns from `drop`
/// when the thread has ended.
#[derive(Clone)]
pub struct Renderer {
    thread: Arc<Thread>,
    device: String,
    /// Bytes of the device's own memory that it may take.
    memory: Option<u64>,
    shares_networks: bool,
    doubtful: Arc<AtomicBool>,
}

/// A request on its way to the thread, with the span it belongs to.
struct Task {
    request: RenderRequest,
    reply: oneshot::Sender<Result<Unencoded, RenderError>>,
    span: tracing::Span,
}

impl Renderer {
    /// Starts a render thread on `device` (a name) for the backend that `start` makes there, with room for `queue`
    /// requests in addition to the one at work.
    ///
    /// # Errors
    /// [`RenderError::Engine`] when the thread cannot be started.
    pub fn start_with<B: Backend>(
        device: String,
        queue: usize,
        start: impl Fn() -> B + Send + 'static,
    ) -> Result<Self, RenderError> {
        let doubtful = Arc::new(AtomicBool::new(false));
        let judged = Arc::clone(&doubtful);
        let (tasks, inbox) = std::sync::mpsc::sync_channel::<Task>(queue);
        let stop = Arc::new(Stop::default());
        let stopped = Arc::clone(&stop);
        let thread = OwnedThread::start("render", tasks, move || serve(&inbox, &stopped, &judged, start));
        let owned = thread
            .map_err(|error| RenderError::Engine(format!("the render thread cannot be started: {error}")))?;
        Ok(Self {
            thread: Arc::new(Thread { stop, owned }),
            device,
            memory: None,
            shares_networks: false,
            doubtful,
        })
    }

    /// Hands a request over without waiting; the receiver yields the outcome.
    ///
    /// # Errors
    /// [`RenderError::Busy`] when the channel is full, [`RenderError::Stopped`] when the thread is gone.
    pub fn submit(
        &self,
        request: RenderRequest,
    ) -> Result<oneshot::Receiver<Result<Unencoded, RenderError>>, RenderError> {
        let (reply, outcome) = oneshot::channel();
        let task = Task { request, reply, span: tracing::Span::current() };
        match self.thread.owned.inbox.try_send(task) {
            Ok(()) => Ok(outcome),
            Err(TrySendError::Full(_)) => Err(RenderError::Busy),
            Err(TrySendError::Disconnected(_)) => Err(RenderError::Stopped),
        }
    }

    /// How the backend is after its last render.
    pub fn health(&self) -> Health {
        if self.doubtful.load(Ordering::Relaxed) { Health::Doubtful } else { Health::Well }
    }

    /// The same, with so many bytes of the device's own memory.
    #[must_use]
    pub fn with_memory(self, memory: Option<u64>) -> Self {
        Self { memory, ..self }
    }

    /// Bytes of the device's own memory that this renderer may take; none for a CPU, which takes the machine's.
    pub fn memory(&self) -> Option<u64> {
        self.memory
    }

    /// The same, with networks that other renderers of the device use too.
    pub(crate) fn sharing_networks(self) -> Self {
        Self { shares_networks: true, ..self }
    }

    /// Whether other renderers of the device use the same networks.
    pub fn shares_networks(&self) -> bool {
        self.shares_networks
    }

    /// The device in use: `cpu` or `cuda:N`.
    pub fn device(&self) -> &str {
        &self.device
    }
}

/// A render thread, as its handles see it.
struct Thread {
    stop: Arc<Stop>,
    owned: OwnedThread<SyncSender<Task>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop.ask();
    }
}

/// How a thread is told to end while it renders.
#[derive(Default)]
struct Stop {
    asked: CancelFlag,
    /// Of the last render.
    at_work: Mutex<CancelFlag>,
}

impl Stop {
    fn at_work(&self) -> MutexGuard<'_, CancelFlag> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self) {
        self.asked.cancel();
        self.at_work().cancel();
    }

    /// A render begins; it is canceled at once if the thread is to end. Whichever of this and [`Self::ask`] locks second sees
    /// what the other did.
    fn begin(&self, render: &CancelFlag) {
        *self.at_work() = render.clone();
        if self.asked.is_canceled() {
            render.cancel();
        }
    }
}

/// The render thread: one request after another until the last handle is dropped.
fn serve<B: Backend>(inbox: &Receiver<Task>, stop: &Stop, doubtful: &AtomicBool, start: impl Fn() -> B) {
    let mut backend = start();
    while let Ok(Task { request, reply, span }) = inbox.recv() {
        let _entered = span.enter();
        stop.begin(&request.cancel);
        // A panic inside a dependency must cost one render, not the thread.
        let outcome = catch_unwind(AssertUnwindSafe(|| backend.render(request))).unwrap_or_else(|panic| {
            backend = start();
            Err(RenderError::of_panic(panic.as_ref()))
        });
        let doubt = outcome.as_ref().is_err_and(RenderError::may_be_the_devices);
        doubtful.store(doubt, Ordering::Relaxed);
        // The worker may have given the job up; then the result is of no use.
        let _ = reply.send(outcome);
    }
}
