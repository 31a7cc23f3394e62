//! Reading requests: defaults, overrides, and every mistake at once.

use serde_json::json;

use proptest::prelude::*;
use serde_json::Value;

mod fork;
mod motion;
mod objectives;
mod photos;
mod schedule;
mod table;
mod transformations;

use super::*;
use crate::{
    look::Look,
    model::{Catalogue, Model},
};
use reverie_fields::{
    FieldError,
    arbitrary::{json, quick},
};
use reverie_graph::{Array, Network, Node, NodeId, Op};
use table::every_parameter;

/// A network with a map layer of 3 channels and a class layer of 4 classes.
fn network() -> Network {
    let weight = Array::new(vec![3, 4], vec![0.0; 12]).unwrap();
    let ops = [
        ("input", Op::Input { channels: 3 }),
        ("features", Op::Relu),
        ("mean", Op::SpatialMean),
        ("logits", Op::MatMul { weight }),
    ];
    let nodes = ops.into_iter().enumerate().map(|(index, (name, op))| Node {
        name: name.into(),
        op,
        inputs: index.checked_sub(1).map(NodeId).into_iter().collect(),
    });
    Network::new(nodes.collect()).unwrap()
}

/// A catalogue of a model with it.
fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::default();
    let model = Model::of_network("small", network(), "features", Some("logits"));
    let Value::Object(spec) = json!({
        "objectives": [{ "layer": "features", "channels": [1, 2] }], "octaves": 5, "octave_scale": 1.3,
    }) else {
        panic!("not an object")
    };
    let look = Look { id: "spots", title: "Spots", description: "Spots.", spec, picture: "spots".into() };
    catalogue.insert(Model { looks: vec![look], ..model });
    catalogue
}

/// `pointer: detail` of every mistake.
fn mistakes(spec: serde_json::Value) -> Vec<String> {
    let errors = resolve("/spec", spec, &catalogue(), InputKind::Image).unwrap_err();
    errors.into_iter().map(|error| format!("{}: {}", error.pointer, error.detail)).collect()
}

#[test]
fn an_empty_spec_is_the_default_preset() {
    let spec = resolve("", json!({}), &catalogue(), InputKind::Image).unwrap();
    assert_eq!((spec.model.as_str(), spec.preset), ("small", Preset::DeepdreamLapnorm));
    assert_eq!((spec.octaves, spec.iterations), (Count::Auto, Count::Auto));
    assert_eq!((spec.octave_scale, spec.step), (1.4, 1.5));
    assert_eq!((spec.max_edge, spec.restore_size), (Some(1280), false));
    assert_eq!((spec.normalization, spec.laplacian_levels), (Normalization::Laplacian, 4));
    assert_eq!((spec.tile_size, spec.jitter, spec.seed), (512, true, 0));
    let [objective] = &spec.objectives[..] else { panic!("{:?}", spec.objectives) };
    assert_eq!((objective.kind, objective.layer.as_str()), (ObjectiveKind::L2, "features"));
}

#[test]
fn a_resolved_spec_resolves_to_itself() {
    let wanted = json!({
        "preset": "deepdream", "iterations": 3, "seed": MAX_SEED, "format": "jpeg", "jitter": false,
        "objectives": [
            {"kind": "mean", "layer": "features", "channels": [2, 0, 2], "weight": -0.5},
            {"kind": "class", "class": 3},
        ],
    });
    let spec = resolve("", wanted, &catalogue(), InputKind::Image).unwrap();
    assert_eq!(spec.normalization, Normalization::MeanAbs);
    assert_eq!(spec.objectives[0].channels, [0, 2]);
    assert_eq!((spec.objectives[1].layer.as_str(), spec.objectives[1].class), ("logits", Some(3)));
    let stored = serde_json::to_value(&spec).unwrap();
    assert_eq!(serde_json::from_value::<DreamSpec>(stored.clone()).unwrap(), spec);
    assert_eq!(resolve("", stored, &catalogue(), InputKind::Image).unwrap(), spec);
}

