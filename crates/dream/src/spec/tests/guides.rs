//! Guide images and the objectives that follow them.

use serde_json::json;

use super::{super::*, catalogue};

#[test]
fn guides_and_objectives_that_follow_them_come_together() {
    let with = |spec, sent| {
        let guide = GuideSent { pointer: "/guide", sent };
        resolve_with_guide("/spec", spec, &catalogue(), InputKind::Image, guide)
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
