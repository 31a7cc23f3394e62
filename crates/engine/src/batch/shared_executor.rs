//! Networks that several renders on one device share: a thread runs them, and tiles that wait for the same kind of pass
//! go through it together, as inference servers do with requests.
//!
//! Decoding, stepping and encoding stay on the thread of each render, and overlap with the passes of others.

use std::{
    collections::{HashMap, hash_map::Entry},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use tch::{Device, Tensor};

use super::{
    super::{
        CancelFlag, RenderError,
        cuda::{self, GpuKernels},
        device::Processor,
        objective::{BoundObjective, TileObjective},
        owned_thread::OwnedThread,
    },
    GradientSource, LocalExecutor, NetworkKey,
    autotune::Autotuner,
    batch_queue::{BatchQueue, Waiting},
};
use reverie_dream::model::Model;
use reverie_graph::{Network, NodeId};

/// Batching window: this part of what the last pass took. In it come the requests of renders that are about to ask; it is
/// next to nothing where none does.
const WINDOW: u32 = 10;

/// The least batching window on the library path, where a pass has only been handed to the device when it returns.
const LEAST: Duration = Duration::from_millis(1);

/// The way to the thread that runs a device's networks. Clones share it; it ends with the last.
#[derive(Clone)]
pub(in super::super) struct SharedExecutor {
    thread: Arc<OwnedThread<Sender<Message>>>,
    processor: Processor,
    /// Renders that use a network now.
    renders: Arc<AtomicUsize>,
    /// Tiles of the largest pass so far, for the tests.
    #[cfg(test)]
    pub(super) largest: Arc<AtomicUsize>,
}

/// A network that others use too.
pub(in super::super) struct Shared {
    shared: SharedExecutor,
    key: NetworkKey,
    model: Arc<Model>,
    autotuner: Autotuner,
}

enum Message {
    /// A network will be needed. The answer says whether it had to be loaded, and what is known about batches.
    Load(NetworkKey, Arc<Model>, Sender<Result<(bool, Autotuner), RenderError>>),
    /// A pass is wanted.
    Pass(PassRequest),
    /// Activations of an image are wanted: once a render, so they wait for no other.
    Features(NetworkKey, Arc<Model>, Tensor, Vec<NodeId>, Sender<Result<Vec<Tensor>, RenderError>>),
}

/// What goes together: the network, its layers, and the tiles' size, `[H, W]`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kind {
    key: NetworkKey,
    layers: Vec<NodeId>,
    size: [i64; 2],
    /// Forward only, for scores at the end of a render.
    score: bool,
}

/// One render's tiles.
struct PassRequest {
    kind: Kind,
    model: Arc<Model>,
    bound: BoundObjective,
    whole: Option<Vec<f64>>,
    /// `[N, 3, H, W]`.
    tiles: Tensor,
    count: usize,
    cancel: CancelFlag,
    reply: Sender<Result<Answer, RenderError>>,
}

/// Scores, `[N]`, and gradients where they were asked for.
type Answer = (Tensor, Option<Tensor>);

impl SharedExecutor {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`RenderError::Engine`] where it cannot be started.
    pub(in super::super) fn start(processor: Processor) -> Result<Self, RenderError> {
        let (inbox, messages) = channel();
        let renders = Arc::new(AtomicUsize::new(0));
        #[cfg(test)]
        let largest = Arc::new(AtomicUsize::new(0));
        let thread = Thread {
            processor,
            messages,
            renders: Arc::clone(&renders),
            queue: BatchQueue::new(),
            networks: HashMap::new(),
            last: Duration::ZERO,
            #[cfg(test)]
            largest: Arc::clone(&largest),
        };
        let thread = OwnedThread::start("executor", inbox, move || thread.serve())
            .map_err(|error| RenderError::Engine(format!("a thread cannot be started: {error}")))?;
        Ok(Self {
            thread: Arc::new(thread),
            processor,
            renders,
            #[cfg(test)]
            largest,
        })
    }

    /// The network of `model`, and whether it was loaded just now.
    pub(in super::super) fn source(
        &self,
        model: &Arc<Model>,
        key: NetworkKey,
    ) -> Result<(Shared, bool), RenderError> {
        let (reply, answer) = channel();
        let message = Message::Load(key.clone(), Arc::clone(model), reply);
        self.thread.inbox.send(message).map_err(|_| RenderError::Stopped)?;
        let (fresh, autotuner) = answer.recv().map_err(|_| RenderError::Stopped)??;
        self.renders.fetch_add(1, Ordering::SeqCst);
        Ok((Shared { shared: self.clone(), key, model: Arc::clone(model), autotuner }, fresh))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.shared.renders.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn request(
        &self,
        tiles: Tensor,
        bound: &BoundObjective,
        whole: Option<&[f64]>,
        cancel: &CancelFlag,
        score: bool,
    ) -> Result<Answer, RenderError> {
        let (count, _, height, width) = tiles.size4()?;
        let (reply, answer) = channel();
        let layers = bound.layers().to_vec();
        let request = PassRequest {
            kind: Kind { key: self.key.clone(), layers, size: [height, width], score },
            model: Arc::clone(&self.model),
            bound: bound.clone(),
            whole: whole.map(<[f64]>::to_vec),
            tiles,
            count: usize::try_from(count).unwrap_or(0),
            cancel: cancel.clone(),
            reply,
        };
        self.shared.thread.inbox.send(Message::Pass(request)).map_err(|_| RenderError::Stopped)?;
        answer.recv().map_err(|_| RenderError::Stopped)?
    }
}

