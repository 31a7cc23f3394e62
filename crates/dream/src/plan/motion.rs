//! What an animation costs beside its first frame: the further frames, each moved, dreamed on with fewer steps and encoded,
//! and the memory for what goes from frame to frame and for the file that grows.

use super::{Plan, PlanError, Work, work};
use crate::spec::{DreamSpec, Encoding, Format, Motion};
use reverie_graph::Network;

/// Bytes per pixel of a frame beside what a single picture takes: the frame before it, moved, in floats (12, where a single
/// picture has its input in 3), its coarser octaves, and the image in its place in floats (12). 65 and,
/// on another processor, 71 were measured in all, with those of a single picture; `tests/memory.rs` measures that this is enough.
pub const BYTES_PER_MOVING_PIXEL: f64 = 36.0;

/// How often the file so far is held at the most: as frames, in the checkpoint that is made of them, in the one that waits to be
/// stored, and in the one that is being stored; or, at the end, as frames, and twice as the file, which the frames of a
/// boomerang make twice as long.
const COPIES: f64 = 4.0;

/// From here on lossy WebP keeps noise.
const NOISY_QUALITY: u8 = 93;

/// Bytes per pixel of an encoded frame, above what dreams take: 1.8 as PNG, 0.4 as WebP of quality 92.
fn bytes_per_pixel(encoding: Encoding) -> f64 {
    match encoding.format {
        Format::Png => 3.0,
        Format::Webp if encoding.lossless => 3.0,
        Format::Webp if encoding.quality >= NOISY_QUALITY => 2.0,
        Format::Webp | Format::Jpeg => 1.0,
        // LZW can make incompressible bytes longer by half.
        Format::Gif => 1.5,
    }
}

impl Plan {
    /// The plan of an animation whose first frame is planned in `self`.
    ///
    /// # Errors
    /// As [`Plan::of`].
    pub(super) fn animated(
        self,
        spec: &DreamSpec,
        motion: &Motion,
        network: &Network,
    ) -> Result<Self, PlanError> {
        let (height, width) = self.result;
        let pixels = height as f64 * width as f64;
        let edge = |edge: i64| u32::try_from(edge).unwrap_or(u32::MAX);
        let further = spec.further_frame(motion);
        let frame = Self::of(&further, network, (edge(height), edge(width)), u64::MAX)?;
        let count = f64::from(motion.frames.saturating_sub(1));
        // Only the last frame is scored, and the first frame's plan has that.
        let score = Work { pixels: 0.0, laplacian: 0.0, ..frame.step } * work::FORWARD;
        let work = self.work + (frame.work + score * -1.0) * count;
        let file = pixels * bytes_per_pixel(spec.encoding()) * f64::from(motion.frames) * COPIES;
        let memory = self.memory.max(frame.memory) + (pixels * BYTES_PER_MOVING_PIXEL + file) as u64;
        let megapixel_iterations = self.megapixel_iterations + frame.megapixel_iterations * count;
        Ok(Self { work, memory, megapixel_iterations, ..self })
    }

    /// The most frames of an animation whose plan is `allowed`; `None` for a single picture, and where not even one is.
    pub fn most_frames(
        spec: &DreamSpec,
        network: &Network,
        size: (u32, u32),
        max_pixels: u64,
        allowed: impl Fn(&Self) -> bool,
    ) -> Option<u32> {
        let motion = spec.motion?;
        let fits = |frames| {
            let spec = DreamSpec { motion: Some(Motion { frames, ..motion }), ..spec.clone() };
            Self::of(&spec, network, size, max_pixels).is_ok_and(|plan| allowed(&plan))
        };
        let (mut low, mut high) = (0, motion.frames + 1);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(middle) { low = middle } else { high = middle }
        }
        (low > 0).then_some(low)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::tests::catalogue, *};
    use crate::spec::{self, InputKind};

    fn plan(spec: serde_json::Value) -> (DreamSpec, Plan) {
        let catalogue = catalogue();
        let spec = spec::resolve("", spec, &catalogue, InputKind::Image).unwrap();
        let plan = Plan::of(&spec, &catalogue.get("small").unwrap().network, (300, 400), 1_000_000).unwrap();
        (spec, plan)
    }

    #[test]
    fn one_frame_costs_what_a_single_picture_does_and_each_further_one_the_same() {
        let of = |frames: u32| {
            plan(json!({ "max_edge": 0, "octaves": 2, "iterations": 10, "motion": { "frames": frames, "iterations": 3 } })).1
        };
        let (_, single) = plan(json!({ "max_edge": 0, "octaves": 2, "iterations": 10 }));
        let [one, two, many] = [1, 2, 101].map(of);
        assert_eq!((one.work, one.megapixel_iterations), (single.work, single.megapixel_iterations));
        assert_eq!((&one.octaves, one.result), (&single.octaves, single.result));
        let each = |plan: &Plan| plan.work.seconds() - one.work.seconds();
        assert!(each(&two) > 0.0 && (each(&many) - 100.0 * each(&two)).abs() < 1e-9 * each(&many));
        // Three steps of ten.
        let steps = |plan: &Plan| plan.megapixel_iterations - one.megapixel_iterations;
        assert!((steps(&two) - 0.3 * single.megapixel_iterations).abs() < 1e-9);
        assert!(each(&two) < 0.4 * single.work.seconds());
        // What grows with the frames is the file.
        let grown = (many.memory - two.memory) as f64 / 99.0;
        assert!((grown - 300.0 * 400.0 * 3.0 * COPIES).abs() < 1.0, "{grown}");
        assert!(single.memory < one.memory);
    }

    #[test]
    fn frames_after_a_dream_that_grows_have_its_size() {
        let (_, grown) =
            plan(json!({ "preset": "multiscale", "octaves": 3, "motion": { "frames": 2, "iterations": 1 } }));
        let (_, single) = plan(json!({ "preset": "multiscale", "octaves": 3 }));
        let more = grown.megapixel_iterations - single.megapixel_iterations;
        // Three octaves of carried detail that end at the size of the last.
        let [first, .., last] = &single.octaves[..] else { panic!("{:?}", single.octaves) };
        let pixels = |(height, width): &(i64, i64)| (height * width) as f64 / 1e6;
        assert!(more > pixels(last) && more < 3.0 * pixels(last) && pixels(first) < pixels(last), "{more}");
    }

    #[test]
    fn the_most_frames_fit_and_one_more_does_not() {
        let asked = json!({ "max_edge": 0, "motion": { "frames": 1000 } });
        let (spec, plan) = plan(asked);
        let catalogue = catalogue();
        let network = &catalogue.get("small").unwrap().network;
        let limit = plan.work.seconds() / 3.0;
        let allowed = |plan: &Plan| plan.work.seconds() <= limit;
        let frames = Plan::most_frames(&spec, network, (300, 400), 1_000_000, allowed).unwrap();
        assert!((250..400).contains(&frames), "{frames}");
        let with = |frames| {
            let spec =
                DreamSpec { motion: spec.motion.map(|motion| Motion { frames, ..motion }), ..spec.clone() };
            allowed(&Plan::of(&spec, network, (300, 400), 1_000_000).unwrap())
        };
        assert!(with(frames) && !with(frames + 1));
        assert_eq!(Plan::most_frames(&spec, network, (300, 400), 1_000_000, |_| false), None);
        let still = DreamSpec { motion: None, ..spec };
        assert_eq!(Plan::most_frames(&still, network, (300, 400), 1_000_000, |_| true), None);
    }
}
