//! Channels that are picked, places, directions: what an objective makes of them, and what does not go together.

use super::{super::request::fits_its_file, *};

fn read(objective: Value) -> Objective {
    let spec = resolve("", json!({ "objectives": [objective] }), &catalogue(), InputKind::Image).unwrap();
    let [read] = &spec.objectives[..] else { panic!("{spec:?}") };
    let stored = serde_json::to_value(read).unwrap();
    assert_eq!(serde_json::from_value::<Objective>(stored.clone()).unwrap(), *read);
    // As a replay has it.
    let again = resolve("", json!({ "objectives": [stored] }), &catalogue(), InputKind::Image).unwrap();
    assert_eq!(again.objectives, spec.objectives);
    read.clone()
}

#[test]
fn picked_channels_places_and_directions_are_kept() {
    let picked = read(json!({ "pick": "weakest", "count": 2 }));
    assert_eq!((picked.kind, picked.pick, picked.count), (ObjectiveKind::Mean, Some(Pick::Weakest), Some(2)));
    assert_eq!(read(json!({ "kind": "l2", "pick": "random" })).count, Some(1));
    let placed = read(json!({ "channels": [1], "at": { "x": 0.25, "radius": 0.02 } }));
    assert_eq!(placed.at, Some(Spot { x: 0.25, y: 0.5, radius: 0.02 }));
    let direction = read(json!({ "direction": { "2": -0.5, "0": 1 }, "at": {} }));
    assert_eq!((direction.kind, direction.cosine_power), (ObjectiveKind::Direction, Some(1)));
    assert_eq!(direction.direction.into_iter().collect::<Vec<_>>(), [(0, 1.0), (2, -0.5)]);
    let flat = read(json!({ "kind": "direction", "direction": { "1": 1 }, "cosine_power": 0 }));
    assert_eq!(flat.cosine_power, Some(0));
    // What has none of them is written as before.
    let plain = serde_json::to_value(read(json!({ "channels": [1] }))).unwrap();
    assert_eq!(plain, json!({ "kind": "mean", "layer": "features", "channels": [1], "weight": 1.0 }));
}

#[test]
fn what_does_not_go_together_is_told_by_its_name() {
    let wrong = [
        (json!({ "channels": [1], "pick": "strongest" }), "pick: finds the channels by itself"),
        (json!({ "class": 1, "pick": "strongest" }), "pick: belongs to objectives of kind"),
        (json!({ "kind": "guide", "pick": "random" }), "pick: belongs to objectives of kind"),
        (json!({ "count": 2 }), "count: says how many channels"),
        (
            json!({ "pick": "strongest", "count": 4 }),
            "count: 4 channels are not in layer \"features\", which has 3",
        ),
        (json!({ "class": 1, "at": {} }), "at: belongs to objectives of kind"),
        (json!({ "kind": "guide", "at": {} }), "at: belongs to objectives of kind"),
        (json!({ "layer": "logits", "at": {} }), "at: layer \"logits\" has no positions"),
        (json!({ "at": { "x": 1.5 } }), "at/x: 1.5 is not allowed"),
        (json!({ "at": { "z": 1 } }), "at/z: unknown field; allowed are x, y, radius"),
        (json!({ "at": 3 }), "at: must be an object"),
        (json!({ "kind": "mean", "direction": { "1": 1 } }), "direction: belongs to objectives of kind"),
        (json!({ "kind": "direction" }), "direction: is needed"),
        (json!({ "direction": { "1": 0 } }), "direction: is needed"),
        (
            json!({ "direction": { "3": 1 } }),
            "direction: 3 is not in layer \"features\", which has channels 0 to 2",
        ),
        (json!({ "direction": { "1": 1 }, "channels": [1] }), "channels: belong to objectives of kind"),
        (json!({ "kind": "l2", "cosine_power": 2 }), "cosine_power: belongs to objectives of kind"),
    ];
    for (objective, expected) in wrong {
        let found = mistakes(json!({ "objectives": [objective] }));
        let expected = format!("/spec/objectives/0/{expected}");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{objective}: {found:?}");
    }
}

#[test]
fn what_the_result_could_not_tell_is_refused() {
    let direction = |count: u32| {
        let weights: serde_json::Map<_, _> =
            (0..count).map(|channel| (channel.to_string(), json!(1))).collect();
        mistakes(json!({ "objectives": [{ "direction": weights }] }))
    };
    let told = "/spec/objectives/0/direction: has 257 channels; at most 256 are allowed";
    assert!(direction(257).iter().any(|mistake| mistake == told), "{:?}", direction(257));
    // The layer has no so many either.
    assert!(direction(256).iter().all(|mistake| !mistake.contains("at most")), "{:?}", direction(256));
}

#[test]
fn a_recipe_that_does_not_fit_into_the_file_is_told_before_the_dream() {
    let spec = resolve("", json!({ "format": "jpeg" }), &catalogue(), InputKind::Image).unwrap();
    assert!(fits_its_file(&spec));
    let channels = (0..20_000).collect();
    let long = Objective { channels, ..Objective::of_layer(ObjectiveKind::Mean, "features") };
    let long = DreamSpec { objectives: vec![long], ..spec };
    assert!(!fits_its_file(&long) && fits_its_file(&DreamSpec { recipe: false, ..long.clone() }));
    assert!(fits_its_file(&DreamSpec { format: Format::Png, ..long.clone() }));
    assert!(!fits_its_file(&DreamSpec { format: Format::Webm, ..long }));
}

#[test]
fn a_decay_beyond_grey_is_refused() {
    let read = |step: f64| {
        let spec = json!({ "step": step, "l2_decay": 2 });
        resolve("/spec", spec, &catalogue(), InputKind::Image)
    };
    assert!(read(63.75).is_ok());
    let told = read(64.0).unwrap_err();
    let [mistake] = &told[..] else { panic!("{told:?}") };
    assert_eq!(mistake.pointer, "/spec/l2_decay");
    assert!(mistake.detail.starts_with("2 is too much for step 64:"), "{}", mistake.detail);
}

#[test]
fn penalties_are_written_where_they_are_wanted() {
    let read = |spec| resolve("", spec, &catalogue(), InputKind::Image).unwrap();
    let (plain, smooth) = (read(json!({})), read(json!({ "total_variation": 0.25, "l2_decay": 1 })));
    assert_eq!((smooth.total_variation, smooth.l2_decay), (0.25, 1.0));
    let written = |spec: &DreamSpec| serde_json::to_value(spec).unwrap();
    let members = ["total_variation", "l2_decay"];
    assert!(members.iter().all(|name| written(&plain).get(name).is_none()));
    assert!(members.iter().all(|name| written(&smooth).get(name).is_some()));
}
