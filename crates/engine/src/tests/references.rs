//! The renderer against values that TensorFlow and PyTorch computed, at the tolerances that gradient ascent
//! allows: pictures after many steps are never compared, only what leads to them.

use std::{path::Path, sync::Arc};

use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::{
    super::{
        CancelFlag,
        batch::{GradientSource, LocalExecutor},
        dream::{Callbacks, Start, dream},
        exec::{Executor, Manner},
        laplacian::Laplacian,
        library::Kernels,
        objective::BoundObjective,
        original::Original,
        resample::resize,
        seams,
        tiles::TiledGradient,
        verify,
    },
    max_ratio, objective, spec,
};
use reverie_dream::{
    model::{Catalogue, Model},
    plan::{Grid, HALO},
    spec::{InputKind, ObjectiveKind, Tiling, resolve},
};
use reverie_models as models;

#[path = "../../../../tests/common/shared.rs"]
mod shared;
use shared::shared;

/// The arrays of an `.npz` file as `[1, 3, H, W]` (or as they are, where they have no three channels).
pub(super) fn arrays(path: &Path) -> std::collections::HashMap<String, Tensor> {
    let arrays = Tensor::read_npz(path).unwrap().into_iter();
    arrays
        .map(|(name, array)| match array.size()[..] {
            [_, _, 3] => (name, array.permute([2, 0, 1]).unsqueeze(0).contiguous()),
            _ => (name, array),
        })
        .collect()
}

/// `‖Δ‖ / ‖expected‖`.
pub(super) fn norm_ratio(actual: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(actual.size(), expected.size());
    ((actual - expected).norm() / expected.norm()).double_value(&[])
}

/// Peak signal-to-noise ratio in dB on a 0–255 scale.
fn psnr(actual: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(actual.size(), expected.size());
    let mse = (actual - expected).square().mean(Kind::Double).double_value(&[]);
    10.0 * (255.0 * 255.0 / mse).log10()
}

fn bvlc(test: &str) -> Option<Arc<Model>> {
    Some(Arc::new(models::load_file(&shared(test, "models/bvlc_inception_graph.pb")?).unwrap()))
}

/// Runs `verify` and fails with the lines that are out of tolerance.
pub(super) fn certify(model: &Arc<Model>, reference: &Path) -> usize {
    let run = |kernels| {
        let checks = verify::verify(model, reference, "cpu", kernels).unwrap();
        let failed: Vec<_> = checks.iter().filter(|check| !check.passed()).collect();
        assert!(failed.is_empty(), "{}, {kernels:?}: {failed:#?}", reference.display());
        checks.len()
    };
    // What a GPU runs, too.
    run(Kernels::Library);
    run(Kernels::Auto)
}