#[test]
fn every_mistake_is_reported_at_once() {
    let found = mistakes(json!({
        "iterations": 0, "octaves": 1e9, "octave_scale": 1, "step": "far", "seed": -1, "tile_size": 8,
        "preset": "nightmare", "colour": "blue",
        "objectives": [
            {"kind": "mean", "layer": "featurs"},
            {"kind": "l2", "layer": "features", "channels": [1, 3], "weight": 0},
            {"kind": "class", "class": 4},
            {"kind": "class"},
            {"kind": "mean", "class": 1, "size": 2},
        ],
    }));
    for expected in [
        "/spec/iterations: 0 is not allowed; give a whole number from 1 to 1000",
        "/spec/octaves: 1000000000.0 is not allowed; give a whole number from 1 to 16",
        "/spec/octave_scale: 1 is not allowed; give a number from 1.05 to 4",
        "/spec/step: \"far\" is not allowed",
        "/spec/seed: -1 is not allowed; give a whole number from 0 to 9007199254740991",
        "/spec/tile_size: 8 is not allowed; give a whole number from 64 to 2048",
        "/spec/preset: \"nightmare\" is not allowed; give one of naive, multiscale, lapnorm, deepdream, deepdream-lapnorm, \
         feature-visualization",
        "/spec/colour: unknown field; allowed are model, preset, objectives, look,",
        "/spec/objectives/0/layer: model \"small\": there is no layer \"featurs\"; the closest are features",
        "/spec/objectives/1/channels: 3 is not in layer \"features\", which has channels 0 to 2",
        "/spec/objectives/1/weight: must not be 0",
        "/spec/objectives/2/class: 4 is not in layer \"logits\", which has classes 0 to 3",
        "/spec/objectives/3/class: is needed; layer \"logits\" has classes 0 to 3",
        "/spec/objectives/4/class: belongs to objectives of kind \"class\" and \"probability\" only",
        "/spec/objectives/4/size: unknown field",
    ] {
        assert!(found.iter().any(|mistake| mistake.starts_with(expected)), "{expected}\nnot in {found:#?}");
    }
    assert_eq!(found.len(), 15, "{found:#?}");
}

#[test]
fn unknown_models_and_empty_objectives_are_refused() {
    assert_eq!(
        mistakes(json!({"model": "big"})),
        ["/spec/model: there is no model \"big\"; available are small"]
    );
    // What can be said without it is said too.
    let objectives = json!([
        {"kind": "mean", "weight": 0, "size": 1}, {"kind": "class"}, {"kind": "l2", "class": 3}, {"layer": "any"}, 7,
    ]);
    assert_eq!(
        mistakes(json!({"model": "big", "objectives": objectives})),
        [
            "/spec/model: there is no model \"big\"; available are small",
            "/spec/objectives/0/weight: must not be 0",
            "/spec/objectives/0/size: unknown field; allowed are kind, layer, channels, class, weight, pick, count, at, direction, cosine_power",
            "/spec/objectives/1/class: is needed",
            "/spec/objectives/2/class: belongs to objectives of kind \"class\" and \"probability\" only",
            "/spec/objectives/4: must be an object, not a number",
        ]
    );
    for objectives in [json!([]), json!("l2"), json!(vec![json!({}); 17])] {
        assert_eq!(
            mistakes(json!({"objectives": objectives})),
            ["/spec/objectives: must be an array of 1 to 16 objectives"]
        );
    }
    assert_eq!(mistakes(json!([])), ["/spec: must be an object, not an array"]);
}

#[test]
fn a_dream_starts_from_an_image_or_from_noise() {
    const NOTHING: InputKind = InputKind::Nothing { image: "/image" };
    let resolve = |spec, start| resolve("", spec, &catalogue(), start);
    let noise = |spec| resolve(spec, NOTHING).unwrap().noise;
    assert_eq!(noise(json!({"preset": "multiscale"})), Some(Noise { width: 224, height: 224 }));
    let wanted = json!({"noise": {"width": 30, "height": 20}});
    assert_eq!(noise(wanted.clone()), Some(Noise { width: 30, height: 20 }));
    for (spec, start, pointer) in [
        (json!({}), NOTHING, "/image"),
        (wanted, InputKind::Image, "/noise"),
        (json!({"noise": {"width": 0}}), NOTHING, "/noise/width"),
        (json!({"noise": {"depth": 3}}), NOTHING, "/noise/depth"),
        (json!({"noise": 5}), NOTHING, "/noise"),
    ] {
        let errors = resolve(spec, start).unwrap_err();
        assert_eq!(errors.iter().map(|error| error.pointer.as_str()).collect::<Vec<_>>(), [pointer]);
    }
}

