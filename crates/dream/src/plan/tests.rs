//! Plans of a network small enough to count by hand.

use serde_json::json;

use super::*;
use crate::{
    model::{Catalogue, Model},
    spec::{self, InputKind},
};
use reverie_graph::{Array, Node, Op, Padding};

/// A convolution of 3×3 from 3 to 8 channels with stride 2, and no padding.
pub(super) fn catalogue() -> Catalogue {
    let weight = Array::new(vec![8, 3, 3, 3], vec![0.0; 216]).unwrap();
    let conv = Op::Conv2d {
        weight,
        bias: None,
        stride: [2, 2],
        dilation: [1, 1],
        padding: Padding::Valid,
        groups: 1,
    };
    let nodes = vec![
        Node { name: "image".into(), op: Op::Input { channels: 3 }, inputs: Vec::new() },
        Node { name: "conv".into(), op: conv, inputs: vec![NodeId(0)] },
    ];
    let mut catalogue = Catalogue::default();
    catalogue.insert(Model::of_network("small", Network::new(nodes).unwrap(), "conv", None));
    catalogue
}

fn plan_within(spec: serde_json::Value, size: (u32, u32), max_pixels: u64) -> Result<Plan, PlanError> {
    let catalogue = catalogue();
    let spec = spec::resolve("", spec, &catalogue, InputKind::Image).unwrap();
    Plan::of(&spec, &catalogue.get("small").unwrap().network, size, max_pixels)
}

pub(super) fn plan(spec: serde_json::Value, size: (u32, u32)) -> Plan {
    plan_within(spec, size, 1_000_000).unwrap()
}

#[test]
fn work_is_counted_as_by_hand() {
    let plan = plan(json!({ "octaves": 1, "iterations": 10, "preset": "deepdream" }), (41, 61));
    // 20 × 30 positions of 8 channels, from 27 values each; ten gradients and the way forward of a score.
    let times = 10.0 + work::FORWARD;
    assert!((plan.work.dense - 20.0 * 30.0 * 8.0 * 27.0 * times).abs() < 1e-3, "{:?}", plan.work);
    assert!((plan.work.values - (41.0 * 61.0 * 3.0 + 20.0 * 30.0 * 8.0) * times).abs() < 1e-3);
    assert_eq!(plan.work.laplacian, 0.0);
    assert!((plan.megapixel_iterations - 41.0 * 61.0 * 10.0 / 1e6).abs() < 1e-12);
    assert_eq!(plan.octaves, [(41, 61)]);
}

#[test]
fn tiles_and_octaves_add_up() {
    let whole = plan(json!({ "octaves": 1, "tile_size": 512 }), (400, 400));
    let tiled = plan(json!({ "octaves": 1, "tile_size": 128 }), (400, 400));
    // The same picture, with its halos seen more than once but little of it at a time.
    assert!(tiled.work.dense > 1.5 * whole.work.dense && tiled.memory < whole.memory);
    let octaves = plan(json!({ "octaves": 3, "octave_scale": 2.0 }), (400, 400));
    assert_eq!(octaves.octaves, [(100, 100), (200, 200), (400, 400)]);
    assert!((octaves.megapixel_iterations - (0.01 + 0.04 + 0.16) * 10.0).abs() < 1e-12);
    assert!(octaves.work.laplacian > 0.0);
}

#[test]
fn a_photo_is_priced_at_the_size_at_which_it_is_dreamed() {
    let of = |spec, size| plan_within(spec, size, 20_000_000).unwrap();
    let small = of(json!({}), (960, 1280));
    let large = of(json!({}), (3000, 4000));
    assert_eq!(large.octaves, small.octaves);
    assert_eq!((large.result, large.step), ((960, 1280), small.step));
    assert_eq!(large.megapixel_iterations, small.megapixel_iterations);
    // Only the file is larger.
    assert_eq!(Work { file: 0.0, ..large.work }, Work { file: 0.0, ..small.work });
    let files = large.work.file - small.work.file;
    assert_eq!(files, 2.0 * 12e6 - 960.0 * 1280.0);
    assert!(large.work.seconds() < 2.0 * small.work.seconds());
    assert!(large.memory > small.memory && large.memory < small.memory + 12_000_000 * 14);
    let restored = of(json!({ "restore_size": true }), (3000, 4000));
    assert_eq!((restored.result, &restored.octaves), ((3000, 4000), &small.octaves));
    assert!(restored.memory > large.memory && restored.work.file > large.work.file);
    let kept = of(json!({ "max_edge": 0 }), (3000, 4000));
    assert_eq!((kept.result, kept.octaves.len()), ((3000, 4000), 9));
    assert!(kept.work.seconds() > 4.0 * large.work.seconds() && kept.memory > 2 * large.memory);
    let article = of(json!({ "preset": "deepdream" }), (3000, 4000));
    assert_eq!((article.result, article.octaves.len()), ((3000, 4000), 4));
}

