//! What an animation costs beside its first frame: the further frames, each moved, dreamed on with fewer steps and encoded,
//! and the memory for what goes from frame to frame and for the file that grows.

use super::{Plan, PlanError, Work, work};
use crate::spec::{DreamSpec, Encoding, Format, Motion, Objective};
use reverie_graph::Network;

/// Bytes per pixel of a frame beside what a single picture takes: the frame before it, moved, in floats (12, where a single
/// picture has its input in 3), its coarser octaves, and the image in its place in floats (12). 65 and,
/// on another processor, 71 were measured in all, with those of a single picture; `tests/memory.rs` measures that this is enough.
pub const BYTES_PER_MOVING_PIXEL: f64 = 36.0;

/// How often the file so far is held at the most: as frames, in the checkpoint that is made of them, in the one that waits to be
/// stored, and in the one that is being stored; or, at the end, as frames, and twice as the file, which the frames of a
/// boomerang make twice as long.
const COPIES: f64 = 4.0;

/// What a pixel of a video takes to be written, as pixels of other files: 130 nanoseconds of x264 on one core, 500 of VP9.
fn video_work(format: Format) -> f64 {
    match format {
        Format::Mp4 => 13.0,
        Format::Webm => 50.0,
        _ => 0.0,
    }
}

/// Bytes that `ffmpeg` takes beside the frames that it looks ahead to: 92 MB in all were measured at 640×360 pixels.
const VIDEO: f64 = 85e6;

/// Bytes per pixel of a frame that it takes: what VP9 takes more at 1280×960 pixels than at 640×480, and a little.
const VIDEO_BYTES_PER_PIXEL: f64 = 145.0;

/// From here on lossy WebP keeps noise.
const NOISY_QUALITY: u8 = 93;

/// Bytes per pixel of an encoded frame, above what dreams take: 1.8 as PNG, 0.4 as WebP of quality 92.
fn bytes_per_pixel(encoding: Encoding) -> f64 {
    match encoding.format {
        // Frames of a video are PNG files until they are written.
        Format::Png | Format::Mp4 | Format::Webm => 3.0,
        Format::Webp if encoding.lossless => 3.0,
        Format::Webp if encoding.quality >= NOISY_QUALITY => 2.0,
        Format::Webp | Format::Jpeg => 1.0,
        // LZW can make incompressible bytes longer by half.
        Format::Gif => 1.5,
    }
}

/// What is dreamed in the frames after the first, and in how many of them: frames that differ in weights and numbers alone cost
/// the same, so a cross-fade is of one kind.
fn kinds_of_frames(spec: &DreamSpec, motion: &Motion) -> Vec<(DreamSpec, u32)> {
    let of = |frame: u32| {
        let now = spec.at(frame);
        let alike = |objective: &Objective| Objective { weight: 1.0, ..objective.clone() };
        let sign = |number: f64| if number > 0.0 { 1.0 } else { 0.0 };
        DreamSpec {
            objectives: now.objectives.iter().map(alike).collect(),
            step: spec.step,
            total_variation: sign(now.total_variation),
            l2_decay: sign(now.l2_decay),
            ..now.further_frame(motion)
        }
    };
    if spec.schedule.is_empty() {
        return vec![(spec.further_frame(motion), motion.frames.saturating_sub(1))];
    }
    // The kind changes where a change begins, and where all of it is in force.
    let mut begins: Vec<u32> =
        spec.schedule.iter().flat_map(|change| [change.place(), change.end()]).collect();
    begins.push(2);
    begins.retain(|frame| (2..=motion.frames).contains(frame));
    begins.sort_unstable();
    begins.dedup();
    let mut kinds: Vec<(DreamSpec, u32)> = Vec::new();
    for (index, &frame) in begins.iter().enumerate() {
        let frames = begins.get(index + 1).copied().unwrap_or(motion.frames + 1) - frame;
        let kind = of(frame);
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += frames,
            None => kinds.push((kind, frames)),
        }
    }
    kinds
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
        let (mut work, mut memory) = (self.work, self.memory);
        let mut megapixel_iterations = self.megapixel_iterations;
        for (further, count) in kinds_of_frames(spec, motion) {
            let frame = Self::of(&further, network, (edge(height), edge(width)), u64::MAX)?;
            let count = f64::from(count);
            // Only the last frame is scored, and the first frame's plan has that.
            let score = Work { pixels: 0.0, laplacian: 0.0, ..frame.step } * work::FORWARD;
            work = work + (frame.work + score * -1.0) * count;
            memory = memory.max(frame.memory);
            megapixel_iterations += frame.megapixel_iterations * count;
        }
        let video =
            Work { file: pixels * video_work(spec.format) * f64::from(motion.frames), ..Work::default() };
        let work = work + video;
        let file = pixels * bytes_per_pixel(spec.encoding()) * f64::from(motion.frames) * COPIES;
        let video = if spec.format.is_video() { VIDEO + pixels * VIDEO_BYTES_PER_PIXEL } else { 0.0 };
        let memory = memory + (pixels * BYTES_PER_MOVING_PIXEL + file + video) as u64;
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
    fn a_video_costs_what_its_encoder_takes() {
        let of = |format: &str| {
            plan(json!({ "max_edge": 0, "octaves": 1, "format": format, "motion": { "frames": 20 } })).1
        };
        let [png, mp4, webm] = ["png", "mp4", "webm"].map(of);
        let more = |plan: &Plan| (plan.work.file - png.work.file) / (300.0 * 400.0 * 20.0);
        assert!((more(&mp4) - 13.0).abs() < 1e-6 && (more(&webm) - 50.0).abs() < 1e-6);
        let bytes = (mp4.memory - png.memory) as f64;
        assert!((bytes - VIDEO - 300.0 * 400.0 * VIDEO_BYTES_PER_PIXEL).abs() < 2.0, "{bytes}");
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
