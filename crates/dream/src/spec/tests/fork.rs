//! Forks: what stays of the first dream, and what may change.

use serde_json::{Value, json};

use super::{super::*, FieldError, catalogue};

fn resolved(spec: Value) -> DreamSpec {
    resolve("", spec, &catalogue(), InputKind::Image).unwrap()
}

fn fork(mut written: Value, spec: &DreamSpec, place: u32) -> Result<DreamSpec, Vec<FieldError>> {
    let fade = written.as_object_mut().and_then(|members| members.remove("fade"));
    let fade = fade.and_then(|fade| fade.as_u64()).map(|fade| fade as u32);
    let first = First { spec, input: InputKind::Image, has_guide: spec.follows_guide() };
    forked("/spec", written, first, After { place, fade }, &catalogue())
}

#[test]
fn a_fork_is_the_first_dream_up_to_its_place_and_another_one_after_it() {
    let spec = resolved(json!({
        "octaves": 4, "seed": 7, "step": 2.0,
        "schedule": [{ "octave": 2, "step": 3.0 }, { "octave": 3, "step": 0.5 }, { "octave": 4, "l2_decay": 1.0 }],
    }));
    let forked =
        fork(json!({ "objectives": [{ "kind": "mean" }], "format": "jpeg", "quality": 80 }), &spec, 2)
            .unwrap();
    for octave in 1..=2 {
        let (before, after) = (spec.at(octave), forked.at(octave));
        assert_eq!((before.step, &before.objectives), (after.step, &after.objectives));
    }
    // What was to come in the first dream does not.
    assert_eq!((forked.at(3).step, forked.at(4).l2_decay), (3.0, 0.0));
    assert_eq!(forked.at(3).objectives[0].kind, ObjectiveKind::Mean);
    assert_eq!((forked.format, forked.quality, forked.seed), (Format::Jpeg, 80, 7));
    // A place that changed in the first dream, too, is as the fork has it.
    assert_eq!(fork(json!({ "step": 9.0 }), &spec, 1).unwrap().at(2).step, 9.0);
    // The recipe says all of it, and nothing named is nothing changed.
    assert_eq!(resolved(forked.to_request().unwrap()), forked);
    let plain = resolved(json!({ "octaves": 4 }));
    let many = resolved(json!({ "octaves": "auto" }));
    assert!(fork(json!({}), &many, 15).is_ok() && fork(json!({}), &many, 16).is_err());
    assert_eq!(fork(json!({}), &plain, 3).unwrap(), plain);
}

#[test]
fn a_fork_follows_a_guide_that_came_with_the_first_dream_whatever_followed_it_there() {
    let following = json!([{ "kind": "guide", "layer": "features" }]);
    let later = resolved(json!({ "octaves": 4, "schedule": [{ "octave": 3, "objectives": following }] }));
    let forked = fork(json!({ "objectives": following }), &later, 1).unwrap();
    assert!(forked.at(2).follows_guide() && !forked.at(1).follows_guide());
    assert_eq!(forked.schedule.len(), 1);
    // Without what followed it, none is needed.
    assert!(!fork(json!({ "step": 2.0 }), &later, 2).unwrap().follows_guide());
    assert!(fork(json!({ "step": 2.0 }), &later, 3).unwrap().follows_guide());
    let none = fork(json!({ "objectives": following }), &resolved(json!({ "octaves": 4 })), 1).unwrap_err();
    assert_eq!(none[0].pointer, "/spec/objectives");
}

#[test]
fn what_the_octaves_that_stay_depend_on_cannot_change() {
    let spec = resolved(json!({ "octaves": 4 }));
    let refused = |written: Value, place: u32| -> Vec<(String, String)> {
        let errors = fork(written, &spec, place).unwrap_err();
        errors.into_iter().map(|error| (error.pointer, error.detail)).collect()
    };
    let several = refused(json!({ "seed": 1, "octaves": 3, "sead": 1, "step": 1.0 }), 2);
    assert_eq!(several.len(), 3, "{several:?}");
    let seed = several.iter().find(|(pointer, _)| pointer == "/spec/seed").unwrap();
    assert!(seed.1.contains("cannot change in a fork") && seed.1.contains("objectives"), "{}", seed.1);
    assert!(several.iter().any(|(pointer, detail)| pointer == "/spec/sead" && detail.contains("unknown")));
    // Each mistake where it stands.
    let pointer = |written: Value| refused(written, 2)[0].0.clone();
    assert_eq!(pointer(json!({ "step": -1 })), "/spec/step");
    assert_eq!(pointer(json!({ "objectives": [{ "layer": "nowhere" }] })), "/spec/objectives/0/layer");
    assert_eq!(pointer(json!({ "fade": 3, "step": 1.0 })), "/spec/fade");
    assert_eq!(pointer(json!({ "format": "jpeg", "lossless": true })), "/spec/lossless");
    assert_eq!(pointer(json!([1])), "/spec");
    for place in [0, 4, 16, u32::MAX] {
        assert_eq!(refused(json!({}), place)[0].0, "/spec", "{place}");
    }
}

#[test]
fn an_animation_forks_after_a_frame() {
    let spec = resolved(json!({
        "motion": { "frames": 8 }, "step": 1.0, "schedule": [{ "frame": 2, "step": 5.0, "fade": 4 }],
    }));
    let forked = fork(json!({ "step": 2.0, "fade": 2 }), &spec, 3).unwrap();
    let steps: Vec<f64> = (1..=6).map(|frame| forked.at(frame).step).collect();
    assert_eq!(&steps[..3], &(1..=3).map(|frame| spec.at(frame).step).collect::<Vec<_>>()[..]);
    assert_eq!(steps[4..], [2.0, 2.0]);
    assert!(fork(json!({}), &spec, 8).is_err() && fork(json!({}), &spec, 7).is_ok());
}
