//! Schedules: what is in force where, and how one grows.

use serde_json::json;

use super::{super::*, catalogue, mistakes};

fn resolved(spec: serde_json::Value) -> DreamSpec {
    resolve("", spec, &catalogue(), InputKind::Image).unwrap()
}

#[test]
fn what_a_change_names_holds_from_its_place_on_and_the_rest_stays() {
    let spec = resolved(json!({
        "step": 2.0, "l2_decay": 0.5,
        "schedule": [{ "octave": 2, "step": 3.0 }, { "octave": 4, "l2_decay": 1.0, "total_variation": 0.25 }],
    }));
    let at = |octave: u32| {
        let now = spec.at(octave);
        assert!(now.schedule.is_empty() && now.objectives == spec.objectives);
        (now.step, now.l2_decay, now.total_variation)
    };
    assert_eq!(at(1), (2.0, 0.5, 0.0));
    assert_eq!((at(2), at(3)), ((3.0, 0.5, 0.0), (3.0, 0.5, 0.0)));
    assert_eq!((at(4), at(16)), ((3.0, 1.0, 0.25), (3.0, 1.0, 0.25)));
    // What is stored is read back, and resolves to itself.
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<DreamSpec>(&text).unwrap(), spec);
    assert_eq!(resolved(spec.to_request().unwrap()), spec);
    // Specs from before are written as before.
    assert!(!serde_json::to_string(&resolved(json!({}))).unwrap().contains("schedule"));
    assert_eq!(resolved(json!({ "schedule": [] })), resolved(json!({ "schedule": null })));
}

#[test]
fn what_fades_comes_in_evenly_and_another_fade_begins_where_it_stands() {
    let spec = resolved(json!({
        "motion": { "frames": 20 }, "step": 1.0,
        "schedule": [
            { "frame": 2, "step": 5.0, "objectives": [{ "kind": "l2", "weight": 2 }, { "kind": "mean" }], "fade": 4 },
            { "frame": 4, "step": 1.0, "fade": 2 },
        ],
    }));
    let steps: Vec<f64> = (1..=6).map(|frame| spec.at(frame).step).collect();
    // 2 and 3 of four quarters up, then half of the way and all of it back.
    assert_eq!(steps, [1.0, 2.0, 3.0, 2.0, 1.0, 1.0]);
    let weights =
        |frame: u32| -> Vec<f64> { spec.at(frame).objectives.iter().map(|one| one.weight).collect() };
    // The default is `l2` of the same layer: its weight goes from 1 to 2, and the other one comes in.
    assert_eq!(
        [1, 2, 3, 5, 20].map(weights),
        [vec![1.0], vec![1.25, 0.25], vec![1.5, 0.5], vec![2.0, 1.0], vec![2.0, 1.0]]
    );
}

#[test]
fn few_changes_come_in_at_the_same_time() {
    let fades = |count: u32, fade: u32| {
        let objectives: Vec<_> =
            (0..3).map(|channel| json!({ "kind": "mean", "channels": [channel] })).collect();
        let change = |index: u32| json!({ "frame": 2 + index, "fade": fade, "objectives": objectives });
        json!({ "motion": { "frames": 1000 }, "schedule": (0..count).map(change).collect::<Vec<_>>() })
    };
    let found = mistakes(fades(32, 1000));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("more than 4 changes come in at the same time"), "{found:?}");
    // One after the other, all may.
    assert_eq!(resolved(fades(32, 1)).schedule.len(), 32);
    assert_eq!(resolved(fades(4, 1000)).schedule.len(), 4);
}

