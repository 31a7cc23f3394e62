//! How far a dream has come.

use serde::{Deserialize, Serialize};

/// How far a render has come; also the `progress` of a job in the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Progress {
    /// Share of the whole work done, 0 to 1, weighted by the pixels of each octave.
    pub fraction: f64,
    /// Octave at work, counted from 1.
    pub octave: u32,
    /// Octaves in this render: fewer than the spec's where the image is small.
    pub octaves: u32,
    /// Finished gradient steps of this octave.
    pub iteration: u32,
    /// Gradient steps per octave.
    pub iterations: u32,
    /// Gradient steps per second in this octave.
    #[serde(default)]
    pub iterations_per_second: f64,
    /// Objective before the last step: the mean over tiles, weighted by their pixels.
    pub score: f64,
    /// Share of the whole work that an earlier attempt had done, and this one went on after; mostly 0.
    #[serde(default)]
    pub resumed_from: f64,
    /// Frame at work, counted from 1; of animations only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<u32>,
    /// Frames of the animation; of animations only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<u32>,
}
