//! Members that specs from before lack: the parametrisation, and how the network sees an image.

use serde_json::{Value, json};

use super::{super::*, catalogue, mistakes};

fn resolved(spec: Value) -> DreamSpec {
    resolve("", spec, &catalogue(), InputKind::Image).unwrap()
}

#[test]
fn what_says_nothing_is_not_written() {
    let plain = serde_json::to_string(&resolved(json!({}))).unwrap();
    let said = json!({ "parametrization": "pixels", "random_scale": 0, "random_rotation": 0 });
    assert_eq!(serde_json::to_string(&resolved(said)).unwrap(), plain);
    for name in ["parametrization", "jitter_pixels", "random_scale", "random_rotation"] {
        assert!(!plain.contains(name), "{name}");
    }
    let spec = resolved(json!({ "parametrization": "fourier", "random_rotation": 5 }));
    assert!(spec.is_fourier() && spec.is_transformed());
    assert_eq!(serde_json::from_value::<DreamSpec>(serde_json::to_value(&spec).unwrap()).unwrap(), spec);
}

#[test]
fn a_preset_that_has_them_can_be_told_otherwise() {
    let visualized = resolved(json!({ "preset": "feature-visualization" }));
    assert!(visualized.is_fourier() && visualized.is_transformed() && visualized.jitter_pixels.is_some());
    let plain = json!({
        "preset": "feature-visualization", "parametrization": "pixels", "random_scale": 0, "random_rotation": 0, "jitter": false,
    });
    let spec = resolved(plain);
    assert!(!spec.is_fourier() && !spec.is_transformed() && spec.jitter_pixels.is_none());
    // It is the same again where it is sent again.
    for spec in [visualized, spec] {
        assert_eq!(resolved(spec.to_request().unwrap()), spec);
    }
}

#[test]
fn jitter_in_pixels_needs_jitter() {
    let expected =
        "/spec/jitter_pixels: says how far jitter moves the image, and there is none; set \"jitter\" to true";
    assert_eq!(mistakes(json!({ "jitter": false, "jitter_pixels": 8 })), [expected]);
    assert_eq!(mistakes(json!({ "preset": "naive", "jitter_pixels": 8 })), [expected]);
    let spec = resolved(json!({ "preset": "naive", "jitter": true, "jitter_pixels": 8 }));
    assert_eq!(spec.jitter_pixels, Some(8));
}
