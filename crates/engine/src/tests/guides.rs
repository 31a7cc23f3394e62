//! Dreams that follow a guide image: their gradient against autograd, and what they take up.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use tch::{Device, Kind, Tensor};

use super::{
    super::{
        Backend as _, FinishedOctave, RenderError, RenderRequest, Rendered, Unencoded,
        batch::SharedExecutor,
        device::Processor,
        engine::Engine,
        exec::{Executor, Manner},
        guide::Guide,
        library::Kernels,
        objective::{BoundObjective, TileObjective, gradients},
    },
    file, objective, random_network, spec,
};
use reverie_dream::{
    model::Model,
    plan::{DOTS, MAX_COLUMNS},
    spec::{Count, DreamSpec, Motion, Objective, ObjectiveKind, OctaveMode, Playback},
};
use reverie_models as models;

const KINDS: [ObjectiveKind; 2] = [ObjectiveKind::Guide, ObjectiveKind::GuideCosine];

/// The objectives, bound to the features of `guide`.
fn guided(executor: &Executor, objectives: &[Objective], guide: &Tensor) -> BoundObjective {
    let bound = BoundObjective::new(executor.network(), objectives).unwrap();
    let features = tch::no_grad(|| executor.forward(guide, bound.layers()).unwrap());
    bound.guided_by(&features).unwrap()
}

fn random_image(kind: Kind, tiles: i64, height: i64, width: i64) -> Tensor {
    Tensor::rand([tiles, 3, height, width], (kind, Device::Cpu)) * 255.0
}

/// `[positions, channels]`, written out by other means than the renderer's.
fn vectors(activation: &Tensor) -> Tensor {
    match activation.dim() {
        4 => activation.flatten(2, 3).transpose(1, 2).flatten(0, 1),
        _ => activation.shallow_clone(),
    }
}

#[test]
fn the_gradient_leads_to_the_most_alike_position_of_the_guide() {
    tch::manual_seed(21);
    let (tiles, guide) = (random_image(Kind::Double, 2, 160, 170), random_image(Kind::Double, 1, 60, 62));
    let network = &random_network().network;
    for (library, layer, kind) in [false, true].into_iter().flat_map(|library| {
        let layers = ["lrn", "rectified", "sum", "logits"];
        layers.into_iter().flat_map(move |layer| KINDS.map(|kind| (library, layer, kind)))
    }) {
        let manner = Manner { library_only: library, ..Manner::of(Kind::Double) };
        let executor = Executor::with_manner(random_network(), Device::Cpu, manner).unwrap();
        let wanted = [network.find(layer).unwrap()];
        let bound = guided(&executor, &[Objective { weight: -0.5, ..objective(kind, layer, &[]) }], &guide);
        let of = |image: &Tensor| vectors(&executor.forward(image, &wanted).unwrap()[0]);
        let features = tch::no_grad(|| of(&guide));
        if layer == "lrn" {
            // More dot products than are held at once, for guides of which every position is kept.
            assert!(features.size()[0] <= MAX_COLUMNS && 2 * 80 * 85 * features.size()[0] > 2 * DOTS);
        }
        let features = match kind {
            ObjectiveKind::Guide => features,
            _ => &features / features.square().sum_dim_intlist(1, true, Kind::Double).sqrt(),
        };
        let tile_objectives = [TileObjective { bound: &bound, whole: None, tile: 0 }; 2];
        let (scores, gradient) = gradients(&executor, &tiles, &tile_objectives).unwrap();
        let later = bound.scores(&executor, &tiles).unwrap();
        for tile in 0..2 {
            let leaf = tiles.narrow(0, tile, 1).copy().set_requires_grad(true);
            let best = of(&leaf).matmul(&features.tr()).max_dim(1, false).0;
            let score = best.mean(Kind::Double) * -0.5;
            let expected = Tensor::run_backward(&[&score], &[&leaf], false, false).remove(0);
            let norm = |tensor: &Tensor| tensor.norm().double_value(&[]);
            let error = norm(&(gradient.narrow(0, tile, 1) - &expected)) / norm(&expected);
            // The gradient leaves the executor in single precision.
            assert!(norm(&expected) > 0.0 && error < 1e-6, "{layer}, {kind:?}, library {library}: {error}");
            let score = score.double_value(&[]);
            for found in [&scores, &later].map(|scores| scores.double_value(&[tile])) {
                assert!((found - score).abs() <= 1e-12 * score.abs(), "{layer}, {kind:?}: {found}, {score}");
            }
        }
    }
}