#[test]
fn messages_are_for_people() {
    let mut found =
        mistakes(json!({"format": 5, "jitter": "yes", "layer": "features", "octaves": 2.0, "precision": {}}));
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "/spec/format: 5 is not allowed; give one of png, jpeg, webp, gif, mp4, webm",
            "/spec/jitter: \"yes\" is not allowed; give true or false",
            "/spec/layer: belongs to an objective; write \"objectives\": [{\"layer\": …}]",
            "/spec/precision: {} is not allowed; give one of auto, fp32, tf32, bf16",
        ]
    );
}

#[test]
fn masks_and_their_use_come_together() {
    let spec = resolve("", json!({}), &catalogue(), InputKind::Masked).unwrap();
    assert_eq!(spec.mask, Some(Masking { feather: 16 }));
    let spec = resolve("", json!({ "mask": { "feather": 0 } }), &catalogue(), InputKind::Masked).unwrap();
    assert_eq!(spec.mask, Some(Masking { feather: 0 }));
    let stored = serde_json::to_value(&spec).unwrap();
    assert_eq!(resolve("", stored, &catalogue(), InputKind::Masked).unwrap(), spec);
    assert_eq!(resolve("", json!({}), &catalogue(), InputKind::Image).unwrap().mask, None);
    let errors = mistakes(json!({ "mask": { "feather": 3 } }));
    assert_eq!(errors, ["/spec/mask: says how a mask image is used, and none was sent"]);
    let errors =
        resolve("", json!({ "mask": { "feather": -1, "soft": 1 } }), &catalogue(), InputKind::Masked);
    assert_eq!(errors.unwrap_err().len(), 2);
}

#[test]
fn a_class_may_be_named_and_becomes_a_number() {
    let mut catalogue = catalogue();
    let model = Model::of_network("named", network(), "features", Some("logits"));
    let labels = ["tiger", "sea lion", "lion", "tiger cat"].map(str::to_owned);
    catalogue.insert(Model { labels: Some(labels.into()), ..model });
    let resolve = |objective: Value| {
        let spec = json!({ "model": "named", "objectives": [objective] });
        resolve("", spec, &catalogue, InputKind::Image)
    };
    let wrong = |objective: Value| {
        let mistakes = resolve(objective).unwrap_err();
        mistakes.into_iter().map(|one| format!("{}: {}", one.pointer, one.detail)).collect::<Vec<_>>()
    };
    let spec = resolve(json!({ "class": "Lion" })).unwrap();
    let [objective] = &spec.objectives[..] else { panic!("{spec:?}") };
    assert_eq!((objective.kind, objective.class), (ObjectiveKind::Class, Some(2)));
    // What is stored, and put into the recipe, is the number.
    assert_eq!(serde_json::to_value(objective).unwrap()["class"], 2);
    let probable = resolve(json!({ "kind": "probability", "layer": "logits", "class": "cat" })).unwrap();
    assert_eq!(probable.objectives[0].class, Some(3));
    let pointer = "/objectives/0/class";
    assert_eq!(
        wrong(json!({ "class": "lino" })),
        [format!("{pointer}: there is no class \"lino\"; the closest are sea lion (1), lion (2), tiger (0)")]
    );
    // A mistake of its own stays the only one.
    let [layer] = &wrong(json!({ "class": "lino", "layer": "logit" }))[..] else { panic!("several") };
    assert!(layer.starts_with("/objectives/0/layer: "), "{layer}");
    let [kind] = &wrong(json!({ "kind": "mean", "class": "lino" }))[..] else { panic!("several") };
    assert!(kind.contains("belongs to objectives of kind"), "{kind}");
    // Three channels of another layer are not called by the names of four classes.
    assert_eq!(
        wrong(json!({ "class": "lion", "layer": "features" })),
        [format!("{pointer}: the classes of layer \"features\" have no names; give a number from 0 to 2")]
    );
    assert_eq!(
        mistakes(json!({ "objectives": [{ "class": "lion" }] })),
        [
            "/spec/objectives/0/class: the classes of layer \"logits\" have no names; give a number from 0 to 3"
        ]
    );
}

