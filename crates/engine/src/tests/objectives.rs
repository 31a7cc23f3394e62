//! Objectives that depend on the picture: channels that it picks, and places in it; and penalties, as far as a whole dream shows
//! them.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tch::{Device, Kind, Tensor};

use super::{
    super::{
        Backend as _, CancelFlag, FinishedOctave, Kernels, RenderRequest, Rendered, Unencoded,
        batch::{GradientSource as _, LocalExecutor, SharedExecutor},
        device::Processor,
        engine::Engine,
        exec::{Executor, Manner},
        objective::BoundObjective,
        tiles::TiledGradient,
    },
    objective, random_network, spec, squares,
};
use reverie_dream::{
    plan::{Grid, HALO},
    spec::{Count, DreamSpec, Motion, Objective, ObjectiveKind, OctaveMode, Pick, Playback, Spot, Tiling},
};
use reverie_picture::{self as picture, Picture, Samples};

fn photo() -> Bytes {
    squares(56, 40)
}

fn engine(kernels: Kernels, shared: Option<SharedExecutor>) -> Engine {
    Engine::new(Processor::new(Device::Cpu, kernels), false, 1_000_000, shared)
}

fn render(engine: &mut Engine, spec: &DreamSpec, resume: Option<Vec<u8>>) -> (Rendered, Vec<FinishedOctave>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let of_octaves = Arc::clone(&heard);
    let rendered = engine
        .render(RenderRequest {
            input: Some(photo()),
            resume: resume.map(Bytes::from),
            on_octave: Some(Box::new(move |octave| of_octaves.lock().unwrap().push(octave))),
            ..RenderRequest::alone(random_network(), spec.clone())
        })
        .and_then(Unencoded::encode);
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    (rendered.unwrap(), heard)
}

fn picking(pick: Pick) -> DreamSpec {
    let picked = Objective { pick: Some(pick), count: Some(3), ..objective(ObjectiveKind::Mean, "sum", &[]) };
    DreamSpec { octaves: Count::Of(3), tile_size: 64, seed: 5, ..spec(picked) }
}

/// The channels that the note of a result names, sorted.
fn named(rendered: &Rendered) -> Vec<u32> {
    let [note] = &rendered.notes[..] else { panic!("{:?}", rendered.notes) };
    let (_, channels) = note.rsplit_once(": ").unwrap();
    let mut channels: Vec<u32> = channels.split(", ").map(|channel| channel.parse().unwrap()).collect();
    channels.sort_unstable();
    channels
}

fn pixels(file: &[u8]) -> Picture {
    picture::decode(file, 1_000_000).unwrap()
}

#[test]
fn picked_channels_are_those_that_the_note_names() {
    let mut engine = engine(Kernels::Auto, None);
    let picks = [Pick::Strongest, Pick::Weakest, Pick::Random].map(|pick| {
        let asked = picking(pick);
        let (rendered, _) = render(&mut engine, &asked, None);
        let channels = named(&rendered);
        assert_eq!(channels.len(), 3);
        let written =
            DreamSpec { objectives: vec![objective(ObjectiveKind::Mean, "sum", &channels)], ..asked };
        assert_eq!(pixels(&render(&mut engine, &written, None).0.image), pixels(&rendered.image), "{pick:?}");
        // The recipe says what was asked for, so that a replay on another picture picks anew.
        let recipe = picture::recipe::extract(&rendered.image).unwrap();
        assert!(recipe.contains("\"pick\":") && recipe.contains("\"count\":3"), "{recipe}");
        channels
    });
    assert!(picks[0] != picks[1] && picks[1] != picks[2]);
    // As the network has it on the first octave: one tile here.
    let executor = Executor::new(random_network(), Device::Cpu, Kind::Float).unwrap();
    let of_picture = picture::decode(&photo(), 10_000).unwrap();
    let Samples::Eight(rgb) = &of_picture.rgb else { panic!("eight bits") };
    let image = Tensor::from_slice(rgb).view([1, 40, 56, 3]).permute([0, 3, 1, 2]).to_kind(Kind::Float);
    let sum = executor.network().find("sum").unwrap();
    let small = super::super::resample::resize(&image.contiguous(), 20, 28).unwrap();
    let means = tch::no_grad(|| executor.forward(&small, &[sum]).unwrap().remove(0)).mean_dim(
        &[0i64, 2, 3][..],
        false,
        Kind::Double,
    );
    let (_, order) = means.sort(0, true);
    let mut strongest: Vec<u32> = (0..3).map(|rank| order.int64_value(&[rank]) as u32).collect();
    strongest.sort_unstable();
    assert_eq!(picks[0], strongest);
}

