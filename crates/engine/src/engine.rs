//! One render, from pictures, which may be decoded already, to one that is to be encoded; and the networks that the render
//! thread keeps for it.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Instant,
};

use tch::{Device, Tensor};

use super::{
    Backend, CancelFlag, Recipe, RenderError, RenderRequest, Unencoded,
    batch::{GradientSource, LocalExecutor, NetworkKey, SharedExecutor},
    beside::Beside,
    checkpoint::{Checkpoint, FrameCheckpoint, Snapshot, made_with, opened},
    decoded::Digests,
    device::{self, Processor},
    dream::{Callbacks, Dreamed, Fitted, Previews, Start, dream, first_octave, within_memory},
    finish,
    input::{self, Input},
    motion::{Animated, Film, FilmCallbacks},
    notes::{Outcome, notes},
    objective::BoundObjective,
    picks, precision,
    reports::{Followers, Origin, small},
    resample::Rows,
    stages::{Binder, Stages},
    tiles::TiledGradient,
    unencoded::Shown,
};
use reverie_dream::{
    model::Model,
    spec::{DreamSpec, Objective, Precision},
};
use reverie_picture::{self as picture, Animation};

/// Renders requests on one device.
pub(super) struct Engine {
    processor: Processor,
    networks: Networks,
    /// Whether to find out where the time goes.
    profile: bool,
    /// Largest input and octave, in pixels.
    max_pixels: u64,
}

/// Where networks run.
enum Networks {
    /// On this thread.
    Local(HashMap<NetworkKey, LocalExecutor>),
    /// On one that other renders use too.
    Shared(SharedExecutor),
}

/// A network for one render.
enum Source<'a> {
    LocalExecutor(&'a LocalExecutor),
    Shared(Box<dyn GradientSource>),
}

impl Source<'_> {
    fn source(&self) -> &dyn GradientSource {
        match self {
            Self::LocalExecutor(own) => *own,
            Self::Shared(shared) => shared.as_ref(),
        }
    }
}

impl Engine {
    /// On one device; networks run on `shared`, if there is one.
    pub(super) fn new(
        processor: Processor,
        profile: bool,
        max_pixels: u64,
        shared: Option<SharedExecutor>,
    ) -> Self {
        let networks = shared.map_or_else(|| Networks::Local(HashMap::new()), Networks::Shared);
        Self { processor, networks, profile, max_pixels }
    }
}