#[test]
fn a_guided_tile_has_the_same_bits_in_any_batch() {
    tch::manual_seed(22);
    for kind in [Kind::Float, Kind::BFloat16] {
        let executor = Executor::new(random_network(), Device::Cpu, kind).unwrap();
        let guide = random_image(Kind::Float, 1, 50, 44);
        let bounds = ["lrn", "sum", "logits"]
            .map(|layer| KINDS.map(|kind| guided(&executor, &[objective(kind, layer, &[])], &guide)));
        for (bound, (height, width)) in
            bounds.iter().flatten().zip([(64, 47), (13, 18), (1, 1)].iter().cycle())
        {
            let tiles = random_image(Kind::Float, 3, *height, *width);
            let one = TileObjective { bound, whole: Some(&[1000.0]), tile: 0 };
            let (scores, together) = gradients(&executor, &tiles, &[one; 3]).unwrap();
            for index in 0..3 {
                let (score, alone) = gradients(&executor, &tiles.narrow(0, index, 1), &[one]).unwrap();
                assert_eq!(score.double_value(&[0]).to_bits(), scores.double_value(&[index]).to_bits());
                assert_eq!(together.narrow(0, index, 1), alone);
            }
        }
    }
}

#[test]
fn of_a_fine_layer_positions_are_kept_in_even_steps() {
    let activation = Tensor::arange(2 * 120 * 90, (Kind::Double, Device::Cpu)).view([1, 2, 120, 90]);
    let guide = Guide::new(&activation, false).unwrap();
    // Which positions those are shows in what every position is nearest to: itself, where it was kept.
    let (_, chosen) = guide.best(&activation).unwrap();
    let last = chosen.max().int64_value(&[]) + 1;
    assert!(last <= MAX_COLUMNS && last > MAX_COLUMNS * 9 / 10, "{last}");
    // All products are largest with the last that was kept: in the middle of the last step.
    let followed = guide.at(&chosen, &activation, 1.0).unwrap();
    assert_eq!(followed.size(), activation.size());
    let (row, column) = (118, 88);
    assert_eq!(followed.double_value(&[0, 0, 7, 5]), activation.double_value(&[0, 0, row, column]));
}

fn photo() -> Bytes {
    file(56, 40, |x, y| [90 + x as u8, 90 + y as u8, 120])
}

fn stripes() -> Bytes {
    file(64, 48, |x, _| if (x / 4).is_multiple_of(2) { [250, 240, 20] } else { [10, 20, 90] })
}

fn checks() -> Bytes {
    file(80, 60, |x, y| if (x / 8 + y / 8).is_multiple_of(2) { [10, 160, 30] } else { [240, 230, 250] })
}

/// What is heard of a render.
#[derive(Default)]
struct Heard {
    scores: Vec<f64>,
    octaves: Vec<FinishedOctave>,
}

/// Renders [`photo`] after `guide`.
fn render(
    model: &Arc<Model>,
    engine: &mut Engine,
    spec: &DreamSpec,
    guide: Option<Bytes>,
    resume: Option<Vec<u8>>,
) -> (Result<Rendered, RenderError>, Heard) {
    let heard = Arc::new(Mutex::new(Heard::default()));
    let [of_steps, of_octaves] = [Arc::clone(&heard), Arc::clone(&heard)];
    let rendered = engine
        .render(RenderRequest {
            input: Some(photo()),
            guide,
            resume: resume.map(Bytes::from),
            on_progress: Box::new(move |now| of_steps.lock().unwrap().scores.push(now.score)),
            on_octave: Some(Box::new(move |octave| of_octaves.lock().unwrap().octaves.push(octave))),
            ..RenderRequest::alone(Arc::clone(model), spec.clone())
        })
        .and_then(Unencoded::encode);
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    (rendered, heard)
}

fn engine(kernels: Kernels, shared: Option<SharedExecutor>) -> Engine {
    Engine::new(Processor::new(Device::Cpu, kernels), false, 1_000_000, shared)
}

fn guided_spec(kind: ObjectiveKind) -> DreamSpec {
    DreamSpec { tile_size: 64, iterations: Count::Of(4), ..spec(objective(kind, "sum", &[])) }
}

