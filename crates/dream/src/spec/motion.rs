//! The parameters of an animation: how the dream moves from frame to frame.
//!
//! They are defined as those of a dream are (see `dream_spec.rs`).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Count, DreamSpec, Objective, OctaveMode,
    kind::{Kind, Number, one_of},
    parameter::{Parameter, defaults_in_words, of_type, parameters, takes},
    request::silent,
};
use reverie_fields::Fields;
use reverie_picture::Playback;

/// Frames at the most: a minute at the usual speed. A server's limits of time and memory bound them, too.
const MAX_FRAMES: u32 = 1000;

parameters! {
    /// How a dream moves: each frame is the one before it, zoomed, turned and shifted a little, and dreamed on. The first is
    /// the dream of the image.
    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
    pub struct Motion, read from (fields) {
        /// Frames in all, the first included.
        frames: u32 {
            read: Number(1, MAX_FRAMES),
            default: 60,
            option: takes("N").help("Makes an animation of so many frames (1 to 1000) [default: 60 with any of the next options]"),
        }
        /// How many times larger the picture is drawn in each frame than in the one before, about its centre; below 1 it
        /// shrinks, and its mirror image comes in at the edges.
        zoom: f64 {
            read: Number(0.8, 1.25),
            default: 1.02,
            option: takes("Z"),
        }
        /// Degrees by which the picture turns in each frame, clockwise.
        rotate: f64 {
            read: Number(-45.0, 45.0),
            default: 0.0,
            option: takes("DEGREES"),
        }
        /// Pixels by which the picture moves to the right in each frame.
        shift_x: f64 {
            read: Number(-256.0, 256.0),
            default: 0.0,
            option: takes("PIXELS"),
        }
        /// Pixels by which the picture moves down in each frame.
        shift_y: f64 {
            read: Number(-256.0, 256.0),
            default: 0.0,
            option: takes("PIXELS"),
        }
        /// Gradient steps per octave in each frame after the first: enough to keep the dream sharp while it moves. Fewer
        /// leave it soft, more make it change faster.
        iterations: u32 {
            read: Number(1, 100),
            default: 4,
            option: takes("N").named("frame-iterations"),
        }
        /// Frames a second.
        fps: u32 {
            read: Number(1, 50),
            default: 15,
            option: takes("N"),
        }
        /// How the animation is played.
        playback: Playback {
            read: one_of(),
            default: Playback::default(),
            option: takes("PLAYBACK"),
        }
    }
}

impl Motion {
    /// Whether the picture stays where it is.
    pub fn is_still(&self) -> bool {
        (self.zoom, self.rotate, self.shift_x, self.shift_y) == (1.0, 0.0, 0.0, 0.0)
    }

    pub(super) fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self::read(&mut silent()))]
    }
}

impl DreamSpec {
    /// What is dreamed in each frame of an animation after the first: a picture of the first frame's size, which keeps that
    /// size.
    pub fn further_frame(&self, motion: &Motion) -> Self {
        Self {
            octave_mode: OctaveMode::CarryDetail,
            iterations: Count::Of(motion.iterations),
            noise: None,
            max_edge: None,
            motion: None,
            schedule: Vec::new(),
            // Its channels are those that the first frame found.
            objectives: self.objectives.iter().map(|one| Objective { pick: None, ..one.clone() }).collect(),
            ..self.clone()
        }
    }
}
