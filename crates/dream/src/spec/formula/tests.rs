//! Formulas as objectives, and what cannot be read.

use proptest::prelude::*;
use reverie_fields::arbitrary::quick;
use serde_json::json;

use super::*;

fn objectives(text: &str) -> Vec<Value> {
    parse_formula(text).unwrap().into_iter().map(|term| term.objective.into()).collect()
}

#[test]
fn sums_are_read_with_their_weights() {
    assert_eq!(
        objectives("mixed4c - 0.5*mixed3b:21 + guide(mixed4c)"),
        [
            json!({ "layer": "mixed4c" }),
            json!({ "layer": "mixed3b", "channels": [21], "weight": -0.5 }),
            json!({ "kind": "guide", "layer": "mixed4c" }),
        ]
    );
    assert_eq!(
        objectives(
            " -1e-2 * features.0/conv : 3 , 1+.5*mean( l2:7 )+class(291)-probability('tiger cat', \"a-b\")"
        ),
        [
            json!({ "layer": "features.0/conv", "channels": [3, 1], "weight": -0.01 }),
            json!({ "kind": "mean", "layer": "l2", "channels": [7], "weight": 0.5 }),
            json!({ "kind": "class", "class": 291 }),
            json!({ "kind": "probability", "class": "tiger cat", "layer": "a-b", "weight": -1.0 }),
        ]
    );
    assert_eq!(
        objectives("+guide-cosine (block2)-guide-class"),
        [
            json!({ "kind": "guide-cosine", "layer": "block2" }),
            json!({ "layer": "guide", "weight": -1.0 }),
            json!({ "layer": "class", "weight": -1.0 }),
        ]
    );
    assert_eq!(
        objectives(
            "strongest(mixed4c, 8) - weakest ( a )+2*at( 0.25,.5, b:7,3)+ at(1,0,0.2,direction(c,21-0.5*43, 2))-random('d', 3)"
        ),
        [
            json!({ "layer": "mixed4c", "pick": "strongest", "count": 8 }),
            json!({ "layer": "a", "pick": "weakest", "weight": -1.0 }),
            json!({ "layer": "b", "channels": [7, 3], "at": { "x": 0.25, "y": 0.5 }, "weight": 2.0 }),
            json!({
                "kind": "direction", "layer": "c", "direction": { "21": 1.0, "43": -0.5 }, "cosine_power": 2,
                "at": { "x": 1.0, "y": 0.0, "radius": 0.2 },
            }),
            json!({ "layer": "d", "pick": "random", "count": 3, "weight": -1.0 }),
        ]
    );
    assert_eq!(
        objectives("direction(a, 21 + 21 - 43 - 0.5*21 + 43)"),
        [json!({ "kind": "direction", "layer": "a", "direction": { "21": 1.5, "43": 0.0 } })]
    );
    let texts: Vec<String> =
        parse_formula("a - 2 * b:1 + class(3)").unwrap().into_iter().map(|term| term.text).collect();
    assert_eq!(texts, ["a", "2 * b:1", "class(3)"]);
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    for (text, position, expected, found) in [
        ("", 1, "a layer", "the end"),
        ("a + ", 5, "a layer", "the end"),
        ("a ++ b", 4, "a layer", "'+'"),
        ("é b", 3, "+, -", "'b'"),
        ("2 a", 3, "* between", "'a'"),
        ("1..5*a", 1, "a number", "'1'"),
        ("1e999*a", 1, "a number", "'1'"),
        ("a:b", 3, "channel", "'b'"),
        ("a:1,", 5, "channel", "the end"),
        ("a:99999999999999999999", 3, "channel", "'9'"),
        ("guide a", 7, "+, -", "'a'"),
        ("guide()", 7, "a layer", "')'"),
        ("guide(a", 8, ")", "the end"),
        ("mean(a)(b)", 1, "functions", "'m'"),
        ("a + max(b)", 5, "functions", "'m'"),
        ("strongest(a, b)", 14, "how many", "'b'"),
        ("at(a, 0.5)", 4, "a number", "'a'"),
        ("at(0, 0.5)", 10, "what is to be where", "')'"),
        ("at(0, 0, 1)", 11, "what is to be where", "')'"),
        ("at(0, 0, at(0, 0, a))", 12, ")", "'('"),
        ("at(0, x, a)", 7, "a number", "'x'"),
        ("direction(a)", 12, "weights", "')'"),
        ("direction(a, 0.5)", 15, ")", "'.'"),
        ("direction(a, 1 - )", 18, "a number", "')'"),
        ("class(-1)", 7, "a class", "'-'"),
        ("'a", 3, "quote", "the end"),
        ("''", 2, "a layer", "'\\''"),
        ("3d", 2, "* between", "'d'"),
    ] {
        let error = parse_formula(text).unwrap_err();
        assert_eq!((error.position, error.found.as_str()), (position, found), "{text}: {error}");
        assert!(error.expected.contains(expected), "{text}: {error}");
    }
}

/// One term, and the objective that it stands for.
fn term() -> impl Strategy<Value = (String, Value)> {
    let weight = prop_oneof![Just(1.0), (1_u32..2000).prop_map(|number| f64::from(number) / 16.0)];
    let layer = prop_oneof![
        ("[a-z_/][a-z0-9_./]{0,8}").prop_map(|name| (name.clone(), name)),
        ("[^']{1,8}").prop_map(|name| (format!("'{name}'"), name)),
    ];
    let channels = proptest::collection::vec(any::<u32>(), 0..3);
    let kind = prop_oneof![
        Just(None),
        proptest::sample::select(vec!["mean", "l2", "guide", "guide-cosine"]).prop_map(Some)
    ];
    (weight, layer, channels, kind, any::<bool>()).prop_map(
        |(weight, (written, layer), channels, kind, negative)| {
            let mut text = written;
            let mut objective = json!({ "layer": layer });
            if !channels.is_empty() {
                let list = channels.iter().map(u32::to_string).collect::<Vec<_>>().join(" , ");
                text = format!("{text}:{list}");
                objective["channels"] = json!(channels);
            }
            if let Some(kind) = kind {
                text = format!("{kind}({text})");
                objective["kind"] = kind.into();
            }
            if weight != 1.0 {
                text = format!("{weight}*{text}");
            }
            let weight = if negative { -weight } else { weight };
            if weight != 1.0 {
                objective["weight"] = weight.into();
            }
            (format!("{} {text}", if negative { '-' } else { '+' }), objective)
        },
    )
}

proptest! {
    #![proptest_config(quick())]

    #[test]
    fn what_is_written_is_read_back(terms in proptest::collection::vec(term(), 1..6)) {
        let (texts, expected): (Vec<_>, Vec<_>) = terms.into_iter().unzip();
        prop_assert_eq!(objectives(&texts.join(" ")), expected);
    }

    #[test]
    fn any_text_is_read_or_refused(text in prop_oneof![
        ".{0,40}",
        "[-+*:,()'\" .0-9a-ceguidmnlrotsw]{0,40}",
    ]) {
        if let Err(error) = parse_formula(&text) {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.position), "{error}");
        }
    }
}