#[test]
fn a_dream_takes_up_its_guide() {
    let model = random_network();
    for kernels in [Kernels::Auto, Kernels::Library] {
        let mut engine = engine(kernels, None);
        for kind in KINDS {
            let spec = DreamSpec { octaves: Count::Of(1), iterations: Count::Of(12), ..guided_spec(kind) };
            let mut dream = |guide| {
                let (rendered, heard) = render(&model, &mut engine, &spec, Some(guide), None);
                let rendered = rendered.unwrap();
                let (first, last) = (heard.scores[0], rendered.score);
                assert!(last > first + 0.1 * first.abs(), "{kind:?}, {kernels:?}: {:?}", heard.scores);
                rendered.image
            };
            let [of_stripes, of_checks] = [dream(stripes()), dream(checks())];
            assert!(of_stripes == dream(stripes()), "the same guide gives the same bytes");
            assert!(of_stripes != of_checks, "{kind:?}, {kernels:?}: another guide gives another dream");
        }
    }
}

#[test]
fn a_guided_dream_goes_on_after_a_checkpoint_and_beside_others_to_the_same_bytes() {
    let model = random_network();
    for octave_mode in [OctaveMode::CarryDetail, OctaveMode::Enlarge] {
        let spec = DreamSpec { octave_mode, octaves: Count::Of(3), ..guided_spec(ObjectiveKind::Guide) };
        let mut alone = engine(Kernels::Auto, None);
        let (whole, heard) = render(&model, &mut alone, &spec, Some(stripes()), None);
        let whole = whole.unwrap();
        assert_eq!(heard.octaves.len(), 2);
        for octave in heard.octaves {
            let (resumed, _) = render(&model, &mut alone, &spec, Some(stripes()), Some(octave.checkpoint));
            assert!(resumed.unwrap().image == whole.image);
        }
        let shared = SharedExecutor::start(Processor::new(Device::Cpu, Kernels::Auto)).unwrap();
        let mut beside = engine(Kernels::Auto, Some(shared));
        let (together, _) = render(&model, &mut beside, &spec, Some(stripes()), None);
        assert!(together.unwrap().image == whole.image);
    }
}

#[test]
fn an_animation_follows_its_guide_in_every_frame_and_after_a_checkpoint() {
    let model = random_network();
    let motion = Motion {
        frames: 4,
        zoom: 1.05,
        rotate: 2.0,
        shift_x: 0.0,
        shift_y: 0.0,
        iterations: 2,
        fps: 10,
        playback: Playback::Once,
    };
    let mut alone = engine(Kernels::Auto, None);
    for kind in KINDS {
        let spec = DreamSpec { motion: Some(motion), octaves: Count::Of(2), ..guided_spec(kind) };
        let (whole, heard) = render(&model, &mut alone, &spec, Some(stripes()), None);
        let whole = whole.unwrap();
        assert_eq!(heard.octaves.len(), 3, "{kind:?}");
        let (other, _) = render(&model, &mut alone, &spec, Some(checks()), None);
        assert!(other.unwrap().image != whole.image, "{kind:?}: another guide gives another dream");
        for frame in heard.octaves {
            // What is left to dream follows the guide that comes with it.
            let checkpoint = frame.checkpoint;
            let (resumed, _) = render(&model, &mut alone, &spec, Some(stripes()), Some(checkpoint.clone()));
            assert!(resumed.unwrap().image == whole.image, "{kind:?}");
            let (strayed, _) = render(&model, &mut alone, &spec, Some(checks()), Some(checkpoint));
            assert!(
                strayed.unwrap().image != whole.image,
                "{kind:?}: the guide is not followed after a frame"
            );
        }
    }
}

#[test]
fn what_is_wrong_with_a_guide_is_told() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join("tests/fixtures/tiny_graph.pb");
    let tiny = Arc::new(models::load_file(&fixture).unwrap());
    let mut engine = engine(Kernels::Auto, None);
    let spec = guided_spec(ObjectiveKind::Guide);
    let mut refused = |model, spec: &DreamSpec, guide| {
        let error = render(model, &mut engine, spec, guide, None).0.unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains("guide"), "{error}");
        error
    };
    let random = random_network();
    assert!(matches!(refused(&random, &spec, None), RenderError::NoGuide));
    let damaged = stripes().slice(..60);
    assert!(matches!(refused(&random, &spec, Some(damaged)), RenderError::Guide(_)));
    // The layer has no position in so few pixels.
    let layer = tiny.network.nodes().iter().find(|node| node.name == "maxpool_valid").unwrap();
    let spec = DreamSpec { objectives: vec![objective(ObjectiveKind::Guide, &layer.name, &[])], ..spec };
    let dot = file(1, 1, |_, _| [9; 3]);
    assert!(matches!(refused(&tiny, &spec, Some(dot)), RenderError::GuideShape(_)));
}
