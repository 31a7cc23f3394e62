//! What holds whatever the network and the image: finite values, exact reassembly, derivatives that agree with
//! finite differences, equal bytes for equal seeds.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::{
    super::{
        CancelFlag, RenderError,
        checkpoint::Checkpoint,
        dream::{Hooks, dream, noise},
        engine::{to_pixels, to_tensor},
        exec::Executor,
        laplacian::Laplacian,
        objective::Goal,
        pyramid::Octaves,
        tiles::Walk,
    },
    max_ratio, objective, spec,
};
use crate::{
    graph::{Array, Network, Node, NodeId, Op, Padding, Window},
    models::{Model, Preprocessing},
    plan::TooManyPixels,
    spec::{DreamSpec, Objective, ObjectiveKind, OctaveMode},
};

#[test]
fn laplacian_normalisation_of_any_size_is_finite() {
    let laplacian = Laplacian::new(Device::Cpu).unwrap();
    for (height, width) in [(1, 1), (1, 9), (2, 3), (5, 1), (17, 31), (64, 64)] {
        for image in [
            Tensor::randn([1, 3, height, width], (Kind::Float, Device::Cpu)),
            Tensor::zeros([1, 3, height, width], (Kind::Float, Device::Cpu)),
        ] {
            let normalized = laplacian.normalize(&image, 4).unwrap();
            assert_eq!(normalized.size(), image.size());
            assert_eq!(normalized.isfinite().all().int64_value(&[]), 1);
        }
    }
}

#[test]
fn octaves_reassemble_the_image() {
    for (height, width) in [(97, 131), (64, 200), (3, 5), (1, 1)] {
        let image = Tensor::rand([1, 3, height, width], (Kind::Float, Device::Cpu)) * 255.0;
        let octaves = Octaves::carry_detail(&image, 4, 1.4, &|_, _| true).unwrap();
        let pixels = octaves.pixels().unwrap();
        assert_eq!(pixels.last(), Some(&(height * width)));
        let start = octaves.base.shallow_clone();
        let whole = (1..pixels.len()).fold(start, |image, octave| octaves.advance(octave, &image).unwrap());
        assert!(max_ratio(&whole, &image) <= 1e-5);
    }
}

#[test]
fn enlarging_stops_at_the_limit() {
    let image = Tensor::zeros([1, 3, 100, 150], (Kind::Float, Device::Cpu));
    let octaves = Octaves::enlarge(&image, 3, 1.4, 60_000).unwrap();
    assert_eq!(octaves.pixels().unwrap(), [100 * 150, 140 * 210, 196 * 294]);
    let error = Octaves::enlarge(&image, 4, 1.4, 60_000).err().unwrap();
    assert!(
        matches!(error, RenderError::TooLarge(TooManyPixels { width: 411, height: 274, max_pixels: 60_000 })),
        "{error}"
    );
}

/// A small network with random weights that reaches every kind of derivative, for images of any size.
fn random_network() -> Arc<Model> {
    let mut state = 1u64;
    let mut random = |shape: &[usize]| {
        let data: Vec<f32> = (0..shape.iter().product())
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                ((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 0.8
            })
            .collect();
        Array::new(shape.to_vec(), data).unwrap()
    };
    let same = |kernel| Window { kernel: [kernel; 2], stride: [2, 2], padding: Padding::Same };
    let conv = |weight: Array, stride, groups| Op::Conv2d {
        weight,
        bias: None,
        stride: [stride; 2],
        dilation: [1, 1],
        padding: Padding::Same,
        groups,
    };
    let ops = [
        ("input", Op::Input { channels: 3 }, vec![]),
        ("conv", conv(random(&[8, 3, 3, 3]), 2, 1), vec![0]),
        ("bias", Op::BiasAdd { bias: random(&[8]) }, vec![1]),
        ("lrn", Op::Lrn { radius: 2, bias: 1.0, alpha: 0.1, beta: 0.75 }, vec![2]),
        ("average", Op::AvgPool(same(3)), vec![3]),
        ("maximum", Op::MaxPool(same(3)), vec![3]),
        ("both", Op::Concat, vec![4, 5]),
        ("depthwise", conv(random(&[16, 1, 5, 5]), 1, 16), vec![6]),
        ("sum", Op::Add, vec![6, 7]),
        ("pooled", Op::SpatialMean, vec![8]),
        ("logits", Op::MatMul { weight: random(&[16, 10]) }, vec![9]),
        ("softmax", Op::Softmax, vec![10]),
    ];
    let nodes = ops.into_iter().map(|(name, op, inputs)| Node {
        name: name.into(),
        op,
        inputs: inputs.into_iter().map(NodeId).collect(),
    });
    Arc::new(Model {
        id: "random".into(),
        description: String::new(),
        path: "none".into(),
        sha256: "random".into(),
        network: Network::new(nodes.collect()).unwrap(),
        preprocessing: Preprocessing { mean: 100.0, scale: 0.02 },
        default_layer: "sum".into(),
        class_layer: Some("logits".into()),
        channel_layer: "sum".into(),
    })
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
    ] {
        let goal = Goal::new(&executor, std::slice::from_ref(&objective), Device::Cpu).unwrap();
        let (_, gradient) = goal.gradient(&executor, &image).unwrap();
        let direction = Tensor::randn_like(&image);
        let along = |t: f64| goal.score(&executor, &(&image + &direction * t)).unwrap().double_value(&[]);
        let step = 1e-3;
        let measured = (along(step) - along(-step)) / (2.0 * step);
        let analytic = (&gradient * &direction).sum(Kind::Double).double_value(&[]);
        let error = (measured - analytic).abs() / analytic.abs();
        assert!(error < 1e-4, "{objective:?}: {measured} against {analytic}");
    }
}

