//! Animations: a dream that is moved a little and dreamed on, frame by frame, as the 2015 notebook zooms into its own dreams.
//!
//! From frame to frame goes the dream as the last gradient step left it, in floats. What belongs to the result alone (colours
//! and parts of the original, a standard contrast) is put into the frames that are shown and never into those that are
//! dreamed on: mixed in again with every frame, half of the original's colours would be all of them after ten, a blend
//! would wash the dream out, and a contrast that is stretched again and again would end in black and white. The original
//! that gives its colours moves along, so that they stay with the forms that they belong to.
//!
//! With a mask the picture stands still where it is black, and moves where it is white, as if behind a window.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use tch::{Kind, Tensor};

use super::{
    RenderError,
    bands::{bands_on, rows},
    beside::Beside,
    checkpoint::{FrameCheckpoint, Snapshot},
    dream::{Callbacks, Dreamed, Start, dream, pixel_steps},
    finish,
    input::Input,
    library::copy,
    mask::OctaveMask,
    original::Original,
    reports::{OctaveSink, Origin, Reel},
    resample::Rows,
    stages::Stage,
    tiles::TiledGradient,
};
use reverie_dream::{
    plan::sizes,
    progress::Progress,
    spec::{DreamSpec, Motion},
};
use reverie_picture::{Animation, Picture};

/// Bytes of frames for which a frame more is dreamed before a checkpoint, which holds them all: so what is stored in the
/// course of a long animation grows with its length, and not with the square of it.
const BYTES_PER_FRAME: usize = 16 << 20;

/// A dream to be moved.
pub(super) struct Film<'a> {
    pub(super) motion: &'a Motion,
    pub(super) input: &'a Input,
    /// Largest octave, in pixels.
    pub(super) max_pixels: u64,
}

/// What the caller hears while it is made.
pub(super) struct FilmCallbacks<'a> {
    /// Before every frame, as [`Callbacks::on_begin`].
    pub(super) on_begin: &'a mut dyn FnMut(u32, u32) -> Result<Option<Stage>, RenderError>,
    /// After every gradient step.
    pub(super) on_progress: &'a mut dyn FnMut(Progress),
    /// What a checkpoint after a frame, counted from 1, is made with.
    pub(super) origin: &'a dyn Fn(u32) -> Origin,
    /// Mostly after every frame but the last.
    pub(super) on_octave: Option<OctaveSink<'a>>,
}

/// A finished animation.
pub(super) struct Animated<'a> {
    /// The last frame, and what is known of all.
    pub(super) dreamed: Dreamed,
    /// What the last frame was computed with.
    pub(super) tiled: TiledGradient<'a>,
    pub(super) animation: Animation,
}

