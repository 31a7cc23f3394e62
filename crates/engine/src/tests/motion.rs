//! Animations: how a picture moves, what goes from frame to frame and what does not, and how one goes on after a checkpoint.

use std::{
    io::Cursor,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use image::{AnimationDecoder, RgbImage, codecs::png::PngDecoder};
use tch::{Device, Kind, Tensor};

use super::{
    super::{
        FinishedOctave, Kernels, RenderError, RenderRequest, Rendered, Unencoded, backend::Backend,
        device::Processor, engine::Engine, motion::moved, resample::resize,
    },
    file, objective, random_network, spec, squares,
};
use reverie_dream::{
    progress::Progress,
    spec::{Count, DreamSpec, Format, Masking, Motion, ObjectiveKind, OctaveMode, Playback, Share},
};
use reverie_picture::{Encoding, Picture, Samples};

const STILL: Motion = Motion {
    frames: 4,
    zoom: 1.0,
    rotate: 0.0,
    shift_x: 0.0,
    shift_y: 0.0,
    iterations: 2,
    fps: 10,
    playback: Playback::Repeat,
};

const ZOOM: Motion = Motion { zoom: 1.1, rotate: 3.0, shift_x: -1.5, ..STILL };

/// Every value different, nothing smooth.
fn rough(height: i64, width: i64) -> Tensor {
    let values = Tensor::arange(3 * height * width, (Kind::Float, Device::Cpu));
    (values * 37.0).remainder(251.0).view([1, 3, height, width])
}

fn largest(difference: Tensor) -> f64 {
    difference.abs().max().double_value(&[])
}

#[test]
fn a_picture_that_does_not_move_is_the_same_to_the_last_bit() {
    let image = rough(31, 45);
    assert_eq!(moved(&image, &STILL).unwrap(), image);
    // By the sampler too, where it has almost nothing to do.
    let almost = moved(&image, &Motion { zoom: 1.0 + 1e-9, ..STILL }).unwrap();
    assert!(largest(almost - image) < 0.02);
}

#[test]
fn shifts_turns_and_zooms_go_where_they_should() {
    let image = rough(30, 40);
    // Right by two and down by one; the mirror image comes in.
    let shifted = moved(&image, &Motion { shift_x: 2.0, shift_y: 1.0, ..STILL }).unwrap();
    let inside = |image: &Tensor| image.narrow(2, 1, 29).narrow(3, 2, 38);
    let expected = image.narrow(2, 0, 29).narrow(3, 0, 38);
    assert!(largest(inside(&shifted) - expected) < 0.02);
    let [first, second] = [0, 1].map(|x| shifted.narrow(2, 1, 29).narrow(3, x, 1));
    let [of_second, of_first] = [1, 0].map(|x| image.narrow(2, 0, 29).narrow(3, x, 1));
    assert!(largest(first - of_second) < 0.02 && largest(second - of_first) < 0.02);
    // A quarter turn clockwise: the left column becomes the upper row.
    let square = rough(33, 33);
    let turned = moved(&square, &Motion { rotate: 90.0, ..STILL }).unwrap();
    assert!(largest(turned - square.rot90(-1, [2, 3])) < 0.05);
    // Twice as large: the middle, enlarged.
    let zoomed = moved(&image, &Motion { zoom: 2.0, ..STILL }).unwrap();
    let middle = image.narrow(2, 7, 16).narrow(3, 10, 20).copy();
    let enlarged = resize(&middle, 32, 40).unwrap();
    // Away from the edges, where the middle has neighbours that the picture has not.
    let difference = zoomed.narrow(2, 2, 26).narrow(3, 2, 36) - enlarged.narrow(2, 3, 26).narrow(3, 2, 36);
    assert!(largest(difference) < 0.05);
}

#[test]
fn no_border_appears() {
    let image = rough(30, 41) + 40.0;
    for motion in [
        Motion { zoom: 0.8, rotate: 45.0, ..STILL },
        Motion { zoom: 0.8, shift_x: 256.0, shift_y: -256.0, ..STILL },
        Motion { rotate: -30.0, shift_x: 30.0, ..STILL },
    ] {
        for image in [&image, &image.narrow(3, 0, 1).contiguous(), &image.narrow(2, 0, 1).contiguous()] {
            let moved = moved(image, &motion).unwrap();
            assert_eq!(moved.size(), image.size());
            assert!(moved.min().double_value(&[]) >= 39.99, "{motion:?}");
            assert!(moved.max().double_value(&[]) <= 290.01, "{motion:?}");
        }
    }
}

fn photo() -> Bytes {
    squares(56, 40)
}

/// White in the left half.
fn left_half() -> Bytes {
    file(56, 40, |x, _| [if x < 28 { 255 } else { 0 }; 3])
}

/// What is heard of a render.
#[derive(Default)]
struct Heard {
    progress: Vec<Progress>,
    frames: Vec<FinishedOctave>,
}

fn try_render(spec: &DreamSpec, resume: Option<Vec<u8>>) -> (Result<Rendered, RenderError>, Heard) {
    try_render_with(Kernels::Auto, spec, resume)
}

fn try_render_with(
    kernels: Kernels,
    spec: &DreamSpec,
    resume: Option<Vec<u8>>,
) -> (Result<Rendered, RenderError>, Heard) {
    let heard = Arc::new(Mutex::new(Heard::default()));
    let [of_steps, of_frames] = [Arc::clone(&heard), Arc::clone(&heard)];
    let mut engine = Engine::new(Processor::new(Device::Cpu, kernels), false, 1_000_000, None);
    let rendered = engine
        .render(RenderRequest {
            input: Some(photo()),
            mask: spec.mask.map(|_| left_half()),
            resume: resume.map(Bytes::from),
            on_progress: Box::new(move |now| of_steps.lock().unwrap().progress.push(now)),
            on_octave: Some(Box::new(move |frame| of_frames.lock().unwrap().frames.push(frame))),
            ..RenderRequest::alone(random_network(), spec.clone())
        })
        .and_then(Unencoded::encode);
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    (rendered, heard)
}

fn render(spec: &DreamSpec) -> Vec<u8> {
    render_with(Kernels::Auto, spec)
}

fn render_with(kernels: Kernels, spec: &DreamSpec) -> Vec<u8> {
    try_render_with(kernels, spec, None).0.unwrap().image
}

/// A dream with `motion`, in a format that keeps every pixel.
fn moving(motion: Motion) -> DreamSpec {
    let spec = spec(objective(ObjectiveKind::L2, "sum", &[]));
    DreamSpec { motion: Some(motion), tile_size: 64, step: 6.0, recipe: false, ..spec }
}

fn frames(file: &[u8]) -> Vec<RgbImage> {
    let frames = PngDecoder::new(Cursor::new(file)).unwrap().apng().unwrap().into_frames();
    let frames = frames.collect_frames().unwrap().into_iter();
    frames.map(|frame| image::DynamicImage::ImageRgba8(frame.into_buffer()).into_rgb8()).collect()
}

/// Mean difference of two pictures.
fn apart(one: &RgbImage, other: &RgbImage) -> f64 {
    let sum: u64 = one.iter().zip(other.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / one.len() as f64
}

#[test]
fn the_first_frame_is_the_single_picture() {
    let mask = Some(Masking { feather: 4 });
    let plain = moving(Motion { frames: 1, ..ZOOM });
    for spec in [
        plain.clone(),
        DreamSpec { preserve_colors: Share(0.5), blend: 0.25, mask, ..plain.clone() },
        DreamSpec { octave_mode: OctaveMode::Enlarge, auto_contrast: true, blend: 0.5, ..plain.clone() },
        DreamSpec { max_edge: Some(30), format: Format::Png, ..plain },
    ] {
        let single = render(&DreamSpec { motion: None, ..spec.clone() });
        let single = image::load_from_memory(&single).unwrap().into_rgb8();
        assert_eq!(frames(&render(&spec)), std::slice::from_ref(&single), "{spec:?}");
        let more = DreamSpec { motion: Some(Motion { frames: 3, ..ZOOM }), ..spec };
        let more = frames(&render(&more));
        assert!(more.len() == 3 && more[0] == single, "the first frame is another one");
        assert!(more[1].dimensions() == single.dimensions() && more[1] != more[2]);
    }
}

#[test]
fn an_animation_goes_on_after_any_frame_to_the_same_bytes() {
    let boomerang = Motion { playback: Playback::Boomerang, ..ZOOM };
    // On a GPU's path frames are encoded beside the render.
    for (kernels, spec) in [
        (Kernels::Auto, moving(ZOOM)),
        (Kernels::Library, moving(ZOOM)),
        (Kernels::Auto, DreamSpec { format: Format::Webp, preserve_colors: Share(0.5), ..moving(boomerang) }),
        (
            Kernels::Library,
            DreamSpec { format: Format::Gif, blend: 0.3, mask: Some(Masking { feather: 4 }), ..moving(ZOOM) },
        ),
    ] {
        let (whole, heard) = try_render_with(kernels, &spec, None);
        let whole = whole.unwrap();
        assert!(render_with(kernels, &spec) == whole.image, "the same spec gives the same bytes");
        let numbers: Vec<_> = heard.frames.iter().map(|frame| (frame.octave, frame.octaves)).collect();
        assert_eq!(numbers, [(1, 4), (2, 4), (3, 4)]);
        for frame in heard.frames {
            assert!(image::load_from_memory(&frame.preview).unwrap().width() == 56);
            let (resumed, heard) = try_render_with(kernels, &spec, Some(frame.checkpoint));
            let resumed = resumed.unwrap();
            assert!(resumed.image == whole.image, "after frame {}", frame.octave);
            assert_eq!(resumed.score, whole.score);
            let first = heard.progress[0];
            assert_eq!(first.frame, Some(frame.octave + 1));
            assert!(first.resumed_from > 0.0 && first.resumed_from < first.fraction);
        }
        // One of another animation is ignored.
        let other = DreamSpec { motion: Some(Motion { frames: 2, ..ZOOM }), ..spec.clone() };
        let (_, heard) = try_render_with(kernels, &spec, None);
        let late = heard.frames.into_iter().next_back().unwrap().checkpoint;
        assert!(
            try_render_with(kernels, &other, Some(late)).0.unwrap().image == render_with(kernels, &other)
        );
    }
}

#[test]
fn progress_is_of_all_frames() {
    let (_, heard) = try_render(&moving(ZOOM), None);
    assert!(heard.progress.iter().map(|now| now.fraction).is_sorted());
    assert!(heard.progress.iter().all(|now| now.frames == Some(4) && now.octaves == 2));
    let last = heard.progress.last().unwrap();
    assert_eq!((last.fraction, last.frame, last.iteration), (1.0, Some(4), 2));
    // Two octaves of two steps in each frame: a quarter of the work.
    let second = heard.progress.iter().find(|now| now.frame == Some(2)).unwrap();
    assert!(second.fraction > 0.25 && second.fraction < 0.5, "{second:?}");
    let still = try_render(&DreamSpec { motion: None, ..moving(ZOOM) }, None).1;
    assert!(still.progress.iter().all(|now| (now.frame, now.frames) == (None, None)));
}

/// What comes back of the original comes back in the frames that are shown, and does not pile up in those that are dreamed on.
#[test]
fn colours_and_parts_of_the_original_do_not_pile_up() {
    let plain = moving(Motion { frames: 5, ..STILL });
    let dreamed = frames(&render(&plain));
    let photo = image::load_from_memory(&photo()).unwrap().into_rgb8();
    let mixed = frames(&render(&DreamSpec { blend: 0.5, ..plain.clone() }));
    for (frame, dream) in mixed.iter().zip(&dreamed) {
        let half = RgbImage::from_fn(56, 40, |x, y| {
            let (one, other) = (photo.get_pixel(x, y), dream.get_pixel(x, y));
            image::Rgb([0, 1, 2].map(|c| ((u16::from(one[c]) + u16::from(other[c])) / 2) as u8))
        });
        assert!(apart(frame, &half) <= 1.0, "{}", apart(frame, &half));
    }
    // The dream goes on growing, and so does what is shown of it.
    let change = |frames: &[RgbImage]| frames.iter().map(|frame| apart(frame, &photo)).collect::<Vec<_>>();
    for spec in
        [DreamSpec { blend: 0.5, ..plain.clone() }, DreamSpec { preserve_colors: Share(0.5), ..plain }]
    {
        let change = change(&frames(&render(&spec)));
        assert!(change.is_sorted() && change[4] > 1.2 * change[0], "{change:?}");
    }
}

#[test]
fn with_a_mask_the_rest_of_the_picture_stands_still() {
    let spec = DreamSpec { mask: Some(Masking { feather: 0 }), ..moving(ZOOM) };
    let photo = image::load_from_memory(&photo()).unwrap().into_rgb8();
    let frames = frames(&render(&spec));
    for (index, frame) in frames.iter().enumerate() {
        let of = |image: &RgbImage, x| image::imageops::crop_imm(image, x, 0, 28, 40).to_image();
        assert_eq!(of(frame, 28), of(&photo, 28), "frame {index}");
        let before = if index == 0 { &photo } else { &frames[index - 1] };
        assert!(apart(&of(frame, 0), &of(before, 0)) > 2.0, "frame {index}");
    }
}

#[test]
fn each_frame_has_steps_and_jitter_of_its_own() {
    let once = |iterations| moving(Motion { frames: 2, iterations, ..STILL });
    let (_, heard) = try_render(&once(5), None);
    let steps = |frame| heard.progress.iter().filter(|now| now.frame == Some(frame)).count();
    assert_eq!((steps(1), steps(2)), (2 * 2, 2 * 5));
    // A second frame with the jitter of the first would be what the first has with twice the steps in one octave.
    let one_octave = DreamSpec { octaves: Count::Of(1), ..once(2) };
    let second = &frames(&render(&one_octave))[1];
    let (longer, other) = (
        DreamSpec { motion: None, iterations: Count::Of(4), ..one_octave.clone() },
        DreamSpec { seed: 1, ..one_octave },
    );
    let longer = image::load_from_memory(&render(&longer)).unwrap().into_rgb8();
    assert!(apart(second, &longer) < 20.0 && *second != longer);
    assert!(frames(&render(&other))[1] != *second);
}

#[test]
fn a_transparent_photo_gets_an_opaque_animation_and_a_note() {
    let rgb = Samples::Eight(vec![120; 56 * 40 * 3]);
    let picture = Picture { width: 56, height: 40, rgb, alpha: Some(vec![90; 56 * 40]) };
    let input = picture.encode(Encoding { format: Format::Png, quality: 90, lossless: false }).unwrap();
    let mut engine = Engine::new(Processor::new(Device::Cpu, Kernels::Auto), false, 1_000_000, None);
    let rendered = engine
        .render(RenderRequest {
            input: Some(input.into()),
            ..RenderRequest::alone(random_network(), moving(Motion { frames: 2, ..ZOOM }))
        })
        .and_then(Unencoded::encode);
    let rendered = rendered.unwrap();
    assert!(rendered.notes.iter().any(|note| note.contains("no transparency")), "{:?}", rendered.notes);
    assert_eq!(frames(&rendered.image).len(), 2);
}
