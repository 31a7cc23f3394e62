//! The renderer against values that TensorFlow and PyTorch computed, at the tolerances that gradient ascent
//! allows: pictures after many steps are never compared, only what leads to them.

use std::{path::Path, sync::Arc};

use tch::{Device, Kind, Tensor};

use super::{
    CancelFlag,
    dream::dream,
    engine::{to_pixels, to_tensor},
    exec::Executor,
    laplacian::Laplacian,
    objective::Goal,
    pyramid::{Pyramid, merge, octave_sizes, resize},
    tiles::Walk,
    verify,
};
use crate::{
    graph::{Array, Network, Node, NodeId, Op, Padding, Window},
    models::{self, Model, Preprocessing},
    spec::{DreamSpec, Format, Normalization, Objective, ObjectiveKind, Precision, Preset, Tiling},
};

#[path = "../../tests/common/shared.rs"]
mod shared;
use shared::shared;

/// The arrays of an `.npz` file as `[1, 3, H, W]` (or as they are, where they have no three channels).
fn arrays(path: &Path) -> std::collections::HashMap<String, Tensor> {
    let arrays = Tensor::read_npz(path).unwrap().into_iter();
    arrays
        .map(|(name, array)| match array.size()[..] {
            [_, _, 3] => (name, array.permute([2, 0, 1]).unsqueeze(0).contiguous()),
            _ => (name, array),
        })
        .collect()
}

/// `max |Δ| / max |expected|`.
fn max_ratio(actual: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(actual.size(), expected.size());
    let ratio = (actual - expected).abs().max() / expected.abs().max();
    ratio.double_value(&[])
}

/// `‖Δ‖ / ‖expected‖`.
fn norm_ratio(actual: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(actual.size(), expected.size());
    ((actual - expected).norm() / expected.norm()).double_value(&[])
}

/// Peak signal-to-noise ratio in dB on a 0–255 scale.
fn psnr(actual: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(actual.size(), expected.size());
    let mse = (actual - expected)
        .square()
        .mean(Kind::Double)
        .double_value(&[]);
    10.0 * (255.0 * 255.0 / mse).log10()
}

fn bvlc(test: &str) -> Option<Arc<Model>> {
    Some(Arc::new(
        models::load_file(&shared(test, "models/bvlc_inception_graph.pb")?).unwrap(),
    ))
}

fn objective(kind: ObjectiveKind, layer: &str, channels: &[u32]) -> Objective {
    Objective {
        kind,
        layer: layer.into(),
        channels: channels.to_vec(),
        class: None,
        weight: 1.0,
    }
}

/// Runs `verify` and fails with the lines that are out of tolerance.
fn certify(model: &Arc<Model>, reference: &Path) -> usize {
    let checks = verify::verify(model, reference, "cpu").unwrap();
    let failed: Vec<_> = checks.iter().filter(|check| !check.passed()).collect();
    assert!(failed.is_empty(), "{}: {failed:#?}", reference.display());
    checks.len()
}

