//! Every family from the keys and shapes that torchvision writes; what the networks compute is compared with PyTorch in
//! `crates/engine/src/tests/torchvision.rs`.

use reverie_graph::{NodeId, Shape};

use super::*;

/// Weights of a family's keys and shapes: halves.
fn weights(family: &str) -> Weights {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/torchvision/shapes.json");
    let families: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let shapes = families[family].as_object().unwrap().iter().map(|(key, shape)| {
        let shape: Vec<usize> = serde_json::from_value(shape.clone()).unwrap();
        (key.clone(), half_of(&shape))
    });
    shapes.collect()
}

fn half_of(shape: &[usize]) -> Array {
    Array::new(shape.to_vec(), vec![0.5; shape.iter().product()]).unwrap()
}

#[test]
fn every_family_is_known_by_its_keys() {
    let map = |channels, size| Shape::Map { channels, height: size, width: size };
    let rows = |features| Shape::Rows { rows: 1, features };
    for (name, family, layers) in [
        (
            "googlenet",
            Family::GoogLeNet,
            &[
                ("conv1", map(64, 112)),
                ("maxpool1", map(64, 56)),
                ("inception3a", map(256, 28)),
                ("inception4c", map(512, 14)),
                ("inception5b", map(1024, 7)),
                ("fc", rows(10)),
            ][..],
        ),
        (
            "inception_v3",
            Family::InceptionV3,
            &[
                ("Conv2d_1a_3x3", map(32, 111)),
                ("maxpool2", map(192, 25)),
                ("Mixed_5d", map(288, 25)),
                ("Mixed_6c", map(768, 12)),
                ("Mixed_7c", map(2048, 5)),
                ("fc", rows(10)),
            ],
        ),
        (
            "resnet18",
            Family::ResNet,
            &[
                ("bn1", map(64, 112)),
                ("maxpool", map(64, 56)),
                ("layer3.1", map(256, 14)),
                ("layer4.1", map(512, 7)),
            ],
        ),
        (
            "resnet50",
            Family::ResNet,
            &[("layer3.5", map(1024, 14)), ("layer4.2", map(2048, 7)), ("fc", rows(10))],
        ),
        (
            "vgg16",
            Family::Vgg,
            &[("features.4", map(8, 112)), ("features.30", map(64, 7)), ("classifier.6", map(10, 1))],
        ),
        ("vgg11_bn", Family::Vgg, &[("features.3", map(8, 112)), ("features.28", map(64, 7))]),
        (
            "squeezenet1_1",
            Family::SqueezeNet,
            &[("features.2", map(64, 55)), ("features.12", map(512, 13)), ("classifier.3", rows(10))],
        ),
        ("squeezenet1_0", Family::SqueezeNet, &[("features.2", map(96, 54)), ("features.12", map(512, 13))]),
    ] {
        let (network, found) = build(weights(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(found, family, "{name}");
        for (layer, expected) in layers {
            let id: NodeId = network.find(layer).unwrap();
            assert_eq!(network.shapes(&[id], 224, 224).unwrap()[id.0], Some(*expected), "{name} {layer}");
        }
        assert!(network.find("probabilities").is_ok(), "{name}");
    }
}

/// A larger image has several windows of the size that the classifier was trained on.
#[test]
fn the_classifier_of_vgg_walks_over_larger_images() {
    let (network, _) = build(weights("vgg16")).unwrap();
    let id = network.find("classifier.6").unwrap();
    let shape = |height, width| network.shapes(&[id], height, width).map(|shapes| shapes[id.0]);
    assert_eq!(shape(288, 224), Ok(Some(Shape::Map { channels: 10, height: 3, width: 1 })));
    assert!(shape(192, 224).is_err());
}

#[test]
fn weights_that_are_missing_misshapen_or_unknown_are_named() {
    let refusal = |change: &dyn Fn(&mut Weights), family: &str| {
        let mut weights = weights(family);
        change(&mut weights);
        build(weights).unwrap_err().to_string()
    };
    let remove = |key: &'static str| move |weights: &mut Weights| drop(weights.remove(key));
    let put = |key: &'static str, shape: &'static [usize]| {
        move |weights: &mut Weights| drop(weights.insert(key.to_owned(), half_of(shape)))
    };
    for (error, expected) in [
        (
            refusal(&remove("layer2.0.bn2.running_var"), "resnet18"),
            "\"layer2.0.bn2.running_var\": is missing",
        ),
        (refusal(&remove("layer2.0.conv1.weight"), "resnet18"), "\"layer2.0.conv1.weight\": is missing"),
        (
            refusal(&put("layer1.1.bn1.bias", &[3]), "resnet18"),
            "\"layer1.1.bn1.bias\": has the shape [3], needs [64]",
        ),
        (refusal(&put("layer1.1.conv1.weight", &[64, 64, 3]), "resnet18"), "needs 4 dimensions"),
        (refusal(&put("layer1.1.conv1.weight", &[64, 60, 3, 3]), "resnet18"), "its input 64 channels"),
        (refusal(&put("layer1.1.conv1.weight", &[64, 0, 3, 3]), "resnet18"), "its input 64 channels"),
        // A second block of a stage with a hole: the third is left over.
        (refusal(&remove("layer1.1.conv1.weight"), "resnet50"), "weights of another architecture: layer1.1."),
        (
            refusal(&put("layer1.0.se.weight", &[3]), "resnet18"),
            "weights of another architecture: layer1.0.se.weight",
        ),
        (refusal(&remove("layer1.0.downsample.0.weight"), "resnet50"), "layer1.0.sum"),
        (refusal(&put("classifier.0.weight", &[32, 64]), "vgg16"), "needs 3136 columns"),
        (
            refusal(&remove("inception3a.branch1.bn.bias"), "googlenet"),
            "\"inception3a.branch1.bn.bias\": is missing",
        ),
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let error = build(Weights::from([("encoder.weight".to_owned(), half_of(&[1]))])).unwrap_err();
    assert_eq!(error, ImportError::UnknownFamily(vec!["encoder.weight".into()]));
    let told = error.to_string();
    assert!(
        told.contains("keys such as encoder.weight") && told.contains("export other networks as ONNX"),
        "{told}"
    );
}

/// What takes part in training only is not needed, and not in the way.
#[test]
fn auxiliary_classifiers_are_passed_over() {
    for (family, start) in [("googlenet", "aux"), ("inception_v3", "AuxLogits")] {
        let mut weights = weights(family);
        assert!(weights.keys().any(|key| key.starts_with(start)), "{family}");
        weights.retain(|key, _| !key.starts_with(start));
        weights.insert("conv1.bn.num_batches_tracked".into(), half_of(&[1]));
        let nodes = |weights| build(weights).unwrap().0.nodes().len();
        assert_eq!(nodes(weights), nodes(self::weights(family)), "{family}");
    }
}