impl GradientSource for Shared {
    fn network(&self) -> &Network {
        &self.model.network
    }

    fn is_library(&self) -> bool {
        self.shared.processor.is_library()
    }

    fn gpu_kernels(&self) -> Option<GpuKernels> {
        self.shared.processor.gpu_kernels()
    }

    fn at_once(&self, bound: &BoundObjective, size: [i64; 2], tiles: usize) -> usize {
        if self.autotuner.is_fixed() {
            return self.autotuner.at_once(bound.layers(), size, tiles);
        }
        // A fair share: the others' tiles are to fill the rest.
        let renders = self.shared.renders.load(Ordering::SeqCst).max(1);
        self.autotuner.at_once(bound.layers(), size, tiles * renders).div_ceil(renders).min(tiles).max(1)
    }

    fn gradients(
        &self,
        tiles: Tensor,
        bound: &BoundObjective,
        whole: Option<&[f64]>,
        cancel: &CancelFlag,
    ) -> Result<(Tensor, Tensor), RenderError> {
        let (scores, gradients) = self.request(tiles, bound, whole, cancel, false)?;
        Ok((scores, gradients.ok_or_else(|| RenderError::Engine("a pass without gradients".into()))?))
    }

    fn scores(
        &self,
        tiles: Tensor,
        bound: &BoundObjective,
        cancel: &CancelFlag,
    ) -> Result<Tensor, RenderError> {
        Ok(self.request(tiles, bound, None, cancel, true)?.0)
    }

    fn features(&self, image: Tensor, layers: &[NodeId]) -> Result<Vec<Tensor>, RenderError> {
        let (reply, answer) = channel();
        let (key, model) = (self.key.clone(), Arc::clone(&self.model));
        let message = Message::Features(key, model, image, layers.to_vec(), reply);
        self.shared.thread.inbox.send(message).map_err(|_| RenderError::Stopped)?;
        answer.recv().map_err(|_| RenderError::Stopped)?
    }
}

impl Waiting for PassRequest {
    type Kind = Kind;

    fn kind(&self) -> &Kind {
        &self.kind
    }

    fn tiles(&self) -> usize {
        self.count
    }
}

/// What the thread owns.
struct Thread {
    processor: Processor,
    messages: Receiver<Message>,
    renders: Arc<AtomicUsize>,
    queue: BatchQueue<PassRequest>,
    networks: HashMap<NetworkKey, LocalExecutor>,
    /// How long the last pass took.
    last: Duration,
    #[cfg(test)]
    largest: Arc<AtomicUsize>,
}

impl Thread {
    /// Runs pass after pass until the last way to it is gone.
    fn serve(mut self) {
        if let Device::Cuda(index) = self.processor.device
            && let Err(error) = cuda::choose(index)
        {
            tracing::warn!(%error, "passes may not be recorded");
        }
        while self.collect_waiting() {
            let Self { queue, networks, .. } = &mut self;
            let batch = queue.take(|first, tiles| match networks.get(&first.kind.key) {
                Some(own) if own.autotuner().is_fixed() => own.autotuner().most(first.kind.size),
                Some(own) if !first.kind.score => {
                    own.autotuner().at_once(first.bound.layers(), first.kind.size, tiles)
                }
                _ => 1,
            });
            let (batch, canceled): (Vec<PassRequest>, Vec<PassRequest>) =
                batch.into_iter().partition(|request| !request.cancel.is_canceled());
            for request in canceled {
                // The render waits for the answer, unless it has ended: here and below, an answer that cannot be sent is dropped.
                let _ = request.reply.send(Err(RenderError::Canceled));
            }
            if !batch.is_empty() {
                let began = Instant::now();
                self.run(batch);
                self.last = began.elapsed();
            }
        }
    }