impl Backend for Engine {
    /// Decodes what is not decoded yet, dreams, and takes the dream off the device.
    fn render(&mut self, mut request: RenderRequest) -> Result<Unencoded, RenderError> {
        let (watched, device, max_pixels) = (self.profile, self.processor.device, self.max_pixels);
        if request.cancel.is_canceled() {
            return Err(RenderError::Canceled);
        }
        // Before all frames are dreamed that nothing could write.
        picture::can_write(request.spec.format)?;
        request.decode(max_pixels)?;
        let decoded = request.decoded.take().ok_or(RenderError::NoInput)?;
        // First, and only what was made of it is kept: it takes little memory beside the image.
        let guide = decoded.guide.map(|guide| input::guide(&guide, device)).transpose()?;
        let input = Input::new(&request.spec, decoded.input, decoded.mask, device)?;
        let precision = precision::resolve(request.spec.precision, device)?;
        let mut resume = Resume::of(&mut request, precision, device)?;
        let mut recipe =
            request.spec.recipe.then(|| self::recipe(&request, decoded.digests, device, precision));
        let spec = &request.spec;
        let (network, fresh) = self.network(&request.model, precision)?;
        let source = network.source();
        let cancel = &request.cancel;
        let binder = Binder { source, input: &input, guide, device, max_pixels, cancel };
        let (objectives, mut chosen) = binder.settled(spec)?;
        let bound = binder.bound(&objectives)?;
        let mut stages = Stages::new(binder, spec, objectives, request.on_begin.as_mut())?;
        let tiled = |spec: &DreamSpec| TiledGradient::new(source, &bound, spec, cancel);
        if fresh {
            match tiled(spec).warm_up(&input.original) {
                // The dream will do with less.
                Ok(()) | Err(RenderError::OutOfMemory(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if watched {
            source.watch();
        }
        let started = Instant::now();
        let (on_progress, on_octave) = (&mut request.on_progress, &mut request.on_octave);
        let sink = &mut request.on_preview;
        // A second try begins at the start: a checkpoint is of the tiles that it was made with.
        let asked = RefCell::new(stages.asked());
        let Fitted { dreamed, tile_size } = within_memory(spec, |spec| {
            stages.restart();
            let on_begin = &mut |place: u32, of: u32| {
                let begun = stages.begin(place, of)?;
                *asked.borrow_mut() = stages.asked();
                Ok(begun)
            };
            let origin = |place: u32| Origin {
                precision,
                made_with: made_with(&asked.borrow(), spec.tile_size, place),
            };
            let on_octave = on_octave.as_deref_mut();
            match &spec.motion {
                None => {
                    let tiled = tiled(spec);
                    let start = Start {
                        original: &input.original,
                        mask: input.mask.as_ref(),
                        frame: 0,
                        resume: resume.octave.take(),
                    };
                    let followed = on_octave.is_some();
                    let every = sink.as_ref().map(|sink| sink.every);
                    let on_preview = sink.as_mut().map(|sink| &mut *sink.on_preview);
                    let followers = Followers { on_octave, on_preview };
                    let (dreamed, _) = Beside::run(tiled.is_library(), followers, |beside| {
                        let on_octave = &mut |octaves: u32, checkpoint: &Checkpoint| {
                            if !followed {
                                return Ok(());
                            }
                            let finished = Snapshot::of(checkpoint.octave, &checkpoint.image)?;
                            let (shown, origin) = (small(&checkpoint.image)?, origin(finished.place()));
                            beside.hand(move |followers: &mut Followers<'_>| {
                                followers.octave(octaves, &finished, &shown, origin)
                            })
                        };
                        let show = &mut |octave: u32, image: &Tensor| {
                            let shown = small(image)?;
                            beside
                                .offer(move |followers: &mut Followers<'_>| followers.preview(octave, &shown))
                        };
                        let previews = every.map(|every| Previews { every, show });
                        let callbacks = Callbacks { on_begin, on_progress, on_octave, previews };
                        dream(&tiled, spec, start, max_pixels, callbacks)
                    })?;
                    Ok((dreamed, tiled, None))
                }
                Some(motion) => {
                    let callbacks = FilmCallbacks { on_begin, on_progress, origin: &origin, on_octave };
                    let film = Film { motion, input: &input, max_pixels };
                    let Animated { dreamed, tiled, animation } =
                        film.dream(spec, tiled, resume.frame.take(), callbacks)?;
                    Ok((dreamed, tiled, Some(animation)))
                }
            }
        })?;
        let (Dreamed { image: dreamed, octaves, idle, callback_time }, tiled, animation) = dreamed;
        let render_seconds = started.elapsed().as_secs_f64();
        let profile = source.watched(render_seconds)?;
        let last = stages.last().map(|stage| {
            let spec = DreamSpec { tile_size, ..stage.spec.clone() };
            tiled.changed(stage.bound.clone(), &spec)
        });
        let score = last.as_ref().unwrap_or(&tiled).score(&dreamed)?;
        drop(last);
        let (schedule, of_changes) = stages.into_schedule();
        chosen.extend(of_changes);
        if let Some(recipe) = &mut recipe {
            (recipe.spec.tile_size, recipe.spec.schedule) = (tile_size, schedule);
            // Changes on the way may have done without the guide.
            recipe.guide_sha256 = recipe.guide_sha256.take().filter(|_| recipe.spec.follows_guide());
        }
        // Those who share it need not wait for this render any more.
        drop(network);
        let dreamed = input.restore_size(dreamed)?;
        let sizes = [input.sent, input.original.extent()?, dreamed.extent()?];
        let transparent = input.alpha.is_some();
        let outcome = Outcome { octaves, idle, score, tile_size, sizes, transparent };
        let mut notes = notes(spec, input.mask.as_ref(), &outcome)?;
        notes.extend(chosen);
        let (height, width) = dreamed.extent()?;
        let text = recipe.map(|recipe| serde_json::to_string(&recipe)).transpose();
        Ok(Unencoded {
            shown: shown(spec, input, &dreamed, animation)?,
            size: spec.format.size(width as u32, height as u32),
            recipe: text.map_err(|error| RenderError::Engine(error.to_string()))?,
            cancel: request.cancel,
            score,
            notes,
            render_seconds,
            callback_seconds: callback_time.as_secs_f64(),
            profile,
            spec: request.spec,
        })
    }
}

impl Engine {
    /// The network of a model in a precision, and whether it was loaded just now.
    fn network(
        &mut self,
        model: &Arc<Model>,
        precision: Precision,
    ) -> Result<(Source<'_>, bool), RenderError> {
        let key = NetworkKey { model: model.sha256.clone(), precision };
        match &mut self.networks {
            Networks::Local(networks) => Ok(match networks.entry(key) {
                Entry::Occupied(entry) => (Source::LocalExecutor(entry.into_mut()), false),
                Entry::Vacant(entry) => (
                    Source::LocalExecutor(entry.insert(LocalExecutor::load(
                        model,
                        self.processor,
                        precision,
                    )?)),
                    true,
                ),
            }),
            Networks::Shared(shared) => {
                let (shared, fresh) = shared.source(model, key)?;
                Ok((Source::Shared(Box::new(shared)), fresh))
            }
        }
    }
}

/// What an earlier attempt left, if it fits: of a single picture or of an animation.
struct Resume {
    octave: Option<Checkpoint>,
    frame: Option<FrameCheckpoint>,
}

impl Resume {
    fn of(request: &mut RenderRequest, precision: Precision, device: Device) -> Result<Self, RenderError> {
        let none = Self { octave: None, frame: None };
        let Some(bytes) = request.resume.take() else { return Ok(none) };
        let Some((bytes, found)) = opened(&bytes) else { return Ok(none) };
        let spec = &request.spec;
        let fits = |last: &Checkpoint| made_with(&spec.schedule, spec.tile_size, last.octave + 1) == found;
        Ok(match spec.motion {
            None => {
                let octave = Checkpoint::decode(bytes, precision, device).transpose()?;
                Self { octave: octave.filter(fits), frame: None }
            }
            Some(_) => {
                let frame = FrameCheckpoint::decode(bytes, precision, device).transpose()?;
                Self { octave: None, frame: frame.filter(|frame| fits(&frame.last)) }
            }
        })
    }
}

/// A dream, `[1, 3, H, W]`, as it is shown, or the animation whose last frame it is.
fn shown(
    spec: &DreamSpec,
    mut input: Input,
    dreamed: &Tensor,
    animation: Option<Animation>,
) -> Result<Shown, RenderError> {
    if let (Some(animation), Some(motion)) = (animation, &spec.motion) {
        return Ok(Shown::Moving(animation, *motion));
    }
    let mut picture = finish::to_shown(spec, input.base(), dreamed)?;
    // A dream that has grown has lost the places that its transparency belonged to.
    let same_size = input.base().extent()? == dreamed.extent()?;
    picture.alpha = input.alpha.take().filter(|_| same_size && spec.format.has_transparency());
    picture.lift_from(spec.background.0);
    Ok(Shown::Still(picture))
}

/// The objectives of `spec` with the channels that the picture or chance decides, and what there is to say of those.
pub(super) fn choose_channels(
    source: &dyn GradientSource,
    spec: &DreamSpec,
    input: &Input,
    max_pixels: u64,
    cancel: &CancelFlag,
) -> Result<(Vec<Objective>, Vec<String>), RenderError> {
    let network = source.network();
    let means = if picks::looks(spec) {
        let all = BoundObjective::new(network, &spec.objectives)?;
        // The recipe of a dream whose tiles were halved for want of memory names the halves: its replay measures what was measured.
        let measured = DreamSpec { tile_size: picks::TILE, ..spec.clone() };
        let found = within_memory(&measured, |spec| {
            let tiled = TiledGradient::new(source, &all, spec, cancel);
            let base = first_octave(&tiled, spec, &input.original, max_pixels)?;
            picks::means(&tiled, network, spec, &base)
        })?;
        found.dreamed
    } else {
        Vec::new()
    };
    picks::settled(spec, network, &means)
}

/// What the result will say about itself.
fn recipe(request: &RenderRequest, files: Digests, device: Device, precision: Precision) -> Recipe {
    let Digests { input: input_sha256, mask: mask_sha256, guide: guide_sha256 } = files;
    Recipe {
        reverie: env!("CARGO_PKG_VERSION").into(),
        model_sha256: request.model.sha256.clone(),
        input_sha256,
        mask_sha256,
        guide_sha256,
        device: device::name(device),
        threads: tch::get_num_threads(),
        spec: DreamSpec { precision, ..request.spec.clone() },
    }
}