#[test]
fn guides_and_objectives_that_follow_them_come_together() {
    let with = |spec, sent| {
        let guide = GuideSent { pointer: "/guide", sent };
        resolve_with_guide("/spec", spec, &catalogue(), InputKind::Image, Some(guide))
    };
    for kind in ["guide", "guide-cosine"] {
        let asked = || json!({ "objectives": [{ "kind": kind, "weight": -2 }, {}] });
        let spec = with(asked(), true).unwrap();
        assert!(spec.follows_guide() && spec.objectives[0].layer == "features");
        let stored = serde_json::to_value(&spec).unwrap();
        assert_eq!(stored["objectives"][0], json!({ "kind": kind, "layer": "features", "weight": -2.0 }));
        assert_eq!(with(stored, true).unwrap(), spec);
        // Among the other mistakes.
        let mut wrong = asked();
        wrong["octaves"] = json!(0);
        let errors = with(wrong, false).unwrap_err();
        assert_eq!(
            errors.iter().map(|error| &*error.pointer).collect::<Vec<_>>(),
            ["/spec/octaves", "/guide"]
        );
        assert!(errors[1].detail.contains("none was sent"), "{errors:?}");
        let channels =
            json!({ "objectives": [{ "kind": kind, "channels": [1] }, { "kind": kind, "class": 1 }] });
        assert_eq!(with(channels, true).unwrap_err().len(), 2);
    }
    assert!(!with(json!({}), false).unwrap().follows_guide());
    let errors = with(json!({}), true).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].pointer == "/guide" && errors[0].detail.contains("no objective follows it"),
        "{errors:?}"
    );
}

#[test]
fn a_layer_is_stored_by_the_name_that_it_has_in_the_file() {
    let mut catalogue = catalogue();
    let network = network().with_aliases([("mixed4c".to_owned(), NodeId(1))]);
    catalogue.insert(Model::of_network("other", network, "features", Some("logits")));
    let spec = json!({ "model": "other", "objectives": [{ "layer": "mixed4c" }] });
    assert_eq!(resolve("", spec, &catalogue, InputKind::Image).unwrap().objectives[0].layer, "features");
}

#[test]
fn classes_have_a_layer_of_their_own() {
    for kind in ["class", "probability"] {
        let wanted = json!({ "objectives": [{ "kind": kind, "class": 1 }] });
        let spec = resolve("", wanted, &catalogue(), InputKind::Image).unwrap();
        assert_eq!((spec.objectives[0].layer.as_str(), spec.objectives[0].class), ("logits", Some(1)));
        let errors = mistakes(json!({ "objectives": [{ "kind": kind }, { "kind": kind, "class": 1000 }] }));
        assert_eq!(errors.len(), 2, "{errors:?}");
    }
    let errors = mistakes(json!({ "format": "jpeg", "lossless": true }));
    assert_eq!(errors.len(), 1, "{errors:?}");
}

#[test]
fn the_kind_follows_from_what_is_given() {
    let kind = |objective: Value| {
        let spec = resolve("", json!({ "objectives": [objective] }), &catalogue(), InputKind::Image).unwrap();
        spec.objectives[0].kind
    };
    assert_eq!(kind(json!({})), ObjectiveKind::L2);
    assert_eq!(kind(json!({ "layer": "features", "channels": [] })), ObjectiveKind::L2);
    assert_eq!(kind(json!({ "channels": [1] })), ObjectiveKind::Mean);
    assert_eq!(kind(json!({ "kind": null, "channels": [1, 2] })), ObjectiveKind::Mean);
    assert_eq!(kind(json!({ "kind": "l2", "channels": [1] })), ObjectiveKind::L2);
    assert_eq!(kind(json!({ "class": 2 })), ObjectiveKind::Class);
    assert_eq!(kind(json!({ "kind": "probability", "class": 2 })), ObjectiveKind::Probability);
    let both = mistakes(json!({ "objectives": [{ "class": 2, "channels": [1] }] }));
    assert_eq!(both, ["/spec/objectives/0/channels: belong to objectives of kind \"mean\" and \"l2\" only"]);
}

