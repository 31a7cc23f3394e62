//! The renderer against other programs ([`references`]) and against what must always hold
//! ([`properties`]).

mod properties;
mod references;

use tch::Tensor;

use crate::spec::{
    DreamSpec, Format, Normalization, Objective, ObjectiveKind, OctaveMode, Precision, Preset, Tiling,
};

/// `max |Δ| / max |expected|`.
fn max_ratio(actual: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(actual.size(), expected.size());
    let ratio = (actual - expected).abs().max() / expected.abs().max();
    ratio.double_value(&[])
}

fn objective(kind: ObjectiveKind, layer: &str, channels: &[u32]) -> Objective {
    Objective { kind, layer: layer.into(), channels: channels.to_vec(), class: None, weight: 1.0 }
}

fn spec(objective: Objective) -> DreamSpec {
    DreamSpec {
        model: "test".into(),
        noise: None,
        preset: Preset::Deepdream,
        objectives: vec![objective],
        octaves: 2,
        octave_scale: 1.4,
        octave_mode: OctaveMode::CarryDetail,
        iterations: 2,
        step: 1.5,
        normalization: Normalization::MeanAbs,
        laplacian_levels: 4,
        tile_size: 512,
        tiling: Tiling::Even,
        jitter: true,
        seed: 0,
        precision: Precision::Fp32,
        blend: 0.0,
        preserve_colors: false,
        auto_contrast: false,
        mask: None,
        format: Format::Png,
        quality: 92,
        lossless: false,
        recipe: true,
    }
}
