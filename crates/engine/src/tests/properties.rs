//! What holds whatever the network and the image: finite values, exact reassembly, derivatives that agree with
//! finite differences, equal bytes for equal seeds.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::{
    super::{
        CancelFlag, RenderError,
        batch::{GradientSource, LocalExecutor},
        checkpoint::{Checkpoint, Snapshot},
        dream::{Callbacks, Start, dream},
        exec::{Executor, Manner},
        finish::to_picture,
        laplacian::Laplacian,
        mask::Mask,
        objective::BoundObjective,
        original::Original,
        pyramid::Octaves,
        seams,
        tiles::TiledGradient,
    },
    objective, otherwise, random_network, spec,
};
use reverie_dream::{
    plan::{Grid, HALO, octave_sizes},
    spec::{Count, DreamSpec, Masking, Objective, ObjectiveKind, OctaveMode, Precision, Tiling},
};
use reverie_graph::Op;
use reverie_models as models;
use reverie_picture as picture;

#[test]
fn laplacian_normalisation_of_any_size_is_finite() {
    for library in [false, true] {
        laplacian_is_finite(&Laplacian::new(Device::Cpu, library, None).unwrap());
    }
}

fn laplacian_is_finite(laplacian: &Laplacian) {
    for (height, width) in [(1, 1), (1, 9), (2, 3), (5, 1), (17, 31), (64, 64)] {
        for image in [
            Tensor::randn([1, 3, height, width], (Kind::Float, Device::Cpu)),
            Tensor::zeros([1, 3, height, width], (Kind::Float, Device::Cpu)),
        ] {
            laplacian.normalize(&image, 4).unwrap();
            assert_eq!(image.isfinite().all().int64_value(&[]), 1);
        }
    }
}

