//! Batches change how long a dream takes, and nothing else.

use std::sync::{Arc, Mutex, atomic::Ordering, mpsc};

use tch::{Device, Kind, Tensor};

use super::{
    super::{
        Backend as _, CancelFlag, RenderError, RenderRequest, Rendered, Unencoded,
        device::Processor,
        engine::Engine,
        exec::Executor,
        library::Kernels,
        objective::{BoundObjective, TileObjective, gradients},
        tests::{objective, random_network, spec},
    },
    GradientSource, NetworkKey, SharedExecutor,
};
use reverie_dream::spec::{Count, DreamSpec, Noise, Normalization, Objective, ObjectiveKind, Precision};

fn objectives() -> [Objective; 3] {
    [
        objective(ObjectiveKind::L2, "sum", &[]),
        objective(ObjectiveKind::Mean, "sum", &[1, 5]),
        objective(ObjectiveKind::L2, "sum", &[0]),
    ]
}

#[test]
fn a_tile_has_the_same_gradient_in_any_batch() {
    tch::manual_seed(4);
    for kind in [Kind::Float, Kind::BFloat16] {
        let executor = Executor::new(random_network(), Device::Cpu, kind).unwrap();
        let class = |kind, layer| Objective { class: Some(3), ..objective(kind, layer, &[]) };
        let rows = ["logits", "softmax"].map(|layer| {
            let [class, probability] =
                [ObjectiveKind::Class, ObjectiveKind::Probability].map(|kind| class(kind, layer));
            [class, objective(ObjectiveKind::L2, layer, &[]), probability]
        });
        // One that shares its layer but not what it is a mean over.
        let [all, some, _] = objectives();
        let mixed = [all, class(ObjectiveKind::Class, "sum"), some];
        for objectives in [objectives(), mixed].into_iter().chain(rows) {
            for (height, width) in [(13, 18), (64, 47), (26, 28), (4, 4), (1, 1)] {
                agree(
                    &executor,
                    &objectives,
                    Tensor::rand([3, 3, height, width], (Kind::Float, Device::Cpu)),
                );
            }
        }
    }
}

/// One objective for each of three tiles, together and alone.
fn agree(executor: &Executor, objectives: &[Objective; 3], tiles: Tensor) {
    let tiles = tiles * 255.0;
    let bound = |objective| BoundObjective::new(executor.network(), std::slice::from_ref(objective)).unwrap();
    let goals = objectives.each_ref().map(bound);
    let tile_objectives =
        goals.each_ref().map(|bound| TileObjective { bound, whole: Some(&[1000.0]), tile: 0 });
    let (scores, together) = gradients(executor, &tiles, &tile_objectives).unwrap();
    let scores = Vec::<f64>::try_from(&scores).unwrap();
    for (index, tile_objective) in tile_objectives.iter().enumerate() {
        let (score, alone) =
            gradients(executor, &tiles.narrow(0, index as i64, 1), &[*tile_objective]).unwrap();
        assert_eq!(score.double_value(&[0]).to_bits(), scores[index].to_bits(), "{:?}", objectives[index]);
        assert_eq!(together.narrow(0, index as i64, 1), alone, "{:?}, {:?}", objectives[index], tiles.size());
        assert!(alone.isfinite().all() == Tensor::from(true));
    }
}

/// A dream from noise in tiles of 64 pixels.
fn small(seed: u64, edge: u32, objective: Objective) -> DreamSpec {
    let noise = Some(Noise { width: edge, height: edge });
    DreamSpec { noise, seed, tile_size: 64, iterations: Count::Of(12), recipe: false, ..spec(objective) }
}