fn local(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn the_tiny_graph_computes_what_tensorflow_does() {
    let model = Arc::new(models::load_file(&local("tests/fixtures/tiny_graph.pb")).unwrap());
    for size in ["33x47", "64x40"] {
        assert!(
            certify(
                &model,
                &local(&format!("tests/fixtures/tiny_graph_{size}.npz"))
            ) > 15
        );
    }
}

#[test]
fn the_default_model_computes_what_pytorch_does() {
    let model = Arc::new(models::load_file(&local("models/efficientnet-lite0.pth")).unwrap());
    assert!(
        certify(
            &model,
            &local("tests/fixtures/efficientnet_lite0_160x192.npz")
        ) >= 8
    );
}

#[test]
fn a_wrong_reference_fails_the_certificate() {
    let model = Arc::new(models::load_file(&local("tests/fixtures/tiny_graph.pb")).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let arrays = Tensor::read_npz(local("tests/fixtures/tiny_graph_33x47.npz")).unwrap();
    let skewed = arrays.into_iter().map(|(name, array)| {
        let factor = if name == "input" { 1.0 } else { 1.01 };
        (name, array * factor)
    });
    let skewed: Vec<_> = skewed.collect();
    let path = folder.path().join("skewed.npz");
    Tensor::write_npz(&skewed, &path).unwrap();
    let checks = verify::verify(&model, &path, "cpu").unwrap();
    assert!(checks.iter().all(|check| !check.passed()), "{checks:#?}");
}

#[test]
fn shared_references_of_all_models_are_met() {
    let test = "shared_references_of_all_models_are_met";
    let Some(bvlc) = bvlc(test) else { return };
    for name in [
        "layers_even",
        "layers_odd",
        "gradients_even",
        "gradients_odd",
    ] {
        let reference =
            shared(test, &format!("references/bvlc_inception_graph/{name}.npz")).unwrap();
        assert!(certify(&bvlc, &reference) >= 8);
    }
    let efficientnet =
        Arc::new(models::load_file(&local("models/efficientnet-lite0.pth")).unwrap());
    for name in ["eff_224", "eff_160x192"] {
        let reference = shared(test, &format!("references/efficientnet_lite0/{name}.npz")).unwrap();
        assert!(certify(&efficientnet, &reference) >= 12);
    }
    // The real graph's layout: unpacked first, as its users have it.
    let packed =
        std::fs::File::open(shared(test, "models/inception5h_layout.pb.gz").unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inception5h_layout.pb");
    std::io::copy(
        &mut flate2::read::GzDecoder::new(packed),
        &mut std::fs::File::create(&path).unwrap(),
    )
    .unwrap();
    let layout = Arc::new(models::load_file(&path).unwrap());
    for (name, least) in [("layers_224", 18), ("layers_odd", 4)] {
        let reference = shared(test, &format!("references/inception5h_layout/{name}.npz")).unwrap();
        assert!(certify(&layout, &reference) >= least);
    }
}

#[test]
fn resizing_matches_pil() {
    let Some(path) = shared(
        "resizing_matches_pil",
        "references/bvlc_inception_graph/resize.npz",
    ) else {
        return;
    };
    let arrays = arrays(&path);
    for (name, height, width) in [("down_71x107", 71, 107), ("up_140x210", 140, 210)] {
        let error = max_ratio(
            &resize(&arrays["input"], height, width).unwrap(),
            &arrays[name],
        );
        assert!(error <= 1e-4, "{name}: {error}");
    }
}

#[test]
fn laplacian_normalisation_matches_tensorflow() {
    let test = "laplacian_normalisation_matches_tensorflow";
    let Some(path) = shared(test, "references/bvlc_inception_graph/lapnorm.npz") else {
        return;
    };
    let arrays = arrays(&path);
    let laplacian = Laplacian::new(Device::Cpu).unwrap();
    for levels in [1, 3, 4] {
        let actual = laplacian.normalize(&arrays["input"], levels).unwrap();
        let error = max_ratio(&actual, &arrays[&format!("levels{levels}")]);
        assert!(error <= 1e-4, "{levels} levels: {error}");
    }
}

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
fn tiled_gradients_match_the_article() {
    let test = "tiled_gradients_match_the_article";
    let Some(model) = bvlc(test) else { return };
    let arrays = arrays(&shared(test, "references/bvlc_inception_graph/tiled.npz").unwrap());
    let executor = Executor::new(model, Device::Cpu, Kind::Float).unwrap();
    let goal = Goal::new(
        &executor,
        &[objective(ObjectiveKind::L2, "mixed4c", &[])],
        Device::Cpu,
    )
    .unwrap();
    let cancel = CancelFlag::default();
    for (name, tile, shift) in [("grad", 128, (51, 37)), ("grad_tile512", 512, (0, 0))] {
        let walk = Walk {
            executor: &executor,
            goal: &goal,
            tile,
            tiling: Tiling::Article,
            cancel: &cancel,
        };
        let (_, gradient) = walk.gradient(&arrays["input"], shift).unwrap();
        let error = norm_ratio(&gradient, &arrays[name]);
        assert!(error <= 1e-3, "{name}: {error}");
    }
}

#[test]
fn short_runs_match_the_article() {
    let test = "short_runs_match_the_article";
    let Some(model) = bvlc(test) else { return };
    let arrays = arrays(&shared(test, "references/bvlc_inception_graph/short_runs.npz").unwrap());
    let executor = Executor::new(model, Device::Cpu, Kind::Float).unwrap();
    let l2 = objective(ObjectiveKind::L2, "mixed4c", &[]);
    let channel = objective(
        ObjectiveKind::Mean,
        "mixed4d_3x3_bottleneck_pre_relu",
        &[139],
    );
    for (name, start, objective, normalization, step, octaves, iterations) in [
        (
            "naive_iter3_step1",
            "noise",
            &channel,
            Normalization::Std,
            1.0,
            1,
            3,
        ),
        (
            "deepdream_octaves2_iter2_step1.5_scale1.4",
            "photo",
            &l2,
            Normalization::MeanAbs,
            1.5,
            2,
            2,
        ),
        (
            "deepdream_lapnorm_octaves2_iter2_step1.5_scale1.4",
            "photo",
            &l2,
            Normalization::Laplacian,
            1.5,
            2,
            2,
        ),
    ] {
        let spec = DreamSpec {
            normalization,
            step,
            octaves,
            iterations,
            jitter: false,
            ..spec(objective.clone())
        };
        let goal = Goal::new(&executor, &spec.objectives, Device::Cpu).unwrap();
        let cancel = CancelFlag::default();
        let walk = Walk {
            executor: &executor,
            goal: &goal,
            tile: 512,
            tiling: spec.tiling,
            cancel: &cancel,
        };
        let actual = dream(&walk, &spec, &arrays[start], &mut |_| {}).unwrap();
        let psnr = psnr(&actual, &arrays[name]);
        assert!(psnr >= 45.0, "{name}: {psnr} dB");
    }
}

fn spec(objective: Objective) -> DreamSpec {
    DreamSpec {
        model: "test".into(),
        preset: Preset::Deepdream,
        objectives: vec![objective],
        octaves: 2,
        octave_scale: 1.4,
        iterations: 2,
        step: 1.5,
        normalization: Normalization::MeanAbs,
        laplacian_levels: 4,
        tile_size: 512,
        tiling: Tiling::Even,
        jitter: true,
        seed: 0,
        precision: Precision::Fp32,
        format: Format::Png,
    }
}

#[test]
fn a_pyramid_reassembles_the_image() {
    for (height, width) in [(97, 131), (64, 200), (3, 5), (1, 1)] {
        let image = Tensor::rand([1, 3, height, width], (Kind::Float, Device::Cpu)) * 255.0;
        let Pyramid { base, details } = Pyramid::split(&image, 4, 1.4).unwrap();
        let whole = details
            .iter()
            .fold(base, |image, detail| merge(&image, detail).unwrap());
        assert!(max_ratio(&whole, &image) <= 1e-5);
    }
}

#[test]
fn octaves_shrink_as_in_the_article_and_stop_at_one_pixel() {
    assert_eq!(
        octave_sizes(359, 640, 4, 1.4),
        [(130, 232), (182, 326), (256, 457), (359, 640)]
    );
    assert_eq!(octave_sizes(2, 3, 4, 1.4), [(1, 2), (2, 3)]);
    assert_eq!(octave_sizes(1, 5000, 16, 1.4), [(1, 5000)]);
}

/// A small network with random weights that reaches every kind of derivative, for images of any size.
fn random_network() -> Arc<Model> {
    let mut state = 1u64;
    let mut random = |shape: &[usize]| {
        let data: Vec<f32> = (0..shape.iter().product())
            .map(|_| {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                ((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 0.8
            })
            .collect();
        Array::new(shape.to_vec(), data).unwrap()
    };
    let same = |kernel| Window {
        kernel: [kernel; 2],
        stride: [2, 2],
        padding: Padding::Same,
    };
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
        (
            "lrn",
            Op::Lrn {
                radius: 2,
                bias: 1.0,
                alpha: 0.1,
                beta: 0.75,
            },
            vec![2],
        ),
        ("average", Op::AvgPool(same(3)), vec![3]),
        ("maximum", Op::MaxPool(same(3)), vec![3]),
        ("both", Op::Concat, vec![4, 5]),
        ("depthwise", conv(random(&[16, 1, 5, 5]), 1, 16), vec![6]),
        ("sum", Op::Add, vec![6, 7]),
        ("pooled", Op::SpatialMean, vec![8]),
        (
            "logits",
            Op::MatMul {
                weight: random(&[16, 10]),
            },
            vec![9],
        ),
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
        preprocessing: Preprocessing {
            mean: 100.0,
            scale: 0.02,
        },
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
        Objective {
            class: Some(3),
            ..objective(ObjectiveKind::Class, "softmax", &[])
        },
    ] {
        let goal = Goal::new(&executor, &[objective.clone()], Device::Cpu).unwrap();
        let (_, gradient) = goal.gradient(&executor, &image).unwrap();
        let direction = Tensor::randn_like(&image);
        let along = |t: f64| {
            goal.score(&executor, &(&image + &direction * t))
                .unwrap()
                .double_value(&[])
        };
        let step = 1e-3;
        let measured = (along(step) - along(-step)) / (2.0 * step);
        let analytic = (&gradient * &direction).sum(Kind::Double).double_value(&[]);
        let error = (measured - analytic).abs() / analytic.abs();
        assert!(error < 1e-4, "{objective:?}: {measured} against {analytic}");
    }
}

#[test]
fn equal_seeds_give_equal_dreams_and_others_do_not() {
    let executor = Executor::new(random_network(), Device::Cpu, Kind::Float).unwrap();
    let image = to_tensor(&vec![90.0; 40 * 56 * 3], 40, 56, Device::Cpu).unwrap()
        + Tensor::arange(56, (Kind::Float, Device::Cpu));
    let run = |seed| {
        let spec = DreamSpec {
            seed,
            tile_size: 32,
            ..spec(objective(ObjectiveKind::L2, "sum", &[]))
        };
        let goal = Goal::new(&executor, &spec.objectives, Device::Cpu).unwrap();
        let cancel = CancelFlag::default();
        let walk = Walk {
            executor: &executor,
            goal: &goal,
            tile: 32,
            tiling: spec.tiling,
            cancel: &cancel,
        };
        let mut fractions = Vec::new();
        let dreamed = dream(&walk, &spec, &image, &mut |progress| {
            fractions.push(progress.fraction)
        })
        .unwrap();
        assert_eq!(fractions.len(), 4);
        assert!(fractions.is_sorted() && fractions.last() == Some(&1.0));
        to_pixels(&dreamed).unwrap()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn a_canceled_walk_stops() {
    let executor = Executor::new(random_network(), Device::Cpu, Kind::Float).unwrap();
    let spec = spec(objective(ObjectiveKind::L2, "sum", &[]));
    let goal = Goal::new(&executor, &spec.objectives, Device::Cpu).unwrap();
    let cancel = CancelFlag::default();
    let walk = Walk {
        executor: &executor,
        goal: &goal,
        tile: 64,
        tiling: spec.tiling,
        cancel: &cancel,
    };
    let image = Tensor::rand([1, 3, 40, 40], (Kind::Float, Device::Cpu));
    let outcome = dream(&walk, &spec, &image, &mut |progress| {
        assert_eq!(progress.iteration, 1);
        cancel.cancel();
    });
    assert!(matches!(outcome, Err(super::RenderError::Canceled)));
}