impl Film<'_> {
    /// Dreams all frames of `spec`, after those of `resume` where there is a checkpoint that fits. `tiled` makes the tiles of a
    /// spec. On a GPU each frame is encoded beside the dream of the next one.
    ///
    /// # Errors
    /// As [`dream`], and when a frame cannot be encoded.
    pub(super) fn dream<'a>(
        &self,
        spec: &DreamSpec,
        tiled: impl Fn(&DreamSpec) -> TiledGradient<'a>,
        resume: Option<FrameCheckpoint>,
        callbacks: FilmCallbacks<'_>,
    ) -> Result<Animated<'a>, RenderError> {
        let Self { motion, input, max_pixels } = *self;
        let further = spec.further_frame(motion);
        let (first_tiles, further_tiles) = (tiled(spec), tiled(&further));
        let start = input.original.extent()?;
        let octaves = sizes(spec, start, max_pixels, &|height, width| first_tiles.fits(height, width))?;
        let size = octaves.last().copied().unwrap_or(start);
        let meter = Meter {
            first: pixel_steps(&first_tiles, spec, start, max_pixels)?,
            further: pixel_steps(&further_tiles, &further, size, max_pixels)?,
            frames: motion.frames,
        };
        let resume = resume.filter(|resume| resume.fits(motion.frames, size));
        let mut idle = resume.is_none();
        let (begun, mut image, frames) = match resume {
            Some(FrameCheckpoint { last, frames }) => (last.octave + 1, Some(last.image), frames),
            None => (0, None, Vec::new()),
        };
        let animation = Animation::of_frames(spec.encoding(), size.1 as u32, size.0 as u32, frames)?;
        let mut scene = Scene::new(self, spec, size, begun)?;
        let mut callback_time = Duration::ZERO;
        let mut stage: Option<Stage> = None;
        let FilmCallbacks { on_begin, on_progress, origin, on_octave } = callbacks;
        let followed = on_octave.is_some();
        let reel = Reel::new(animation, motion.frames, on_octave);
        let (bytes, mut since_checkpoint) = (reel.bytes(), 0);
        let (last, reel) = Beside::run(first_tiles.is_library(), reel, |beside| {
            for frame in begun..motion.frames {
                let called = Instant::now();
                if let Some(changed) = on_begin(frame + 1, motion.frames)? {
                    let tile_size = spec.tile_size;
                    stage = Some(Stage { spec: DreamSpec { tile_size, ..changed.spec }, ..changed });
                }
                callback_time += called.elapsed();
                let mut on_progress = |progress| on_progress(meter.read(frame, begun, progress));
                let callbacks_of_frame = Callbacks {
                    on_begin: &mut |_, _| Ok(None),
                    on_progress: &mut on_progress,
                    on_octave: &mut |_, _| Ok(()),
                    previews: None,
                };
                let start = |original| Start { original, mask: input.mask.as_ref(), frame, resume: None };
                let dreamed = match image.take() {
                    None => {
                        let spec = stage.as_ref().map_or(spec, |stage| &stage.spec);
                        let changed =
                            stage.as_ref().map(|stage| first_tiles.changed(stage.bound.clone(), spec));
                        let tiles = changed.as_ref().unwrap_or(&first_tiles);
                        dream(tiles, spec, start(&input.original), max_pixels, callbacks_of_frame)?
                    }
                    Some(before) => {
                        let moved = Original::of_floats(&scene.moved(&before)?);
                        drop(before);
                        let changed = stage.as_ref().map(|stage| {
                            let further = stage.spec.further_frame(motion);
                            (further_tiles.changed(stage.bound.clone(), &further), further)
                        });
                        let (tiles, further) = changed
                            .as_ref()
                            .map_or((&further_tiles, &further), |(tiles, spec)| (tiles, spec));
                        dream(tiles, further, start(&moved), max_pixels, callbacks_of_frame)?
                    }
                };
                idle &= dreamed.idle;
                callback_time += dreamed.callback_time;
                let shown = scene.show(spec, frame, &copy(&dreamed.image)?)?;
                let called = Instant::now();
                since_checkpoint += 1;
                let due = since_checkpoint * BYTES_PER_FRAME >= bytes.load(Ordering::Relaxed);
                let last = if followed && due && frame + 1 < motion.frames {
                    since_checkpoint = 0;
                    Some(Snapshot::of(frame, &dreamed.image)?)
                } else {
                    None
                };
                let origin = origin(frame + 1);
                beside.hand(move |reel: &mut Reel<'_>| reel.frame(&shown, last.as_ref(), origin))?;
                callback_time += called.elapsed();
                image = Some(dreamed.image);
            }
            image.ok_or_else(|| RenderError::Engine("an animation without frames".into()))
        })?;
        let dreamed = Dreamed { image: last, octaves: octaves.len() as u32, idle, callback_time };
        let tiled = if motion.frames > 1 { further_tiles } else { first_tiles };
        Ok(Animated { dreamed, tiled, animation: reel.animation })
    }
}

/// What frames after the first are made with.
struct Scene<'a> {
    film: &'a Film<'a>,
    /// The original at the size of the frames, where it has another one.
    resized: Option<Original>,
    /// The mask at that size.
    mask: Option<OctaveMask>,
    /// The original in its place in the last frame, `[1, 3, H, W]`, where frames show some of it.
    moving: Option<Tensor>,
}

impl<'a> Scene<'a> {
    /// Before frame `begun`, counted from 0.
    fn new(film: &'a Film<'_>, spec: &DreamSpec, size: (i64, i64), begun: u32) -> Result<Self, RenderError> {
        let (height, width) = size;
        let Input { original, mask, .. } = film.input;
        let other = original.extent()? != size;
        let mut scene = Self {
            film,
            resized: other.then(|| original.shrunk(height, width)).transpose()?,
            mask: mask.as_ref().map(|mask| mask.at(height, width)).transpose()?,
            moving: None,
        };
        if spec.preserve_colors.0 > 0.0 || spec.blend > 0.0 {
            let mut moving = scene.still().to_floats()?;
            // Step by step: what comes in at the edges comes from the frame before.
            for _ in 1..begun {
                moving = scene.moved(&moving)?;
            }
            scene.moving = Some(moving);
        }
        Ok(scene)
    }

