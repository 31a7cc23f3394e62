//! torchvision's networks against PyTorch: the wiring of every family, at full depth, with made-up weights. How the references
//! were made, and how the weights are, stands in `tests/fixtures/torchvision/make.py`.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use safetensors::{Dtype, tensor::TensorView};

use tch::{Device, Kind};

use super::{
    super::{
        exec::{Executor, Layout, Manner},
        objective::BoundObjective,
    },
    references::{arrays, certify, local, norm_ratio},
};
use reverie_dream::model::{Model, Preprocessing};
use reverie_models as models;

/// SplitMix64 of `index`, as a number in [0, 1) of 24 bits.
fn random(seed: u32, index: usize) -> f64 {
    let mut x = (u64::from(seed) << 32)
        .wrapping_add(index as u64)
        .wrapping_add(1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    (x >> 40) as f64 / f64::from(1 << 24)
}

/// The bytes of a weight, as the script makes them.
fn made(key: &str, shape: &[usize]) -> Vec<u8> {
    let (centre, spread) = match shape {
        [_, inner @ ..] if !inner.is_empty() => (0.0, (6.0 / inner.iter().product::<usize>() as f64).sqrt()),
        _ if key.ends_with(".running_var") => (1.0, 0.4),
        _ if key.ends_with(".weight") => (1.0, 0.3),
        _ => (0.0, 0.2),
    };
    let seed = crc32fast::hash(key.as_bytes());
    let value = |index| (centre + spread * (2.0 * random(seed, index) - 1.0)) as f32;
    (0..shape.iter().product()).flat_map(|index| value(index).to_le_bytes()).collect()
}

/// Writes a family's weights as a safetensors file.
fn write(family: &str, path: &Path) {
    let shapes = std::fs::read(local("tests/fixtures/torchvision/shapes.json")).unwrap();
    let mut families: BTreeMap<String, BTreeMap<String, Vec<usize>>> =
        serde_json::from_slice(&shapes).unwrap();
    let weights = families.remove(family).unwrap().into_iter().map(|(key, shape)| {
        let data = made(&key, &shape);
        (key, shape, data)
    });
    let weights: Vec<_> = weights.collect();
    let views = weights
        .iter()
        .map(|(key, shape, data)| (key, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    safetensors::serialize_to_file(views, &None, path).unwrap();
}

/// Reads a family's network from a file and compares it with PyTorch's values.
fn agrees(
    family: &str,
    references: &[(&str, usize)],
    default_layer: &str,
    preprocessing: Preprocessing,
) -> Arc<Model> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.safetensors");
    write(family, &path);
    let model = Arc::new(models::load_file(&path).unwrap());
    assert_eq!((model.default_layer.as_str(), model.preprocessing), (default_layer, preprocessing));
    assert!((6..=12).contains(&model.featured.len()), "{:?}", model.featured);
    assert!(model.featured.iter().any(|layer| layer == default_layer), "{:?}", model.featured);
    for (reference, count) in references {
        let checked = certify(&model, &local(&format!("tests/fixtures/torchvision/{reference}.npz")));
        assert_eq!(checked, *count, "{reference}");
    }
    model
}

/// Compares the gradient of the default objective with PyTorch's in 64 bits, where rounding decides at no kink. In 32 bits it would
/// here: PyTorch's own gradient differs by 5.8e-3 of its norm where each pixel has a millionth more.
fn agrees_in_64_bits(model: &Arc<Model>, reference: &str) {
    let mut arrays = arrays(&local(&format!("tests/fixtures/torchvision/{reference}.npz")));
    let objective = model.default_objective();
    let expected = arrays.remove(&format!("grad_l2_{}", objective.layer)).unwrap();
    for layout in [Layout::Contiguous, Layout::ChannelsLast] {
        let manner = Manner { kind: Kind::Double, layout, library_only: true, tf32: false, gpu: None };
        let executor = Executor::with_manner(Arc::clone(model), Device::Cpu, manner).unwrap();
        let bound = BoundObjective::new(executor.network(), std::slice::from_ref(&objective)).unwrap();
        let gradient = bound.gradient(&executor, &arrays["input"]).unwrap().1;
        let error = norm_ratio(&gradient, &expected);
        // As the reference is rounded.
        assert!(error < 1e-4, "{reference}: {error}");
    }
}

const AROUND_ZERO: Preprocessing = Preprocessing::uniform(127.5, 1.0 / 127.5);

#[test]
fn googlenet() {
    agrees("googlenet", &[("googlenet", 9)], "inception4c", AROUND_ZERO);
}

#[test]
fn inception_v3() {
    agrees("inception_v3", &[("inception_v3", 9)], "Mixed_6c", AROUND_ZERO);
}

#[test]
fn resnet_of_plain_blocks() {
    agrees("resnet18", &[("resnet18", 10)], "layer3.1", Preprocessing::imagenet());
}

#[test]
fn resnet_of_bottlenecks() {
    let model = agrees("resnet50", &[("resnet50", 5)], "layer3.5", Preprocessing::imagenet());
    agrees_in_64_bits(&model, "resnet50_64_bits");
}

#[test]
fn vgg() {
    agrees("vgg16", &[("vgg16", 6), ("vgg16_224", 2)], "features.22", Preprocessing::imagenet());
}

#[test]
fn vgg_with_batch_normalisation() {
    agrees("vgg11_bn", &[("vgg11_bn", 4)], "features.20", Preprocessing::imagenet());
}

#[test]
fn squeezenet() {
    agrees("squeezenet1_1", &[("squeezenet1_1", 8)], "features.10", Preprocessing::imagenet());
    agrees("squeezenet1_0", &[("squeezenet1_0", 4)], "features.10", Preprocessing::imagenet());
}

/// Written by `torch.save`, with weights of 16 bits.
#[test]
fn mobilenet_v2_from_a_file_of_pytorch() {
    let model = Arc::new(models::load_file(&local("tests/fixtures/torchvision/mobilenet_v2.pth")).unwrap());
    assert_eq!(
        (model.default_layer.as_str(), model.class_layer.as_deref()),
        ("features.13", Some("classifier.1"))
    );
    assert_eq!(certify(&model, &local("tests/fixtures/torchvision/mobilenet_v2.npz")), 8);
}
