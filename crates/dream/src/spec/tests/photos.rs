//! What is left to the picture, to the model and to a look.

use serde_json::{Value, json};

use super::{super::*, catalogue, mistakes};

#[test]
fn counts_may_be_left_to_the_picture_and_shares_may_be_flags() {
    let resolved = |spec| resolve("", spec, &catalogue(), InputKind::Image);
    let spec = resolved(json!({ "preset": "deepdream", "octaves": "auto", "iterations": 7.0 })).unwrap();
    assert_eq!((spec.octaves, spec.iterations), (Count::Auto, Count::Of(7)));
    let kept = |share: Value| resolved(json!({ "preserve_colors": share })).map(|spec| spec.preserve_colors);
    assert_eq!([json!(true), json!(1), json!(1.0)].map(|all| kept(all).unwrap()), [Share(1.0); 3]);
    assert_eq!([json!(false), json!(0)].map(|none| kept(none).unwrap()), [Share(0.0); 2]);
    assert_eq!(kept(json!(0.25)).unwrap(), Share(0.25));
    let mistakes = mistakes(json!({ "octaves": "many", "iterations": true, "preserve_colors": 1.5 }));
    assert_eq!(
        mistakes,
        [
            "/spec/octaves: \"many\" is not allowed; give a whole number from 1 to 16, or \"auto\"",
            "/spec/iterations: true is not allowed; give a whole number from 1 to 1000, or \"auto\"",
            "/spec/preserve_colors: 1.5 is not allowed; give a number from 0 to 1, true or false",
        ]
    );
}

#[test]
fn a_look_fills_in_what_a_request_leaves_out() {
    let resolved = |spec| resolve("", spec, &catalogue(), InputKind::Image).unwrap();
    let look = resolved(json!({ "look": "spots", "seed": 3 }));
    assert_eq!((look.octaves, look.octave_scale, look.seed), (Count::Of(5), 1.3, 3));
    assert_eq!((look.objectives[0].channels.as_slice(), &look.look), (&[1, 2][..], &None));
    // The spec holds what the name stood for.
    assert!(!serde_json::to_string(&look).unwrap().contains("look"));
    let own = json!({ "look": "spots", "octaves": 2, "octave_scale": null, "objectives": [{ "layer": "features" }] });
    let own = resolved(own);
    assert_eq!((own.octaves, own.octave_scale, own.objectives[0].channels.len()), (Count::Of(2), 1.3, 0));
    assert_eq!(
        mistakes(json!({ "look": "stripes" })),
        ["/spec/look: model \"small\" has no look \"stripes\"; it has spots"]
    );
    assert_eq!(
        mistakes(json!({ "look": "spots", "model": "big" })),
        ["/spec/model: there is no model \"big\"; available are small"]
    );
    assert_eq!(mistakes(json!({ "look": 5 })), ["/spec/look: 5 is not allowed; give a string"]);
}

#[test]
fn photos_have_a_largest_edge_and_other_starts_do_not() {
    const NOTHING: InputKind = InputKind::Nothing { image: "/image" };
    let edge = |spec, input| resolve("", spec, &catalogue(), input).map(|spec| spec.max_edge);
    assert_eq!(edge(json!({}), InputKind::Masked), Ok(Some(1280)));
    assert_eq!(edge(json!({ "max_edge": 0 }), InputKind::Image), Ok(Some(0)));
    assert_eq!(edge(json!({ "preset": "deepdream", "max_edge": 800 }), InputKind::Image), Ok(Some(800)));
    // 0 says nothing there.
    assert_eq!(edge(json!({ "preset": "deepdream", "max_edge": 0 }), InputKind::Image), Ok(None));
    let noise = json!({ "noise": {} });
    let spec = resolve("", noise, &catalogue(), NOTHING).unwrap();
    assert_eq!((spec.max_edge, spec.octaves, spec.iterations), (None, Count::Of(4), Count::Of(10)));
    let wrong = edge(json!({ "noise": {}, "max_edge": 100 }), NOTHING).unwrap_err();
    assert_eq!(wrong[0].pointer, "/max_edge");
    let grown = mistakes(json!({ "octave_mode": "enlarge", "restore_size": true }));
    assert_eq!(grown.len(), 1, "{grown:?}");
    assert!(grown[0].starts_with("/spec/restore_size: needs octave_mode"), "{grown:?}");
}