#[test]
fn octaves_reassemble_the_image_exactly() {
    for (height, width) in [(97, 131), (64, 200), (3, 5), (1, 1)] {
        let image = Tensor::rand([1, 3, height, width], (Kind::Float, Device::Cpu)) * 255.0;
        let original = Original::of_floats(&image);
        let sizes = octave_sizes(height, width, 4, 1.4, &|_, _| true);
        let mut octaves = Octaves::carry_detail(&original, sizes.clone()).unwrap();
        assert_eq!(octaves.sizes(), sizes);
        let start = octaves.base().unwrap();
        let whole = (1..sizes.len()).fold(start, |image, octave| octaves.advance(octave, image).unwrap());
        assert_eq!(whole, image);
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    tch::manual_seed(3);
    // Finite differences need more digits than float32 has.
    let executor = Executor::new(random_network(), Device::Cpu, Kind::Double).unwrap();
    let image = Tensor::rand([1, 3, 13, 18], (Kind::Double, Device::Cpu)) * 255.0;
    for objective in [
        objective(ObjectiveKind::L2, "sum", &[]),
        objective(ObjectiveKind::Mean, "lrn", &[1, 5]),
        Objective { class: Some(3), ..objective(ObjectiveKind::Class, "softmax", &[]) },
        Objective { class: Some(7), ..objective(ObjectiveKind::Probability, "logits", &[]) },
    ] {
        let bound = BoundObjective::new(executor.network(), std::slice::from_ref(&objective)).unwrap();
        let (_, gradient) = bound.gradient(&executor, &image).unwrap();
        let direction = Tensor::randn_like(&image);
        let along = |t: f64| bound.score(&executor, &(&image + &direction * t)).unwrap().double_value(&[]);
        let step = 1e-3;
        let measured = (along(step) - along(-step)) / (2.0 * step);
        let analytic = (&gradient * &direction).sum(Kind::Double).double_value(&[]);
        let error = (measured - analytic).abs() / analytic.abs();
        assert!(error < 1e-4, "{objective:?}: {measured} against {analytic}");
    }
}

#[test]
fn tiles_with_a_halo_as_wide_as_the_network_sees_are_seamless() {
    tch::manual_seed(11);
    let own = LocalExecutor::new(Executor::new(random_network(), Device::Cpu, Kind::Float).unwrap());
    let objective = objective(ObjectiveKind::L2, "sum", &[]);
    for (height, width) in [(300, 217), (129, 511)] {
        let image = Tensor::rand([1, 3, height, width], (Kind::Float, Device::Cpu)) * 255.0;
        let seams = seams::measure_on(&own, &objective, &image, 128).unwrap();
        let even = |halo| seams.iter().find(|seam| seam.tiling == "even" && seam.halo == halo).unwrap();
        // "sum" is influenced by 39 pixels, 19 to each side: none of them lies beyond the halo.
        // Rounding is below 1e-5, but one ReLU at its kink can be on another side in a tile: 2e-4 was seen.
        assert!(even(HALO).border < 1e-3 && even(HALO).interior < 1e-3, "{:?}", even(HALO));
        assert_eq!(even(HALO).skipped, 0.0);
        // Without a halo the measure sees the borders.
        assert!(even(0).border > 0.1 && even(0).border > 3.0 * even(0).interior, "{:?}", even(0));
    }
}

#[test]
fn uniform_tiles_see_the_picture_as_a_torus() {
    tch::manual_seed(12);
    let manner = Manner { library_only: true, ..Manner::of(Kind::Float) };
    let own = LocalExecutor::new(Executor::with_manner(random_network(), Device::Cpu, manner).unwrap());
    let objective = objective(ObjectiveKind::L2, "sum", &[]);
    let bound = BoundObjective::new(own.network(), std::slice::from_ref(&objective)).unwrap();
    let (height, width) = (256, 192);
    let image = Tensor::rand([1, 3, height, width], (Kind::Float, Device::Cpu)) * 255.0;
    let cancel = CancelFlag::default();
    let walked = |uniform, shift| {
        let stride = bound.stride(own.network());
        let grid = Grid { tile: 128, halo: HALO, stride, tiling: Tiling::Even, uniform };
        let [rows, columns] = grid.strips(height, width);
        assert!(rows.len() > 1 && columns.len() > 1);
        assert_eq!(uniform, rows[0].window.start < 0);
        TiledGradient::over(&own, &bound, grid, &cancel).gradient(&image, shift).unwrap()
    };
    // The same picture with 64 pixels of its other side at every edge, as one tile. A mean over more positions is less.
    let beside = |n| (n - 64, n + 128);
    let ((top, rows), (left, columns)) = (beside(height), beside(width));
    let wide = image.repeat([1, 1, 3, 3]).narrow(2, top, rows).narrow(3, left, columns);
    let more = (rows * columns) as f64 / (height * width) as f64;
    let (_, torus) = bound.gradient(own.executor(), &wide.contiguous()).unwrap();
    let torus = torus.narrow(2, 64, height).narrow(3, 64, width) * more;
    let error = |gradient: Tensor| ((gradient - &torus).norm() / torus.norm()).double_value(&[]);
    // Offsets that keep the phase of the strides.
    for shift in [(0, 0), (24, 52), (100, 4)] {
        assert!(error(walked(true, shift).1) < 1e-5, "{shift:?}");
    }
    // Windows that end at the edge of the rolled picture see padding there.
    assert!(error(walked(false, (24, 52)).1) > 1e-2);
}

#[test]
fn the_way_back_agrees_with_autograd() {
    tch::manual_seed(5);
    let fixture =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join("tests/fixtures/tiny_graph.pb");
    let tiny = Arc::new(models::load_file(&fixture).unwrap());
    let layers = tiny.network.nodes().iter().filter(|node| !matches!(node.op, Op::Input { .. }));
    let mut cases: Vec<_> = layers.map(|node| (Arc::clone(&tiny), node.name.clone())).collect();
    cases.extend(["lrn", "sum", "softmax"].map(|layer| (random_network(), layer.to_owned())));
    let both =
        |(model, layer): (Arc<_>, String)| [(Arc::clone(&model), layer.clone(), false), (model, layer, true)];
    for (model, layer, library) in cases.into_iter().flat_map(both) {
        let manner = Manner { library_only: library, ..Manner::of(Kind::Double) };
        let executor = Executor::with_manner(model, Device::Cpu, manner).unwrap();
        let objective = objective(ObjectiveKind::L2, &layer, &[]);
        let bound = BoundObjective::new(executor.network(), std::slice::from_ref(&objective)).unwrap();
        // Even and odd sizes: TensorFlow's padding differs, and last rows may be out of reach.
        for (height, width) in [(33, 47), (64, 40), (38, 37), (35, 66)] {
            if bound.check(executor.network(), height, width).is_err() {
                continue;
            }
            let image = Tensor::rand([1, 3, height, width], (Kind::Double, Device::Cpu)) * 255.0;
            let (_, gradient) = bound.gradient(&executor, &image).unwrap();
            let leaf = image.set_requires_grad(true);
            let score = bound.score(&executor, &leaf).unwrap();
            let expected = Tensor::run_backward(&[&score], &[&leaf], false, false).remove(0);
            let scale = expected.norm().double_value(&[]).max(1e-12);
            // The gradient leaves the executor in single precision.
            let error = (&gradient - &expected).norm().double_value(&[]) / scale;
            assert!(error < 1e-6, "{layer} at {height}×{width}, library {library}: {error}");
        }
    }
}

/// Dreams on `random_network` without any callback.
fn run(spec: &DreamSpec, image: &Tensor, resume: Option<Checkpoint>) -> (Tensor, Vec<Checkpoint>) {
    let own = LocalExecutor::new(Executor::new(random_network(), Device::Cpu, Kind::Float).unwrap());
    let bound = BoundObjective::new(own.network(), &spec.objectives).unwrap();
    let cancel = CancelFlag::default();
    let tiled = TiledGradient::new(&own, &bound, spec, &cancel);
    let (mut fractions, mut checkpoints) = (Vec::new(), Vec::new());
    let callbacks = Callbacks {
        on_begin: &mut |_, _| Ok(None),
        on_progress: &mut |progress| fractions.push(progress.fraction),
        on_octave: &mut |_, checkpoint| {
            checkpoints
                .push(Checkpoint { octave: checkpoint.octave, image: checkpoint.image.shallow_clone() });
            Ok(())
        },
        previews: None,
    };
    let original = Original::of_floats(image);
    let mask = (spec.mask.is_some()).then(|| Mask::new(&left_half(), 0, Device::Cpu).unwrap());
    let start = Start { mask: mask.as_ref(), resume, ..Start::of(&original) };
    let dreamed = dream(&tiled, spec, start, u64::MAX, callbacks).unwrap();
    assert!(fractions.is_sorted() && fractions.last() == Some(&1.0));
    (dreamed.image, checkpoints)
}

fn slope() -> Tensor {
    Tensor::full([1, 3, 40, 56], 90.0, (Kind::Float, Device::Cpu))
        + Tensor::arange(56, (Kind::Float, Device::Cpu))
}

/// White in the left half of [`slope`].
fn left_half() -> picture::Mask {
    let values = (0..40 * 56).map(|index| if index % 56 < 28 { 255 } else { 0 }).collect();
    picture::Mask { width: 56, height: 40, values }
}

#[test]
fn a_mask_keeps_the_rest_of_the_picture() {
    let objective = objective(ObjectiveKind::L2, "sum", &[]);
    let spec = DreamSpec { mask: Some(Masking { feather: 0 }), tile_size: 32, ..spec(objective) };
    for spec in [otherwise(spec.clone()), spec] {
        let change = (run(&spec, &slope(), None).0 - slope()).abs();
        let side = |start| change.narrow(3, start, 28).max().double_value(&[]);
        assert_eq!(side(28), 0.0);
        assert!(side(0) > 1.0);
    }
}

#[test]
fn feathers_soften_the_edge_of_a_mask() {
    let at = |feather, x| {
        let mask = Mask::new(&left_half(), feather, Device::Cpu).unwrap();
        mask.at(40, 56).unwrap().weight(20, x)
    };
    assert_eq!([at(0, 27), at(0, 28)], [1.0, 0.0]);
    assert!(
        (0.3..0.9).contains(&at(8, 27)) && (0.1..0.7).contains(&at(8, 28)),
        "{} {}",
        at(8, 27),
        at(8, 28)
    );
    assert_eq!([at(8, 10), at(8, 46)], [1.0, 0.0]);
}

#[test]
fn equal_seeds_give_equal_dreams_and_others_do_not() {
    let run = |seed| {
        let spec = DreamSpec { seed, tile_size: 32, ..spec(objective(ObjectiveKind::L2, "sum", &[])) };
        to_picture(&run(&spec, &slope(), None).0).unwrap()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    let run = |change: &dyn Fn(DreamSpec) -> DreamSpec| {
        let spec = otherwise(spec(objective(ObjectiveKind::L2, "sum", &[])));
        to_picture(&self::run(&change(spec), &slope(), None).0).unwrap()
    };
    let all = run(&|spec| spec);
    assert_eq!(run(&|spec| spec), all);
    assert_ne!(run(&|spec| DreamSpec { parametrization: None, ..spec }), all);
    assert_ne!(run(&|spec| DreamSpec { jitter_pixels: Some(1), ..spec }), all);
    assert_ne!(run(&|spec| DreamSpec { random_scale: None, ..spec }), all);
    assert_ne!(run(&|spec| DreamSpec { random_rotation: None, ..spec }), all);
    let noise = |seed| Original::noise(seed, 30, 40, Device::Cpu).unwrap().to_floats().unwrap();
    assert_eq!(noise(5), noise(5));
    assert_ne!(noise(5), noise(6));
    let range = [noise(5).min(), noise(5).max()].map(|value| value.double_value(&[]));
    assert!(100.0 <= range[0] && range[0] < 100.1 && 100.9 < range[1] && range[1] < 101.0, "{range:?}");
}

#[test]
fn a_resumed_dream_ends_with_the_same_bytes() {
    let plain = spec(objective(ObjectiveKind::L2, "sum", &[]));
    for (octave_mode, spec) in [
        (OctaveMode::CarryDetail, plain.clone()),
        (OctaveMode::Enlarge, plain.clone()),
        (OctaveMode::Enlarge, otherwise(plain)),
    ] {
        let spec = DreamSpec { octave_mode, octaves: Count::Of(3), ..spec };
        let (whole, checkpoints) = run(&spec, &slope(), None);
        assert_eq!(checkpoints.iter().map(|checkpoint| checkpoint.octave).collect::<Vec<_>>(), [0, 1]);
        for checkpoint in checkpoints {
            let bytes =
                Snapshot::of(checkpoint.octave, &checkpoint.image).unwrap().encode(Precision::Fp32).unwrap();
            let resume = Checkpoint::decode(&bytes, Precision::Fp32, Device::Cpu).unwrap().unwrap();
            let (resumed, later) = run(&spec, &slope(), Some(resume));
            assert_eq!(later.len() as u32, 1 - checkpoint.octave);
            assert_eq!(resumed, whole);
        }
        // One of another image is ignored.
        let stranger =
            Checkpoint { octave: 0, image: Tensor::zeros([1, 3, 9, 9], (Kind::Float, Device::Cpu)) };
        let (again, _) = run(&spec, &slope(), Some(stranger));
        assert_eq!(again, whole);
    }
}

#[test]
fn a_canceled_dream_stops() {
    let own = LocalExecutor::new(Executor::new(random_network(), Device::Cpu, Kind::Float).unwrap());
    let spec = spec(objective(ObjectiveKind::L2, "sum", &[]));
    let bound = BoundObjective::new(own.network(), &spec.objectives).unwrap();
    let cancel = CancelFlag::default();
    let tiled = TiledGradient::new(&own, &bound, &spec, &cancel);
    let callbacks = Callbacks {
        on_begin: &mut |_, _| Ok(None),
        on_progress: &mut |progress| {
            assert_eq!(progress.iteration, 1);
            cancel.cancel();
        },
        on_octave: &mut |_, _| panic!("no octave was finished"),
        previews: None,
    };
    let outcome = dream(&tiled, &spec, Start::of(&Original::of_floats(&slope())), u64::MAX, callbacks);
    assert!(matches!(outcome, Err(RenderError::Canceled)));
}

#[test]
fn an_ascent_that_runs_away_is_an_error() {
    let own = LocalExecutor::new(Executor::new(random_network(), Device::Cpu, Kind::Float).unwrap());
    for iterations in [1, 4] {
        let spec = DreamSpec {
            step: 3e38,
            iterations: Count::Of(iterations),
            ..spec(objective(ObjectiveKind::L2, "sum", &[]))
        };
        let bound = BoundObjective::new(own.network(), &spec.objectives).unwrap();
        let cancel = CancelFlag::default();
        let tiled = TiledGradient::new(&own, &bound, &spec, &cancel);
        let callbacks = Callbacks {
            on_begin: &mut |_, _| Ok(None),
            on_progress: &mut |_| {},
            on_octave: &mut |_, _| panic!("no octave was finished"),
            previews: None,
        };
        let outcome = dream(&tiled, &spec, Start::of(&Original::of_floats(&slope())), u64::MAX, callbacks);
        assert!(matches!(outcome, Err(RenderError::NotFinite { octave: 1, .. })));
    }
}