pub(super) fn local(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

#[test]
fn the_tiny_graph_computes_what_tensorflow_does() {
    let model = Arc::new(models::load_file(&local("tests/fixtures/tiny_graph.pb")).unwrap());
    for size in ["33x47", "64x40"] {
        assert!(certify(&model, &local(&format!("tests/fixtures/tiny_graph_{size}.npz"))) > 15);
    }
}

/// What a program says that does not differentiate: here from TensorFlow's gradient.
#[test]
fn slopes_are_compared_along_their_directions() {
    let model = Arc::new(models::load_file(&local("tests/fixtures/tiny_graph.pb")).unwrap());
    let arrays: std::collections::HashMap<String, Tensor> =
        Tensor::read_npz(local("tests/fixtures/tiny_graph_33x47.npz")).unwrap().into_iter().collect();
    let gradient = &arrays["l2_features"];
    tch::manual_seed(1);
    let directions = Tensor::randn([8, 33, 47, 3], (Kind::Float, Device::Cpu));
    let along =
        |gradient: &Tensor| (&directions * gradient).sum_dim_intlist(&[1i64, 2, 3][..], false, Kind::Float);
    let folder = tempfile::tempdir().unwrap();
    let verified = |slopes: Tensor, directions: &Tensor| {
        let path = folder.path().join("slopes.npz");
        Tensor::write_npz(
            &[("input", &arrays["input"]), ("directions", directions), ("slope_l2_features", &slopes)],
            &path,
        )
        .unwrap();
        verify::verify(&model, &path, "cpu", Kernels::Auto)
    };
    let right = verified(along(gradient), &directions).unwrap();
    assert_eq!((right.len(), right[0].quantity, right[0].cosine), (1, verify::Quantity::Slope, None));
    assert!(right[0].passed(), "{right:?}");
    // A gradient that is wrong in one colour.
    let factors = Tensor::from_slice(&[1.0f32, 1.0, 1.01]);
    assert!(!verified(along(&(gradient * factors)), &directions).unwrap()[0].passed());
    let error = verified(along(gradient), &directions.slice(1, 0, 32, 1)).unwrap_err().to_string();
    assert!(error.contains("\"directions\" has shape [8, 32, 47, 3]"), "{error}");
}

#[test]
fn the_tiny_onnx_network_computes_what_onnx_runtime_does() {
    let model = Arc::new(models::load_file(&local("tests/fixtures/tiny.onnx")).unwrap());
    for (size, least) in [("33x47", 42), ("64x40", 8)] {
        assert!(certify(&model, &local(&format!("tests/fixtures/tiny_onnx_{size}.npz"))) >= least);
    }
    // A convolution and its normalisation are one layer.
    let told = model.network.find("stem").unwrap_err().to_string();
    assert!(told.contains("it is computed together with \"stem_norm\""), "{told}");
}

#[test]
fn the_tiny_caffe_networks_compute_what_opencv_and_pytorch_do() {
    for (name, sizes) in [("tiny", &["27x27", "33x47"][..]), ("tiny_v1", &["27x27"])] {
        let model = models::load_file(&local(&format!("tests/fixtures/{name}.caffemodel")));
        let model = Arc::new(model.unwrap());
        assert!(model.preprocessing.bgr && model.class_layer.as_deref() == Some("logits"), "{name}");
        for size in sizes {
            let reference = local(&format!("tests/fixtures/{name}_caffe_{size}.npz"));
            assert!(certify(&model, &reference) >= 13, "{name} {size}");
        }
    }
}

#[test]
fn the_default_model_computes_what_pytorch_does() {
    let model = Arc::new(models::load_file(&local("models/efficientnet-lite0.pth")).unwrap());
    assert!(certify(&model, &local("tests/fixtures/efficientnet_lite0_160x192.npz")) >= 8);
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
    let checks = verify::verify(&model, &path, "cpu", Kernels::Auto).unwrap();
    assert!(checks.iter().all(|check| !check.passed()), "{checks:#?}");
}

/// Where no kink can be the reason, another arithmetic is no excuse for the one that renders.
#[test]
fn the_arithmetic_that_renders_has_to_pass_by_itself_without_flat_areas() {
    let check = |own| verify::Check {
        name: "gradient".into(),
        quantity: verify::Quantity::Gradient,
        error: 1e-4,
        tolerance: verify::GRADIENT_TOLERANCE,
        cosine: Some(1.0),
        own: Some(own),
    };
    assert!(!check(verify::Own { error: 2e-3, counts: true }).passed());
    assert!(check(verify::Own { error: 2e-3, counts: false }).passed());
    let model = Arc::new(models::load_file(&local("tests/fixtures/tiny_graph.pb")).unwrap());
    let counts = |reference: &Path| {
        let checks = verify::verify(&model, reference, "cpu", Kernels::Auto).unwrap();
        let gradients: Vec<bool> = checks.iter().filter_map(|check| Some(check.own?.counts)).collect();
        assert!(!gradients.is_empty());
        gradients.iter().all(|counts| *counts)
    };
    let reference = local("tests/fixtures/tiny_graph_33x47.npz");
    assert!(counts(&reference), "noise has no flat areas");
    // The same gradients, of an image with a flat corner: wrong, but what counts is told by the image.
    let folder = tempfile::tempdir().unwrap();
    let mut arrays: Vec<_> = Tensor::read_npz(reference).unwrap();
    let input = &arrays.iter().find(|(name, _)| name == "input").unwrap().1;
    drop(input.narrow(0, 0, 5).narrow(1, 0, 5).fill_(100.0));
    arrays.retain(|(name, _)| name == "input" || name.contains("l2"));
    let path = folder.path().join("flat.npz");
    Tensor::write_npz(&arrays, &path).unwrap();
    assert!(!counts(&path));
}

#[test]
fn shared_references_of_all_models_are_met() {
    let test = "shared_references_of_all_models_are_met";
    let Some(bvlc) = bvlc(test) else { return };
    for name in ["layers_even", "layers_odd", "gradients_even", "gradients_odd"] {
        let reference = shared(test, &format!("references/bvlc_inception_graph/{name}.npz")).unwrap();
        assert!(certify(&bvlc, &reference) >= 8);
    }
    let efficientnet = Arc::new(models::load_file(&local("models/efficientnet-lite0.pth")).unwrap());
    for name in ["eff_224", "eff_160x192"] {
        let reference = shared(test, &format!("references/efficientnet_lite0/{name}.npz")).unwrap();
        assert!(certify(&efficientnet, &reference) >= 12);
    }
    // The real graph's layout: unpacked first, as its users have it.
    let packed = std::fs::File::open(shared(test, "models/inception5h_layout.pb.gz").unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inception5h_layout.pb");
    std::io::copy(&mut flate2::read::GzDecoder::new(packed), &mut std::fs::File::create(&path).unwrap())
        .unwrap();
    let layout = Arc::new(models::load_file(&path).unwrap());
    for (name, least) in [("layers_224", 18), ("layers_odd", 4)] {
        let reference = shared(test, &format!("references/inception5h_layout/{name}.npz")).unwrap();
        assert!(certify(&layout, &reference) >= least);
    }
}

#[test]
fn models_from_bug_reports_compute_what_tensorflow_does() {
    let Some(folder) = shared("models_from_bug_reports_compute_what_tensorflow_does", "cases/models") else {
        return;
    };
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let references: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "npz")).collect();
    assert!(references.len() >= 12);
    for reference in references {
        let model = models::load_file(&reference.with_extension("pb"));
        let model = Arc::new(model.unwrap_or_else(|error| panic!("{}: {error}", reference.display())));
        assert_eq!(certify(&model, &reference), 2, "{}", reference.display());
    }
}

