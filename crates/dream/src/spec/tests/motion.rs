//! Animations in requests.

use serde_json::json;

use super::{super::*, catalogue, mistakes};

fn resolved(spec: serde_json::Value) -> DreamSpec {
    resolve("", spec, &catalogue(), InputKind::Image).unwrap()
}

#[test]
fn a_member_of_motion_is_enough_for_an_animation_and_null_makes_none() {
    let spec = resolved(json!({ "motion": {} }));
    let motion = spec.motion.unwrap();
    assert_eq!((motion.frames, motion.fps, motion.playback), (60, 15, Playback::Repeat));
    assert!(!motion.is_still());
    assert_eq!(resolved(json!({ "motion": null })), resolved(json!({})));
    let still = resolved(json!({ "motion": { "zoom": 1, "frames": 2 } })).motion.unwrap();
    assert!(still.is_still());
    for member in ["rotate", "shift_x", "shift_y"] {
        assert!(!resolved(json!({ "motion": { "zoom": 1, member: -0.5 } })).motion.unwrap().is_still());
    }
}

#[test]
fn frames_are_smaller_than_photos_unless_a_size_is_named() {
    let edge = |spec| resolved(spec).max_edge;
    assert_eq!(edge(json!({ "motion": {} })), Some(640));
    assert_eq!(edge(json!({ "motion": null })), Some(1280));
    assert_eq!(edge(json!({ "motion": {}, "max_edge": 900 })), Some(900));
    assert_eq!(edge(json!({ "motion": {}, "max_edge": 0 })), Some(0));
    // The article's presets take images as they are.
    assert_eq!(edge(json!({ "motion": {}, "preset": "deepdream" })), None);
}

#[test]
fn further_frames_keep_their_size() {
    let spec = resolved(json!({ "motion": { "iterations": 3 }, "preset": "multiscale" }));
    let further = spec.further_frame(&spec.motion.unwrap());
    assert_eq!((further.octave_mode, further.iterations), (OctaveMode::CarryDetail, Count::Of(3)));
    assert_eq!((further.motion, further.max_edge), (None, None));
    assert_eq!((further.octaves, further.seed), (spec.octaves, spec.seed));
}

#[test]
fn what_an_animation_cannot_have_is_told_at_its_member() {
    let of = |members: serde_json::Value| {
        let mut spec = json!({ "motion": {} });
        spec.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        mistakes(spec)
    };
    let [jpeg] = &of(json!({ "format": "jpeg" }))[..] else { panic!("one mistake") };
    assert!(
        jpeg.starts_with("/spec/format: a JPEG holds a single picture") && jpeg.contains("\"webp\""),
        "{jpeg}"
    );
    let [size] = &of(json!({ "restore_size": true }))[..] else { panic!("one mistake") };
    assert!(size.starts_with("/spec/restore_size: is for single pictures"), "{size}");
    let [exact] = &of(json!({ "format": "gif", "lossless": true }))[..] else { panic!("one mistake") };
    assert!(exact.starts_with("/spec/lossless: a GIF cannot be lossless"), "{exact}");
    assert_eq!(
        of(json!({ "motion": { "frames": 10_000 } })),
        ["/spec/motion/frames: 10000 is not allowed; give a whole number from 1 to 1000"]
    );
    let [list] = &of(json!({ "motion": [1] }))[..] else { panic!("one mistake") };
    assert_eq!(list, "/spec/motion: must be an object, not an array");
    let [unknown] = &of(json!({ "motion": { "speed": 2 } }))[..] else { panic!("one mistake") };
    assert!(unknown.starts_with("/spec/motion/speed: unknown field; allowed are frames, zoom"), "{unknown}");
}