/// Words that some parameter allows.
fn words() -> Vec<&'static str> {
    let choices = every_parameter().into_iter().filter_map(|parameter| match parameter.shape {
        Shape::Choice { values, .. } => Some(values.iter().map(|value| value.name)),
        _ => None,
    });
    choices.flatten().chain(["small", "features", "logits", "#ff8000", "spots"]).collect()
}

/// As version 0.1.0 has written specs: what is stored and what is in pictures must stay readable, and what is written
/// must stay the same bytes. The third is the default since photos are shrunk, the last that of the article.
const STORED: [&str; 4] = [
    r#"{"model":"small","preset":"deepdream-lapnorm","objectives":[{"kind":"l2","layer":"features","weight":1.0}],"octaves":4,"octave_scale":1.4,"octave_mode":"carry-detail","iterations":10,"step":1.5,"normalization":"laplacian","laplacian_levels":4,"tile_size":512,"tiling":"even","jitter":true,"seed":0,"precision":"auto","blend":0.0,"preserve_colors":false,"auto_contrast":false,"format":"png","quality":92,"lossless":false,"recipe":true}"#,
    r##"{"model":"small","preset":"naive","noise":{"width":224,"height":3},"objectives":[{"kind":"mean","layer":"features","channels":[1],"weight":1.0},{"kind":"class","layer":"logits","class":2,"weight":-2.0}],"octaves":1,"octave_scale":1.4,"octave_mode":"enlarge","iterations":20,"step":1.0,"normalization":"std","laplacian_levels":4,"tile_size":2048,"tiling":"article","jitter":false,"seed":7,"precision":"bf16","blend":0.5,"preserve_colors":true,"auto_contrast":true,"background":"#ff8000","format":"webp","quality":1,"lossless":true,"recipe":false}"##,
    r#"{"model":"small","preset":"deepdream-lapnorm","objectives":[{"kind":"l2","layer":"features","weight":1.0}],"octaves":"auto","octave_scale":1.4,"octave_mode":"carry-detail","iterations":"auto","step":1.5,"normalization":"laplacian","laplacian_levels":4,"tile_size":512,"tiling":"even","jitter":true,"seed":0,"precision":"auto","blend":0.0,"preserve_colors":false,"auto_contrast":false,"format":"png","quality":92,"lossless":false,"recipe":true,"max_edge":1280}"#,
    r#"{"model":"small","preset":"deepdream","objectives":[{"kind":"l2","layer":"features","weight":1.0}],"octaves":4,"octave_scale":1.4,"octave_mode":"carry-detail","iterations":10,"step":1.5,"normalization":"mean-abs","laplacian_levels":4,"tile_size":512,"tiling":"even","jitter":true,"seed":0,"precision":"auto","blend":0.0,"preserve_colors":false,"auto_contrast":false,"format":"png","quality":92,"lossless":false,"recipe":true}"#,
];

#[test]
fn specs_are_written_as_before() {
    const NOTHING: InputKind = InputKind::Nothing { image: "/image" };
    let asked = json!({
        "preset": "naive", "noise": {"height": 3}, "seed": 7, "tiling": "article", "precision": "bf16", "blend": 0.5,
        "preserve_colors": true, "background": "#FF8000", "format": "webp", "quality": 1, "lossless": true,
        "recipe": false, "objectives": [{"channels": [1]}, {"class": 2, "weight": -2}],
    });
    let article = json!({ "preset": "deepdream" });
    for (asked, input, stored) in [
        (json!({}), InputKind::Image, STORED[2]),
        (asked, NOTHING, STORED[1]),
        (article, InputKind::Image, STORED[3]),
    ] {
        let spec = resolve("", asked, &catalogue(), input).unwrap();
        assert_eq!(serde_json::to_string(&spec).unwrap(), stored);
        assert_eq!(serde_json::from_str::<DreamSpec>(stored).unwrap(), spec);
    }
    // A dream from before photos were shrunk keeps its size, also when it is dreamed again.
    let before: DreamSpec = serde_json::from_str(STORED[0]).unwrap();
    assert_eq!(serde_json::to_string(&before).unwrap(), STORED[0]);
    assert_eq!((before.max_edge, before.octaves, before.preserve_colors), (None, Count::Of(4), Share(0.0)));
    let again = resolve("", before.to_request().unwrap(), &catalogue(), InputKind::Image).unwrap();
    assert_eq!(again, DreamSpec { max_edge: Some(0), ..before });
    // Before some parameters were added.
    let mut old: Value = serde_json::from_str(STORED[0]).unwrap();
    for name in ["blend", "preserve_colors", "auto_contrast", "quality", "lossless", "recipe"] {
        old.as_object_mut().unwrap().remove(name);
    }
    assert_eq!(serde_json::from_value::<DreamSpec>(old).unwrap(), serde_json::from_str(STORED[0]).unwrap());
}