#[test]
fn resizing_matches_pil() {
    let Some(path) = shared("resizing_matches_pil", "references/bvlc_inception_graph/resize.npz") else {
        return;
    };
    let arrays = arrays(&path);
    for (name, height, width) in [("down_71x107", 71, 107), ("up_140x210", 140, 210)] {
        let error = max_ratio(&resize(&arrays["input"], height, width).unwrap(), &arrays[name]);
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
    for (library, levels) in
        [false, true].into_iter().flat_map(|library| [1, 3, 4].map(|levels| (library, levels)))
    {
        let laplacian = Laplacian::new(Device::Cpu, library, None).unwrap();
        let actual = arrays["input"].copy();
        laplacian.normalize(&actual, levels).unwrap();
        let error = max_ratio(&actual, &arrays[&format!("levels{levels}")]);
        assert!(error <= 1e-4, "{levels} levels, library {library}: {error}");
    }
}

#[test]
fn seams_are_as_faint_as_published() {
    let model = Arc::new(models::load_file(&local("models/efficientnet-lite0.pth")).unwrap());
    let photo = std::fs::read(local("assets/sample.jpg")).unwrap();
    let objective = objective(ObjectiveKind::L2, "block10", &[]);
    let seams = seams::measure(&model, &objective, &photo, 256).unwrap();
    let of = |halo| seams.iter().find(|seam| seam.tiling == "even" && seam.halo == halo).unwrap();
    // The figures of docs/tiles.md for this photo, and a little: borders, interior.
    for (halo, border, interior) in [(HALO, 0.60, 0.35), (2 * HALO, 0.30, 0.20)] {
        let seam = of(halo);
        assert!(seam.border < border && seam.interior < interior && seam.skipped == 0.0, "{seam:?}");
    }
}

#[test]
fn tiled_gradients_match_the_article() {
    let test = "tiled_gradients_match_the_article";
    let Some(model) = bvlc(test) else { return };
    let arrays = arrays(&shared(test, "references/bvlc_inception_graph/tiled.npz").unwrap());
    let own = LocalExecutor::new(Executor::new(model, Device::Cpu, Kind::Float).unwrap());
    let spec = spec(objective(ObjectiveKind::L2, "mixed4c", &[]));
    let bound = BoundObjective::new(own.network(), &spec.objectives).unwrap();
    let cancel = CancelFlag::default();
    for (name, tile, shift) in [("grad", 128, (51, 37)), ("grad_tile512", 512, (0, 0))] {
        let grid = Grid { tile, halo: 0, stride: 1, tiling: Tiling::Article, uniform: false };
        let tiled = TiledGradient::over(&own, &bound, grid, &cancel);
        let (_, gradient) = tiled.gradient(&arrays["input"], shift).unwrap();
        let error = norm_ratio(&gradient, &arrays[name]);
        assert!(error <= 1e-3, "{name}: {error}");
    }
}

#[test]
fn short_runs_of_every_preset_match_the_article() {
    let test = "short_runs_of_every_preset_match_the_article";
    let Some(model) = bvlc(test) else { return };
    let arrays = arrays(&shared(test, "references/bvlc_inception_graph/short_runs.npz").unwrap());
    let mut catalogue = Catalogue::default();
    catalogue.insert(models::load_file(&shared(test, "models/bvlc_inception_graph.pb").unwrap()).unwrap());
    let l2 = json!([{"kind": "l2", "layer": "mixed4c"}]);
    let layer = "mixed4d_3x3_bottleneck_pre_relu";
    let channel = json!([{"kind": "mean", "layer": layer, "channels": [139]}]);
    for (name, start, preset, objectives, octaves, iterations) in [
        ("naive_iter3_step1", "noise", "naive", &channel, 1, 3),
        ("multiscale_octaves2_iter2_step1_scale1.4", "noise", "multiscale", &channel, 2, 2),
        ("lapnorm_octaves2_iter2_step1_scale1.4", "noise", "lapnorm", &channel, 2, 2),
        ("deepdream_octaves2_iter2_step1.5_scale1.4", "photo", "deepdream", &l2, 2, 2),
        ("deepdream_lapnorm_octaves2_iter2_step1.5_scale1.4", "photo", "deepdream-lapnorm", &l2, 2, 2),
    ] {
        let wanted = json!({
            "preset": preset, "objectives": objectives, "octaves": octaves, "iterations": iterations,
            "jitter": false,
        });
        let spec = resolve("", wanted, &catalogue, InputKind::Image).unwrap();
        // The references pass kinks, where rounding decides: see the introduction of `verify`. So several kinds of arithmetic are tried;
        // and where none comes near enough, how near two dreams of ours are whose starts differ by a millionth of the range.
        let run = |library, arithmetic: &verify::Arithmetic, nudge: Option<i64>| {
            let verify::Arithmetic { layout, kind, .. } = *arithmetic;
            let manner = Manner { kind, layout, library_only: library, tf32: false, gpu: None };
            let own =
                LocalExecutor::new(Executor::with_manner(Arc::clone(&model), Device::Cpu, manner).unwrap());
            let bound = BoundObjective::new(own.network(), &spec.objectives).unwrap();
            let cancel = CancelFlag::default();
            let tiled = TiledGradient::new(&own, &bound, &spec, &cancel);
            let callbacks = Callbacks {
                on_progress: &mut |_| {},
                on_begin: &mut |_, _| Ok(None),
                on_octave: &mut |_, _| Ok(()),
                previews: None,
            };
            let mut start = arrays[start].shallow_clone();
            if let Some(seed) = nudge {
                tch::manual_seed(seed);
                start = &start + (Tensor::rand_like(&start) - 0.5).sign() * 2.5e-4;
            }
            let start = Original::of_floats(&start);
            let actual =
                arithmetic.run(|| dream(&tiled, &spec, Start::of(&start), u64::MAX, callbacks).unwrap());
            actual.image
        };
        for library in [false, true] {
            let own = &verify::ARITHMETICS[0];
            let mut best = 0.0f64;
            for arithmetic in &verify::ARITHMETICS {
                best = best.max(psnr(&run(library, arithmetic, None), &arrays[name]));
                if best >= 45.0 {
                    break;
                }
            }
            let apart = |seed| psnr(&run(library, own, Some(seed)), &run(library, own, None));
            let explained = || (0..3).map(apart).fold(0.0, f64::max);
            assert!(
                best >= 45.0 || (best >= 40.0 && best >= explained()),
                "{name}: {best} dB, library {library}"
            );
        }
    }
}