#[test]
fn following_a_guide_is_priced() {
    let catalogue = catalogue();
    let network = &catalogue.get("small").unwrap().network;
    let of = |kind| {
        let asked = json!({
            "octaves": 1, "iterations": 10, "preset": "deepdream", "objectives": [{ "kind": kind, "layer": "conv" }],
        });
        let spec = spec::resolve("", asked, &catalogue, InputKind::Image).unwrap();
        let plan = Plan::of(&spec, network, (41, 61), 1_000_000).unwrap();
        (spec, plan)
    };
    let (_, plain) = of("l2");
    let (spec, guided) = of("guide");
    // 20 × 30 positions of 8 channels against 1024 positions of the guide, forward only.
    let times = 10.0 + work::FORWARD;
    let dots = 20.0 * 30.0 * 1024.0;
    let more = guided.work.dense - plain.work.dense;
    assert!((more - dots * 8.0 * work::FORWARD * times).abs() < 1.0, "{more}");
    assert!(guided.work.values > plain.work.values + dots && guided.memory > plain.memory + 16_000_000);
    // The guide itself: its pixels are read, and it goes forward once.
    let whole = guided.clone().with_guide(&spec, network, (41, 61), (900, 1600)).unwrap();
    assert_eq!(whole.work.file - guided.work.file, 900.0 * 1600.0);
    let once = whole.work.dense - guided.work.dense;
    // 216 × 384 pixels.
    assert!((once - 107.0 * 191.0 * 8.0 * 27.0 * work::FORWARD).abs() < 1.0, "{once}");
    let large = guided.clone().with_guide(&spec, network, (41, 61), (5000, 5000)).unwrap();
    assert!(large.memory >= 25_000_000 * 13 + 41 * 61 * 5);
    assert!(matches!(guided.with_guide(&spec, network, (41, 61), (2, 50)), Err(PlanError::Shape(_))));
}

#[test]
fn octaves_and_frames_cost_what_is_in_force_in_them() {
    let of = |members: serde_json::Value| {
        let mut spec = json!({ "octaves": 3, "octave_scale": 2.0, "iterations": 10, "preset": "deepdream", "max_edge": 0 });
        spec.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        plan(spec, (300, 400))
    };
    let (plain, smooth) = (of(json!({})), of(json!({ "total_variation": 0.1 })));
    let from = |octave: u32| of(json!({ "schedule": [{ "octave": octave, "total_variation": 0.1 }] }));
    assert_eq!(from(1), smooth);
    assert_eq!(from(4), plain);
    // The last octave has 16 of 21 parts of the pixels.
    let share = (from(3).work.pixels - plain.work.pixels) / (smooth.work.pixels - plain.work.pixels);
    assert!((share - 16.0 / 21.0).abs() < 1e-9, "{share}");
    // Numbers cost nothing, and what looks at the picture first does so wherever it is.
    assert_eq!(of(json!({ "schedule": [{ "octave": 2, "step": 9.0 }] })), plain);
    let picked = json!([{ "layer": "conv", "pick": "strongest" }]);
    let looked = of(json!({ "schedule": [{ "octave": 3, "objectives": picked }] }));
    assert!(looked.work.dense > plain.work.dense);

    let moving = |schedule: serde_json::Value| {
        of(json!({ "motion": { "frames": 11, "iterations": 2 }, "schedule": schedule }))
    };
    let (still, faded) =
        (moving(json!([])), moving(json!([{ "frame": 7, "total_variation": 0.2, "fade": 5 }])));
    let all = of(json!({ "motion": { "frames": 11, "iterations": 2 }, "total_variation": 0.2 }));
    // The first frame takes five times as long as each of the ten others; five of these are smoothed.
    let share = (faded.work.pixels - still.work.pixels) / (all.work.pixels - still.work.pixels);
    assert!((share - 5.0 * 2.0 / (10.0 + 10.0 * 2.0)).abs() < 1e-9, "{share}");
    assert_eq!(faded.megapixel_iterations, still.megapixel_iterations);
}

#[test]
fn what_would_fail_is_refused() {
    let small = plan_within(json!({}), (2, 100), 1_000_000);
    assert!(matches!(small, Err(PlanError::Shape(_))), "{small:?}");
    let grown = plan_within(json!({ "octave_mode": "enlarge", "octaves": 3 }), (100, 200), 60_000);
    assert!(
        matches!(grown, Err(PlanError::TooLarge(TooManyPixels { width: 392, height: 196, .. }))),
        "{grown:?}"
    );
    let start = plan_within(json!({ "octaves": 1 }), (100, 200), 10_000);
    assert!(matches!(start, Err(PlanError::TooLarge(_))), "{start:?}");
}

#[test]
fn the_largest_size_fits_and_the_next_does_not() {
    let catalogue = catalogue();
    let spec = spec::resolve("", json!({}), &catalogue, InputKind::Image).unwrap();
    let network = &catalogue.get("small").unwrap().network;
    let limit = 0.01;
    let largest =
        |limit| Plan::largest(&spec, network, (900, 600), 1_000_000, |plan| plan.work.seconds() <= limit);
    let (height, width) = largest(limit).unwrap();
    assert_eq!(width, height * 2 / 3);
    let seconds = |size| Plan::of(&spec, network, size, 1_000_000).unwrap().work.seconds();
    assert!(seconds((height, width)) <= limit);
    assert!(seconds((height + 2, width + 2)) > limit);
    assert_eq!(largest(0.0), None);
}