    /// Waits for a first request, and a moment longer for others that may follow; false when all renders have ended.
    fn collect_waiting(&mut self) -> bool {
        if self.queue.len() == 0 {
            match self.messages.recv() {
                Ok(message) => self.receive(message),
                Err(_) => return false,
            }
        }
        let least = if self.processor.is_library() { LEAST } else { Duration::ZERO };
        let until = Instant::now() + (self.last / WINDOW).max(least);
        loop {
            while let Ok(message) = self.messages.try_recv() {
                self.receive(message);
            }
            if self.queue.len() >= self.renders.load(Ordering::SeqCst) {
                return true;
            }
            match self.messages.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(message) => self.receive(message),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return true,
            }
        }
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Pass(request) => self.queue.push(request),
            Message::Features(key, model, image, layers, reply) => {
                let features = self.guarded(|thread| thread.network(&key, &model)?.features(image, &layers));
                let _ = reply.send(features);
            }
            Message::Load(key, model, reply) => {
                let fresh = !self.networks.contains_key(&key);
                let loaded = self.guarded(|thread| {
                    thread.network(&key, &model).map(|own| (fresh, own.autotuner().clone()))
                });
                let _ = reply.send(loaded);
            }
        }
    }

    fn network(&mut self, key: &NetworkKey, model: &Arc<Model>) -> Result<&LocalExecutor, RenderError> {
        Ok(match self.networks.entry(key.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(LocalExecutor::load(model, self.processor, key.precision)?),
        })
    }

    /// Computes a batch and answers its requests. A batch that fails is computed again, one request at a time: no render
    /// fails because of another.
    fn run(&mut self, batch: Vec<PassRequest>) {
        match self.guarded(|thread| thread.pass(&batch)) {
            Ok(answers) => {
                for (request, answer) in batch.into_iter().zip(answers) {
                    let _ = request.reply.send(Ok(answer));
                }
            }
            Err(error) if batch.len() > 1 => {
                tracing::warn!(%error, tiles = batch.len(), "a batch failed; its tiles are done one by one");
                batch.into_iter().for_each(|request| self.run(vec![request]));
            }
            Err(error) => {
                if let Some(request) = batch.into_iter().next() {
                    let _ = request.reply.send(Err(error));
                }
            }
        }
    }

    fn pass(&mut self, batch: &[PassRequest]) -> Result<Vec<Answer>, RenderError> {
        let Some(first) = batch.first() else { return Ok(Vec::new()) };
        let own = self.network(&first.kind.key, &first.model)?;
        if first.kind.score {
            let score = |request: &PassRequest| {
                Ok((own.scores(request.tiles.shallow_clone(), &request.bound, &request.cancel)?, None))
            };
            return batch.iter().map(score).collect();
        }
        let tile_objectives = batch.iter().flat_map(|request| {
            let whole = request.whole.as_deref();
            (0..request.count).map(move |tile| TileObjective { bound: &request.bound, whole, tile })
        });
        let tile_objectives: Vec<TileObjective<'_>> = tile_objectives.collect();
        let tiles: Vec<&Tensor> = batch.iter().map(|request| &request.tiles).collect();
        let (scores, gradients) = match tiles[..] {
            [tiles] => own.pass(tiles, &tile_objectives)?,
            _ => own.pass(&Tensor::f_cat(&tiles, 0)?, &tile_objectives)?,
        };
        #[cfg(test)]
        self.largest.fetch_max(tile_objectives.len(), Ordering::SeqCst);
        let mut next = 0;
        let answers = batch.iter().map(|request| {
            let (from, count) = (next, request.count as i64);
            next += count;
            Ok((scores.f_narrow(0, from, count)?, Some(gradients.f_narrow(0, from, count)?)))
        });
        answers.collect()
    }

    /// A panic inside a dependency must cost one pass, not the thread; networks are loaded anew after it.
    fn guarded<T>(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<T, RenderError>,
    ) -> Result<T, RenderError> {
        catch_unwind(AssertUnwindSafe(|| run(self))).unwrap_or_else(|panic| {
            self.networks.clear();
            Err(RenderError::of_panic(panic.as_ref()))
        })
    }
}
