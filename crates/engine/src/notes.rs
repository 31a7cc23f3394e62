//! What the requester should know about a finished dream: above all why it may look like its input.

use super::{RenderError, mask::Mask};
use reverie_dream::{plan::octave_count, spec::DreamSpec};

/// What became of a dream.
pub(super) struct Outcome {
    /// Octaves that were dreamed.
    pub(super) octaves: u32,
    /// Whether no gradient step has changed a single value.
    pub(super) idle: bool,
    /// Objective of the finished dream.
    pub(super) score: f64,
    /// Edge of the largest tile in pixels.
    pub(super) tile_size: u32,
    /// Heights and widths: of the input, of what was dreamed on, and of the result.
    pub(super) sizes: [(i64, i64); 3],
    /// Whether the input has transparency.
    pub(super) transparent: bool,
}

/// A sentence for each thing that differs from what the spec lets expect.
pub(super) fn notes(
    spec: &DreamSpec,
    mask: Option<&Mask>,
    outcome: &Outcome,
) -> Result<Vec<String>, RenderError> {
    let Outcome { octaves, idle, score, tile_size, sizes: [sent, start, result], transparent } = *outcome;
    let mut notes = Vec::new();
    if start != sent && result != sent {
        let [(height, width), (from_height, from_width)] = [start, sent];
        let edge = height.max(width);
        let back = if spec.motion.is_none() { "restore_size brings the size back, " } else { "" };
        notes.push(format!(
            "the image of {from_width}×{from_height} pixels was dreamed on at {width}×{height}: max_edge is {edge}; \
             {back}max_edge 0 keeps it"
        ));
    }
    let wanted = octave_count(spec, start);
    if octaves < wanted {
        notes.push(format!(
            "{octaves} of {wanted} octaves were dreamed: the image is too small for a coarser one"
        ));
    }
    if tile_size < spec.tile_size {
        notes.push(format!(
            "tiles of {tile_size} pixels were used instead of {}: the device has too little memory for larger ones",
            spec.tile_size
        ));
    }
    if mask.map(Mask::is_black).transpose()?.unwrap_or(false) {
        notes.push(
            "the dream changed nothing: the mask is black everywhere; the dream grows where it is white"
                .into(),
        );
    } else if idle {
        let place = if mask.is_some() { "wherever the mask is not black" } else { "everywhere" };
        notes.push(format!(
            "the dream changed nothing: the objective is {score}, and its gradient is zero {place}; choose another \
             layer, or other channels or classes"
        ));
    }
    if transparent && spec.motion.is_some() {
        notes.push(
            "the animation has no transparency: background shows where the image was transparent".into(),
        );
    }
    if spec.blend == 1.0 {
        notes.push("the result is the original: blend is 1; a smaller value lets the dream show".into());
    }
    Ok(notes)
}