#[test]
fn a_dream_of_picked_channels_goes_on_after_a_checkpoint_to_the_same_bytes() {
    for (pick, octave_mode) in
        [(Pick::Strongest, OctaveMode::CarryDetail), (Pick::Random, OctaveMode::Enlarge)]
    {
        let spec = DreamSpec { octave_mode, octave_scale: 1.2, ..picking(pick) };
        let mut alone = engine(Kernels::Auto, None);
        let (whole, octaves) = render(&mut alone, &spec, None);
        assert_eq!(octaves.len(), 2);
        for octave in octaves {
            let (resumed, _) = render(&mut alone, &spec, Some(octave.checkpoint));
            assert!(resumed.image == whole.image && resumed.notes == whole.notes);
        }
        let shared = SharedExecutor::start(Processor::new(Device::Cpu, Kernels::Auto)).unwrap();
        let (together, _) = render(&mut engine(Kernels::Auto, Some(shared)), &spec, None);
        assert!(together.image == whole.image && together.notes == whole.notes);
    }
    let motion = Motion {
        frames: 3,
        zoom: 1.05,
        rotate: 0.0,
        shift_x: 0.0,
        shift_y: 0.0,
        iterations: 1,
        fps: 10,
        playback: Playback::Repeat,
    };
    let moving = DreamSpec { motion: Some(motion), ..picking(Pick::Weakest) };
    let mut alone = engine(Kernels::Auto, None);
    let (whole, frames) = render(&mut alone, &moving, None);
    let (resumed, _) =
        render(&mut alone, &moving, frames.into_iter().next_back().map(|frame| frame.checkpoint));
    assert!(resumed.image == whole.image && resumed.notes == whole.notes);
    assert_eq!(named(&whole), named(&render(&mut alone, &picking(Pick::Weakest), None).0));
}

/// Tiles and jitter change nothing of where a form grows: away from borders, the gradient is that of the picture as one tile.
#[test]
fn a_place_is_the_pictures_whatever_tiles_lie_on_it() {
    tch::manual_seed(13);
    let (height, width) = (256, 320);
    let image = Tensor::rand([1, 3, height, width], (Kind::Float, Device::Cpu)) * 255.0;
    let cancel = CancelFlag::default();
    for library in [false, true] {
        let manner = Manner { library_only: library, ..Manner::of(Kind::Float) };
        let own = LocalExecutor::new(Executor::with_manner(random_network(), Device::Cpu, manner).unwrap());
        let spot = Some(Spot { x: 0.4, y: 0.55, radius: 0.1 });
        let placed = Objective { at: spot, ..objective(ObjectiveKind::L2, "sum", &[]) };
        let bound = BoundObjective::new(own.network(), &[placed]).unwrap().on(Device::Cpu).unwrap();
        let stride = bound.stride(own.network());
        let over = |tile, shift| {
            let grid =
                Grid { tile, halo: HALO, stride, tiling: Tiling::Even, uniform: library && tile < 512 };
            TiledGradient::over(&own, &bound, grid, &cancel).gradient(&image, shift).unwrap()
        };
        let (score, whole) = over(512, (0, 0));
        // None of them brings the place near the edge of what is rolled: without uniform windows the picture is no torus.
        for shift in [(0, 0), (60, 20), (92, 24)] {
            let (tiled_score, tiled) = over(128, shift);
            let error = ((&tiled - &whole).norm() / whole.norm()).double_value(&[]);
            // Strides begin elsewhere where the shift is none of theirs; one ReLU at its kink may be on another side.
            assert!(error < 2e-3, "{shift:?}, library {library}: {error}");
            assert!((tiled_score - score).abs() < 0.3 * score.abs(), "{tiled_score}, {score}");
        }
        // Where it grows, and where it does not.
        let mean = |y: i64, x: i64| {
            whole.narrow(2, y, 32).narrow(3, x, 32).abs().mean(Kind::Double).double_value(&[])
        };
        assert!(mean(125, 112) > 1e3 * mean(0, 288), "{} against {}", mean(125, 112), mean(0, 288));
    }
}

