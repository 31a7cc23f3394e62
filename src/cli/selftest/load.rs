//! What the self-test renders: pictures that are the same everywhere, one dream after the other or several at once.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::Failure;
use reverie_dream::{
    model::{Catalogue, Model},
    plan,
    spec::{self, Encoding, Format, InputKind},
};
use reverie_engine::{RenderOptions, RenderRequest, Rendered, Renderer};
use reverie_picture::{Picture, Samples};

/// Dreams of one load.
pub(super) const DREAMS: usize = 16;

/// Their sizes, height and width, in turn.
const SIZES: [[u32; 2]; 4] = [[1024, 1024], [359, 640], [600, 800], [512, 512]];

/// Octaves of every dream.
const OCTAVES: usize = 4;

/// Factor on the edges of pictures with `--quick`.
const QUICK: u32 = 4;

/// Pixels of the largest picture, and more.
pub(super) const MAX_PIXELS: u64 = 1 << 24;

/// Soft waves with grain, as a PNG file.
pub(super) fn picture([height, width]: [u32; 2], seed: u32, quick: bool) -> Result<Bytes, Failure> {
    let [height, width] = [height, width].map(|edge| if quick { edge / QUICK } else { edge });
    let mut grain = seed.wrapping_mul(2_654_435_761).wrapping_add(width * 40_503 + height);
    let mut rgb = Vec::with_capacity(3 * (height * width) as usize);
    for y in 0..height {
        for x in 0..width {
            grain = grain.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            for color in 0..3 {
                let phase = f64::from(seed + color);
                let across = (f64::from(x) * (0.011 + 0.007 * f64::from(color)) + phase).sin();
                let down = (f64::from(y) * (0.013 + 0.005 * f64::from(color)) - phase).cos();
                rgb.push((128.0 + 50.0 * (across + down) + f64::from(grain >> 28) - 8.0) as u8);
            }
        }
    }
    let picture = Picture { width, height, rgb: Samples::Eight(rgb), alpha: None };
    let png = Encoding { format: Format::Png, quality: 90, lossless: true };
    Ok(Bytes::from(picture.encode(png)?))
}

/// What is dreamed with.
pub(super) struct Subject<'a> {
    pub(super) catalogue: &'a Catalogue,
    pub(super) model: Arc<Model>,
    pub(super) quick: bool,
}

impl Subject<'_> {
    /// A dream of `picture` in four octaves of ten steps, with `fields`.
    pub(super) fn request(&self, picture: &Bytes, fields: Value) -> Result<RenderRequest, Failure> {
        // As always, so that figures of different versions compare.
        let mut all = json!({
            "model": self.model.id, "seed": 1, "octaves": OCTAVES, "iterations": 10, "preserve_colors": false, "max_edge": 0,
        });
        if self.quick {
            all["iterations"] = json!(2);
        }
        if let (Value::Object(all), Value::Object(fields)) = (&mut all, fields) {
            all.extend(fields);
        }
        let spec = spec::resolve("", all, self.catalogue, InputKind::Image);
        let spec = spec.map_err(|mistakes| {
            mistakes.iter().map(|mistake| mistake.detail.clone()).collect::<Vec<_>>().join("; ")
        })?;
        Ok(RenderRequest {
            input: Some(picture.clone()),
            ..RenderRequest::alone(Arc::clone(&self.model), spec)
        })
    }
}

/// Gradient steps of a dream.
pub(super) fn steps(request: &RenderRequest) -> f64 {
    (0..OCTAVES).map(|octave| f64::from(plan::steps(&request.spec, octave))).sum()
}

/// Renders one dream.
pub(super) fn finish(renderer: &Renderer, request: RenderRequest) -> Result<Rendered, Failure> {
    Ok(renderer.submit(request)?.blocking_recv().map_err(|_| "the renderer has stopped")??.encode()?)
}

/// How dreams are spread over renderers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// One after the other.
    One,
    /// Over so many renderers, each with its own networks.
    Several(usize),
    /// Over so many renderers that share passes: `worker.dynamic_batching`.
    Together(usize),
}

impl Load {
    /// Seconds for all dreams, when every size has been met before.
    pub(super) fn run(self, options: &RenderOptions, subject: &Subject<'_>) -> Result<f64, Failure> {
        let count = match self {
            Self::One => 1,
            Self::Several(count) | Self::Together(count) => count,
        };
        let options = &RenderOptions { sharing: count, ..options.clone() };
        let renderers = match self {
            Self::Together(count) => Renderer::start_batched(options, count)?,
            _ => (0..count).map(|_| Renderer::start(options)).collect::<Result<Vec<_>, _>>()?,
        };
        let pictures = (0..SIZES.len()).map(|index| picture(SIZES[index], 1 + index as u32, subject.quick));
        let pictures = pictures.collect::<Result<Vec<_>, _>>()?;
        // Every renderer meets every size.
        let each = || -> Result<Queue, Failure> {
            let requests = pictures.iter().map(|picture| subject.request(picture, json!({})));
            Ok(Mutex::new(requests.collect::<Result<_, _>>()?))
        };
        let own = renderers.iter().map(|_| each()).collect::<Result<Vec<_>, _>>()?;
        spread(&renderers.iter().zip(&own).collect::<Vec<_>>())?;
        let requests = (0..DREAMS).map(|index| subject.request(&pictures[index % pictures.len()], json!({})));
        let shared: Queue = Mutex::new(requests.collect::<Result<_, _>>()?);
        let began = Instant::now();
        spread(&renderers.iter().map(|renderer| (renderer, &shared)).collect::<Vec<_>>())?;
        Ok(began.elapsed().as_secs_f64())
    }
}

/// Requests that are still to be rendered.
type Queue = Mutex<VecDeque<RenderRequest>>;

/// Has every renderer take from its queue until that is empty, all at the same time.
fn spread(work: &[(&Renderer, &Queue)]) -> Result<(), Failure> {
    let drain = |renderer: &Renderer, queue: &Queue| -> Result<(), String> {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(request) = next else { return Ok(()) };
            finish(renderer, request).map_err(|error| error.to_string())?;
        }
    };
    std::thread::scope(|scope| {
        let workers = work.iter().map(|(renderer, queue)| scope.spawn(move || drain(renderer, queue)));
        // All begin before the first is waited for.
        workers.collect::<Vec<_>>().into_iter().try_for_each(joined)
    })
}

fn joined(worker: std::thread::ScopedJoinHandle<'_, Result<(), String>>) -> Result<(), Failure> {
    Ok(worker.join().map_err(|_| "a thread of the test panicked")??)
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One => f.write_str("one worker"),
            Self::Several(count) => write!(f, "{count} workers"),
            Self::Together(count) => write!(f, "{count} workers that share passes"),
        }
    }
}