/// Renders on threads of their own, all at once; each is canceled after so many steps where there is a number.
fn render(
    kernels: Kernels,
    shared: Option<&SharedExecutor>,
    specs: &[(DreamSpec, Option<u32>)],
) -> Vec<Result<Rendered, RenderError>> {
    let model = random_network();
    std::thread::scope(|scope| {
        let threads = specs.iter().cloned().map(|(spec, stop)| {
            let (model, shared) = (Arc::clone(&model), shared.cloned());
            scope.spawn(move || {
                let cancel = CancelFlag::default();
                let flag = cancel.clone();
                let request = RenderRequest {
                    on_progress: Box::new(move |now| {
                        if stop == Some(now.iteration) {
                            flag.cancel();
                        }
                    }),
                    cancel,
                    ..RenderRequest::alone(model, spec)
                };
                Engine::new(Processor::new(Device::Cpu, kernels), false, 1_000_000, shared)
                    .render(request)
                    .and_then(Unencoded::encode)
            })
        });
        let threads = threads.collect::<Vec<_>>();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn renders_that_share_a_network_make_the_dreams_that_they_make_alone() {
    let [all, some, one] = objectives();
    let mut specs = vec![
        (small(1, 100, all.clone()), None),
        (small(2, 100, some), None),
        (small(3, 100, one), None),
        // Of another size, and of another layer.
        (small(4, 64, all), None),
        (small(5, 100, objective(ObjectiveKind::Mean, "lrn", &[3])), None),
    ];
    let alone: Vec<Rendered> = specs
        .iter()
        .flat_map(|spec| render(Kernels::Auto, None, std::slice::from_ref(spec)))
        .map(Result::unwrap)
        .collect();
    // Two that are canceled.
    specs.push((DreamSpec { seed: 6, ..specs[0].0.clone() }, Some(1)));
    specs.push((DreamSpec { seed: 7, ..specs[0].0.clone() }, Some(5)));
    let shared = SharedExecutor::start(Processor::new(Device::Cpu, Kernels::Auto)).unwrap();
    let mut together = render(Kernels::Auto, Some(&shared), &specs);
    for canceled in together.split_off(alone.len()) {
        assert!(matches!(canceled, Err(RenderError::Canceled)), "{canceled:?}");
    }
    for (alone, together) in alone.into_iter().zip(together) {
        let together = together.unwrap();
        assert_eq!(alone.image, together.image);
        assert_eq!(alone.score.to_bits(), together.score.to_bits());
    }
    assert!(shared.largest.load(Ordering::SeqCst) > 1, "no two tiles ever went together");
}

#[test]
fn a_render_does_not_fail_because_of_another() {
    let model = random_network();
    let shared = SharedExecutor::start(Processor::new(Device::Cpu, Kernels::Auto)).unwrap();
    let key = NetworkKey { model: model.sha256.clone(), precision: Precision::Fp32 };
    let tile = Mutex::new(Tensor::rand([1, 3, 20, 30], (Kind::Float, Device::Cpu)));
    let tile = || tile.lock().unwrap().copy();
    let (good, bad) = (objective(ObjectiveKind::L2, "sum", &[1]), objective(ObjectiveKind::L2, "sum", &[99]));
    let bound = |objective| BoundObjective::new(&model.network, std::slice::from_ref(objective)).unwrap();
    let cancel = CancelFlag::default();
    let (first, fresh) = shared.source(&model, key.clone()).unwrap();
    assert!(fresh && !shared.source(&model, key.clone()).unwrap().1);
    let expected = first.gradients(tile(), &bound(&good), None, &cancel).unwrap();
    // Until batches of two are tried, and while they are.
    let (sender, outcomes) = mpsc::channel();
    std::thread::scope(|scope| {
        for objective in [&good, &bad] {
            let (sender, (source, _)) = (sender.clone(), shared.source(&model, key.clone()).unwrap());
            let (bound, tile, cancel) = (bound(objective), tile(), cancel.clone());
            scope.spawn(move || {
                for _ in 0..20 {
                    let outcome = source.gradients(tile.shallow_clone(), &bound, None, &cancel);
                    sender.send((objective.channels[0], outcome)).unwrap();
                }
            });
        }
    });
    drop(sender);
    let mut seen = [0, 0];
    for (channel, outcome) in outcomes {
        if channel == 1 {
            seen[0] += 1;
            let (scores, gradient) = outcome.unwrap();
            assert_eq!((scores, gradient), expected);
        } else {
            seen[1] += 1;
            assert!(matches!(outcome, Err(RenderError::Engine(_))));
        }
    }
    assert_eq!(seen, [20, 20]);
}

/// A large dream on the library path, where batches are fixed, windows all of one size, and scalars stay on the device.
#[test]
fn on_the_library_path_the_same_job_gives_the_same_bytes() {
    let [all, some, _] = objectives();
    let normalizations = [Normalization::Laplacian, Normalization::MeanAbs, Normalization::Std];
    let spec =
        |normalization| DreamSpec { normalization, iterations: Count::Of(3), ..small(8, 150, all.clone()) };
    let specs = normalizations.map(|normalization| (spec(normalization), None));
    let once = || render(Kernels::Library, None, &specs).into_iter().map(Result::unwrap);
    for (one, other) in once().zip(once()) {
        assert_eq!(one.image, other.image);
        assert_eq!(one.score.to_bits(), other.score.to_bits());
    }
    // Together, in batches that depend on who is there, dreams are much alike.
    let specs = [(small(8, 150, all.clone()), None), (small(8, 150, all), None), (small(8, 150, some), None)];
    let shared = SharedExecutor::start(Processor::new(Device::Cpu, Kernels::Library)).unwrap();
    let alone = render(Kernels::Library, None, &specs);
    for (alone, together) in alone.into_iter().zip(render(Kernels::Library, Some(&shared), &specs)) {
        let (alone, together) = (alone.unwrap().score, together.unwrap().score);
        assert!((alone - together).abs() < 0.02 * alone.abs(), "{alone}, {together}");
    }
    assert!(shared.largest.load(Ordering::SeqCst) > 9, "no batch held the tiles of two dreams");
}