/// A window that is larger than the picture sees parts of it twice; a place counts once.
#[test]
fn a_place_scores_alike_in_a_window_larger_than_the_picture() {
    tch::manual_seed(14);
    let image = Tensor::rand([1, 3, 193, 150], (Kind::Float, Device::Cpu)) * 255.0;
    let cancel = CancelFlag::default();
    let manner = Manner { library_only: true, ..Manner::of(Kind::Float) };
    let own = LocalExecutor::new(Executor::with_manner(random_network(), Device::Cpu, manner).unwrap());
    for (x, y) in [(0.5, 0.5), (0.03, 0.97), (0.9, 0.4)] {
        let spot = Some(Spot { x, y, radius: 0.05 });
        let placed = Objective { at: spot, ..objective(ObjectiveKind::L2, "sum", &[]) };
        let bound = BoundObjective::new(own.network(), &[placed]).unwrap().on(Device::Cpu).unwrap();
        let stride = bound.stride(own.network());
        let scores = [false, true].map(|uniform| {
            let grid = Grid { tile: 512, halo: HALO, stride, tiling: Tiling::Even, uniform };
            assert_eq!(grid.strips(193, 150)[0][0].window.length > 193, uniform);
            let tiled = TiledGradient::over(&own, &bound, grid, &cancel);
            let (climbed, _) = tiled.gradient(&image, (0, 0)).unwrap();
            assert_eq!(climbed, tiled.score(&image).unwrap());
            climbed
        });
        // At the edges the network sees the other side instead of padding.
        let ratio = scores[1] / scores[0];
        assert!((0.8..1.25).contains(&ratio), "({x}, {y}): {scores:?}");
    }
}

#[test]
fn total_variation_smooths_and_decay_draws_to_grey() {
    for kernels in [Kernels::Auto, Kernels::Library] {
        let mut engine = engine(kernels, None);
        let plain = DreamSpec { iterations: Count::Of(8), ..spec(objective(ObjectiveKind::L2, "sum", &[])) };
        let mut of = |spec: &DreamSpec| {
            let Samples::Eight(rgb) = pixels(&render(&mut engine, spec, None).0.image).rgb else {
                panic!("eight")
            };
            let image = Tensor::from_slice(&rgb).view([40, 56, 3]).to_kind(Kind::Float);
            let rough =
                (image.narrow(1, 1, 55) - image.narrow(1, 0, 55)).abs().mean(Kind::Double).double_value(&[]);
            (rough, (image - 127.5).abs().mean(Kind::Double).double_value(&[]))
        };
        let (rough, far) = of(&plain);
        let (smooth, _) = of(&DreamSpec { total_variation: 1.0, ..plain.clone() });
        let (_, near) = of(&DreamSpec { l2_decay: 2.0, ..plain.clone() });
        assert!(smooth < 0.8 * rough, "{kernels:?}: {smooth}, {rough}");
        assert!(near < far - 3.0, "{kernels:?}: {near}, {far}");
    }
}