#[test]
fn a_change_on_the_way_is_put_in_its_place() {
    let spec = resolved(
        json!({ "schedule": [{ "octave": 2, "step": 3.0, "l2_decay": 1.0 }, { "octave": 4, "step": 4.0 }] }),
    );
    let catalogue = catalogue();
    let model = catalogue.get(&spec.model).unwrap();
    let ask = |value, waiting, place| {
        let underway = Underway { spec: &spec, planned: &spec.schedule, has_guide: false, waiting };
        steered(value, underway, place, model)
    };
    let steps = |spec: &DreamSpec| {
        spec.schedule.iter().map(|change| (change.place(), change.step)).collect::<Vec<_>>()
    };
    let (change, between) = ask(json!({ "step": 9.0 }), None, 3).unwrap();
    assert_eq!(steps(&between), [(2, Some(3.0)), (3, Some(9.0)), (4, Some(4.0))]);
    let (both, _) = ask(json!({ "total_variation": 1.0 }), Some(change), 3).unwrap();
    assert_eq!((both.step, both.total_variation, both.octave), (Some(9.0), Some(1.0), Some(3)));
    let (_, there) = ask(json!({ "step": 9.0 }), None, 2).unwrap();
    assert_eq!(steps(&there), [(2, Some(9.0)), (4, Some(4.0))]);
    assert_eq!(there.schedule[0].l2_decay, Some(1.0));
    // As many as a schedule may have.
    let full = DreamSpec {
        schedule: (1..=MAX_CHANGES as u32)
            .map(|octave| Change { step: Some(1.0), ..Change::default() }.from(octave, false))
            .collect(),
        ..spec.clone()
    };
    // Nor where it would fall together with a known one.
    for place in [99, 1] {
        let underway = Underway { spec: &full, planned: &[], has_guide: false, waiting: None };
        let refused = steered(json!({ "step": 9.0 }), underway, place, model).unwrap_err();
        assert!(refused[0].detail.contains("32 times"), "{refused:?}");
    }
}

#[test]
fn no_change_begins_before_one_that_was_asked_for_earlier() {
    let sent = resolved(json!({
        "motion": { "frames": 20 }, "schedule": [{ "frame": 5, "step": 3.0 }, { "frame": 9, "l2_decay": 4.0 }],
    }));
    let catalogue = catalogue();
    let model = catalogue.get(&sent.model).unwrap();
    let ask = |before: &DreamSpec, waiting: Option<Change>, asked: serde_json::Value, next: u32| {
        let underway = Underway { spec: before, planned: &sent.schedule, has_guide: false, waiting };
        steered(asked, underway, next, model)
    };
    let places = |spec: &DreamSpec| {
        spec.schedule.iter().map(|change| (change.frame.unwrap(), change.step)).collect::<Vec<_>>()
    };
    // What was sent for later holds nothing up.
    let (change, first) = ask(&sent, None, json!({ "step": 4.0 }), 2).unwrap();
    assert_eq!((change.frame, places(&first)), (Some(2), vec![(2, Some(4.0)), (5, Some(3.0)), (9, None)]));
    // An attempt took changes up for frames 5 and 7, and was lost.
    let (_, lost) = ask(&sent, None, json!({ "step": 4.0 }), 5).unwrap();
    let (_, lost) = ask(&lost, None, json!({ "step": 5.0 }), 7).unwrap();
    for next in [1, 3, 7] {
        let (change, spec) = ask(&lost, None, json!({ "step": 7.0 }), next).unwrap();
        assert_eq!(change.frame, Some(7));
        assert_eq!(places(&spec), [(5, Some(4.0)), (7, Some(7.0)), (9, None)]);
    }
    assert_eq!(ask(&lost, None, json!({ "step": 7.0 }), 8).unwrap().0.frame, Some(8));
    // One that waits keeps its place, and what is not named anew.
    let (waiting, _) = ask(&sent, None, json!({ "step": 6.0, "total_variation": 1.0 }), 8).unwrap();
    let (change, spec) = ask(&sent, Some(waiting), json!({ "step": 7.0 }), 1).unwrap();
    assert_eq!((change.frame, change.step, change.total_variation), (Some(8), Some(7.0), Some(1.0)));
    assert_eq!(places(&spec), [(5, Some(3.0)), (8, Some(7.0)), (9, None)]);
}

#[test]
fn what_is_no_schedule_is_told_at_its_place() {
    let of = |schedule: serde_json::Value| mistakes(json!({ "schedule": schedule }));
    let changes: Vec<_> = (1..=33).map(|octave| json!({ "octave": octave, "step": 1.0 })).collect();
    for (schedule, expected) in [
        (json!("later"), "/spec/schedule: must be an array of at most 32 changes"),
        (json!(changes), "/spec/schedule: must be an array of at most 32 changes"),
        (json!([7]), "/spec/schedule/0: must be an object, not a number"),
        (
            json!([{ "octave": 2, "frame": 2, "step": 1.0 }]),
            "/spec/schedule/0/frame: is for animations; a single picture changes at an \"octave\"",
        ),
        (
            json!([{ "octave": 2, "seed": 2, "step": 1.0 }]),
            "/spec/schedule/0/seed: unknown field; allowed are octave, frame, objectives, step, total_variation, l2_decay, fade",
        ),
    ] {
        assert_eq!(of(schedule), [expected]);
    }
}