    fn still(&self) -> &Original {
        self.resized.as_ref().unwrap_or(&self.film.input.original)
    }

    /// The start of the frame after `image`, `[1, 3, H, W]`.
    fn moved(&self, image: &Tensor) -> Result<Tensor, RenderError> {
        let moved = moved(image, self.film.motion)?;
        if let Some(mask) = &self.mask {
            mask.mix(&moved, self.still())?;
        }
        Ok(moved)
    }

    /// The picture that `frame` is shown as; what it shows of the original is put into `dreamed`, `[1, 3, H, W]`.
    fn show(&mut self, spec: &DreamSpec, frame: u32, dreamed: &Tensor) -> Result<Picture, RenderError> {
        let before = if frame > 0 { self.moving.take() } else { None };
        match before {
            Some(before) => {
                let moving = self.moved(&before)?;
                drop(before);
                let picture = finish::to_shown(spec, &Original::of_floats(&moving), dreamed);
                self.moving = Some(moving);
                picture
            }
            // As a single picture, and where nothing of the original is shown.
            None => finish::to_shown(spec, &self.film.input.original, dreamed),
        }
    }
}

/// `image`, `[1, 3, H, W]`, as it lies in the next frame: zoomed and turned about its centre, then shifted. Sampled
/// bilinearly; what is beyond an edge is the mirror image of what is before it. A tensor of its own.
pub(super) fn moved(image: &Tensor, motion: &Motion) -> Result<Tensor, RenderError> {
    if motion.is_still() {
        return copy(image);
    }
    let (height, width) = image.extent()?;
    let device = image.device();
    let moved = image.f_empty_like()?;
    let (sine, cosine) = motion.rotate.to_radians().sin_cos();
    // Centres of pixels, counted from the picture's centre, before the shift.
    let places = |start: i64, length: i64, extent: i64, shift: f64| {
        let from = start as f64 + 0.5 - extent as f64 / 2.0 - shift;
        Tensor::f_arange_start(from, from + length as f64 - 0.25, (Kind::Double, device))
    };
    let x = places(0, width, width, motion.shift_x)?.f_reshape([1, 1, width])?;
    for span in bands_on(device, height, width) {
        let y = places(span.start, span.length, height, motion.shift_y)?.f_reshape([1, span.length, 1])?;
        // Where each pixel comes from: turned and zoomed back. The sampler wants −1 and 1 at the picture's edges.
        let [to_x, to_y] = [width, height].map(|extent| 2.0 / (extent as f64 * motion.zoom));
        let from_x = x.f_mul_scalar(cosine * to_x)?.f_add(&y.f_mul_scalar(sine * to_x)?)?;
        let from_y = y.f_mul_scalar(cosine * to_y)?.f_sub(&x.f_mul_scalar(sine * to_y)?)?;
        let grid = Tensor::f_stack(&[from_x, from_y], -1)?.f_to_kind(Kind::Float)?;
        let band = image.f_grid_sampler(&grid, BILINEAR, MIRRORED, false)?;
        rows(&moved, span)?.f_copy_(&band)?;
    }
    Ok(moved)
}

/// As libtorch counts its ways to interpolate.
const BILINEAR: i64 = 0;

/// As libtorch counts its ways to go on beyond the edges.
const MIRRORED: i64 = 2;

/// Counts finished work of all frames.
struct Meter {
    /// Pixels × gradient steps of the first frame.
    first: f64,
    /// The same of each further one.
    further: f64,
    frames: u32,
}

impl Meter {
    /// Share of the whole where a `share` of `frame`, counted from 0, is done.
    fn fraction(&self, frame: u32, share: f64) -> f64 {
        let up_to = |frames: u32| match frames.checked_sub(1) {
            Some(further) => self.first + f64::from(further) * self.further,
            None => 0.0,
        };
        let this = if frame == 0 { self.first } else { self.further };
        (up_to(frame) + this * share) / up_to(self.frames)
    }

    /// The progress of a frame as that of all. The frames before `begun` were dreamed by an earlier attempt.
    fn read(&self, frame: u32, begun: u32, progress: Progress) -> Progress {
        Progress {
            fraction: self.fraction(frame, progress.fraction),
            resumed_from: self.fraction(begun, 0.0),
            frame: Some(frame + 1),
            frames: Some(self.frames),
            ..progress
        }
    }
}