#[test]
fn unknown_fields_are_told_the_known_ones_in_the_usual_order() {
    let allowed = "model, preset, objectives, look, noise, octaves, octave_scale, octave_mode, iterations, step, \
                   normalization, laplacian_levels, tile_size, tiling, jitter, seed, precision, blend, preserve_colors, \
                   auto_contrast, mask, background, format, quality, lossless, recipe";
    let [mistake] = &mistakes(json!({"colour": 1}))[..] else { panic!("not one mistake") };
    // Later parameters follow.
    assert!(mistake.starts_with(&format!("/spec/colour: unknown field; allowed are {allowed}")), "{mistake}");
}

/// JSON that comes close to a spec: the right names, often with the wrong values.
fn nearly_a_spec() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        proptest::sample::select(words()).prop_map(Value::from),
        (0_u32..5).prop_map(Value::from),
        (0_i32..150).prop_map(|number| Value::from(f64::from(number) / 10.0)),
        any::<bool>().prop_map(Value::from),
        proptest::collection::vec(0_u32..4, 0..3).prop_map(Value::from),
        json(),
    ];
    let object = |value| {
        let names: Vec<_> = every_parameter().into_iter().map(|parameter| parameter.name).collect();
        proptest::collection::hash_map(proptest::sample::select(names), value, 0..6)
            .prop_map(|map| map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Value>())
    };
    let inner = prop_oneof![object(word.clone().boxed()), word.clone()].boxed();
    let list = proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from);
    object(prop_oneof![3 => word, 1 => inner, 1 => list].boxed())
}

/// What must hold for every request.
fn check(value: Value, start: InputKind) -> Result<(), TestCaseError> {
    let (length, wanted) = (value.to_string().len(), value.clone());
    match resolve("/spec", value, &catalogue(), start) {
        Ok(spec) => {
            let stored = serde_json::to_value(&spec).unwrap();
            prop_assert_eq!(serde_json::from_value::<DreamSpec>(stored.clone()).unwrap(), spec.clone());
            prop_assert_eq!(resolve("", stored, &catalogue(), start).unwrap(), spec);
        }
        Err(errors) => {
            prop_assert!(!errors.is_empty());
            // Some mistakes for each value that was sent, each a few times as long as what it is about; a few more for
            // what is missing.
            prop_assert!(errors.len() <= 4 + 2 * length, "{} mistakes in {wanted}", errors.len());
            for FieldError { pointer, detail } in errors {
                prop_assert!(
                    pointer.len() <= 100 + 2 * length && detail.len() <= 600 + 6 * length,
                    "{detail}"
                );
                prop_assert!(pointer.starts_with("/spec") || pointer == "/image", "{pointer}");
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(quick())]

    #[test]
    fn any_json_is_a_spec_or_told_what_is_wrong(value in json()) {
        for start in [InputKind::Image, InputKind::Masked, InputKind::Nothing { image: "/image" }] {
            check(value.clone(), start)?;
        }
    }

    #[test]
    fn what_comes_close_to_a_spec_is_too(value in nearly_a_spec()) {
        for start in [InputKind::Image, InputKind::Masked, InputKind::Nothing { image: "/image" }] {
            check(value.clone(), start)?;
        }
    }
}