/// Dreams on `random_network` without any callback.
fn run(spec: &DreamSpec, image: &Tensor, resume: Option<Checkpoint>) -> (Tensor, Vec<Checkpoint>) {
    let executor = Executor::new(random_network(), Device::Cpu, Kind::Float).unwrap();
    let goal = Goal::new(&executor, &spec.objectives, Device::Cpu).unwrap();
    let cancel = CancelFlag::default();
    let walk = Walk::new(&executor, &goal, spec, &cancel);
    let (mut fractions, mut checkpoints) = (Vec::new(), Vec::new());
    let hooks = Hooks {
        on_progress: &mut |progress| fractions.push(progress.fraction),
        on_octave: &mut |_, checkpoint| {
            checkpoints
                .push(Checkpoint { octave: checkpoint.octave, image: checkpoint.image.shallow_clone() });
            Ok(())
        },
    };
    let dreamed = dream(&walk, spec, image, u64::MAX, resume, hooks).unwrap();
    assert!(fractions.is_sorted() && fractions.last() == Some(&1.0));
    (dreamed.image, checkpoints)
}

fn slope() -> Tensor {
    to_tensor(&vec![90.0; 40 * 56 * 3], 40, 56, Device::Cpu).unwrap()
        + Tensor::arange(56, (Kind::Float, Device::Cpu))
}

#[test]
fn equal_seeds_give_equal_dreams_and_others_do_not() {
    let run = |seed| {
        let spec = DreamSpec { seed, tile_size: 32, ..spec(objective(ObjectiveKind::L2, "sum", &[])) };
        to_pixels(&run(&spec, &slope(), None).0).unwrap()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    assert_eq!(noise(5, 3, 4), noise(5, 3, 4));
    assert_ne!(noise(5, 3, 4), noise(6, 3, 4));
    assert!(noise(5, 30, 40).iter().all(|value| (100.0..101.0).contains(value)));
}

#[test]
fn a_resumed_dream_ends_with_the_same_bytes() {
    for octave_mode in [OctaveMode::CarryDetail, OctaveMode::Enlarge] {
        let spec = DreamSpec { octave_mode, octaves: 3, ..spec(objective(ObjectiveKind::L2, "sum", &[])) };
        let (whole, checkpoints) = run(&spec, &slope(), None);
        assert_eq!(checkpoints.iter().map(|checkpoint| checkpoint.octave).collect::<Vec<_>>(), [0, 1]);
        for checkpoint in checkpoints {
            let bytes = checkpoint.encode().unwrap();
            let resume = Checkpoint::decode(&bytes, Device::Cpu).unwrap().unwrap();
            let (resumed, later) = run(&spec, &slope(), Some(resume));
            assert_eq!(later.len() as u32, 1 - checkpoint.octave);
            assert_eq!(to_pixels(&resumed).unwrap(), to_pixels(&whole).unwrap());
        }
        // One of another image is ignored.
        let stranger =
            Checkpoint { octave: 0, image: Tensor::zeros([1, 3, 9, 9], (Kind::Float, Device::Cpu)) };
        let (again, _) = run(&spec, &slope(), Some(stranger));
        assert_eq!(to_pixels(&again).unwrap(), to_pixels(&whole).unwrap());
    }
}

#[test]
fn a_canceled_walk_stops() {
    let executor = Executor::new(random_network(), Device::Cpu, Kind::Float).unwrap();
    let spec = spec(objective(ObjectiveKind::L2, "sum", &[]));
    let goal = Goal::new(&executor, &spec.objectives, Device::Cpu).unwrap();
    let cancel = CancelFlag::default();
    let walk = Walk::new(&executor, &goal, &spec, &cancel);
    let hooks = Hooks {
        on_progress: &mut |progress| {
            assert_eq!(progress.iteration, 1);
            cancel.cancel();
        },
        on_octave: &mut |_, _| panic!("no octave was finished"),
    };
    let outcome = dream(&walk, &spec, &slope(), u64::MAX, None, hooks);
    assert!(matches!(outcome, Err(RenderError::Canceled)));
}
