//! The table of parameters says what the reader of requests does.

use serde_json::{Value, json};

use super::{super::*, catalogue};

/// Every parameter: those of a spec, and those of its objects.
pub(super) fn every_parameter() -> Vec<&'static Parameter> {
    let mut all: Vec<&Parameter> = DreamSpec::parameters().iter().collect();
    all.extend(Noise::parameters().iter().chain(Masking::parameters()).chain(WrittenObjective::parameters()));
    all.extend(Motion::parameters().iter().chain(Spot::parameters()));
    all
}

/// A request in which a parameter has this value, and where in the request it stands.
fn request_with(parameter: &Parameter, value: &Value) -> (Value, String) {
    let member = json!({ parameter.name: value });
    let is_of = |members: &[Parameter]| members.iter().any(|member| std::ptr::eq(member, parameter));
    if is_of(Noise::parameters()) {
        (json!({ "noise": member }), format!("/noise/{}", parameter.name))
    } else if is_of(Masking::parameters()) {
        (json!({ "mask": member }), format!("/mask/{}", parameter.name))
    } else if is_of(Motion::parameters()) {
        (json!({ "motion": member }), format!("/motion/{}", parameter.name))
    } else if is_of(Spot::parameters()) {
        (
            json!({ "objectives": [{ "kind": "mean", "at": member }] }),
            format!("/objectives/0/at/{}", parameter.name),
        )
    } else if is_of(WrittenObjective::parameters()) {
        (json!({ "objectives": [member] }), format!("/objectives/0/{}", parameter.name))
    } else {
        (member, format!("/{}", parameter.name))
    }
}

/// Mistakes of a request in which a parameter has this value, as `detail`s at the parameter.
fn mistakes_with(parameter: &Parameter, value: &Value) -> Vec<String> {
    let (request, pointer) = request_with(parameter, value);
    let input = match &pointer {
        noise if noise.starts_with("/noise") => InputKind::Nothing { image: "/image" },
        mask if mask.starts_with("/mask") => InputKind::Masked,
        _ => InputKind::Image,
    };
    let mistakes = resolve("", request, &catalogue(), input).err().unwrap_or_default();
    mistakes.into_iter().filter(|mistake| mistake.pointer == pointer).map(|mistake| mistake.detail).collect()
}

#[test]
fn the_table_says_what_is_allowed() {
    // Whole numbers, numbers, flags, choices, lists, counts, shares, classes, weights.
    let mut seen = [0; 9];
    for parameter in every_parameter() {
        let name = parameter.name;
        let allowed = |value: Value| {
            let mistakes = mistakes_with(parameter, &value);
            assert!(mistakes.iter().all(|one| !one.contains("not allowed")), "{name} {value}: {mistakes:?}");
        };
        let refused = |value: Value, wanted: String| {
            let expected = format!("{value} is not allowed; give {wanted}");
            assert_eq!(mistakes_with(parameter, &value), [expected], "{name}");
        };
        match parameter.shape {
            Shape::Whole(low, high) => {
                let wanted = || format!("a whole number from {low} to {high}");
                [low, high].into_iter().for_each(|edge| allowed(json!(edge)));
                refused(json!(high + 1), wanted());
                refused(json!(low as i64 - 1), wanted());
                refused(json!(low as f64 + 0.5), wanted());
                seen[0] += 1;
            }
            Shape::Number(low, high) => {
                let wanted = || format!("a number from {low} to {high}");
                [low, high].into_iter().for_each(|edge| allowed(json!(edge)));
                refused(json!(low.next_down()), wanted());
                refused(json!(high.next_up()), wanted());
                seen[1] += 1;
            }
            Shape::Flag => {
                [true, false].into_iter().for_each(|flag| allowed(json!(flag)));
                refused(json!(1), "true or false".into());
                seen[2] += 1;
            }
            Shape::Choice { values, .. } => {
                values.iter().for_each(|value| allowed(json!(value.name)));
                let names: Vec<_> = values.iter().map(|value| value.name).collect();
                refused(json!("nightmare"), format!("one of {}", names.join(", ")));
                seen[3] += 1;
            }
            Shape::Count(low, high) => {
                let wanted = || format!("a whole number from {low} to {high}, or \"auto\"");
                [json!(low), json!(high), json!("auto")].into_iter().for_each(allowed);
                refused(json!(high + 1), wanted());
                refused(json!("some"), wanted());
                seen[5] += 1;
            }
            Shape::Share => {
                [json!(0), json!(1), json!(0.5), json!(true), json!(false)].into_iter().for_each(allowed);
                refused(json!(1.0_f64.next_up()), "a number from 0 to 1, true or false".into());
                refused(json!("half"), "a number from 0 to 1, true or false".into());
                seen[6] += 1;
            }
            Shape::Class(low, high) => {
                let wanted = || format!("a whole number from {low} to {high}, or a name");
                [json!(low), json!(high), json!("lion")].into_iter().for_each(allowed);
                refused(json!(high + 1), wanted());
                refused(json!(1.5), wanted());
                refused(json!([1]), wanted());
                seen[7] += 1;
            }
            Shape::Wholes(low, high) => {
                let detail = format!(
                    " is not allowed; give an array, each member a whole number from {low} to {high}"
                );
                assert_eq!(mistakes_with(parameter, &json!([high + 1])), [format!("{}{detail}", high + 1)]);
                seen[4] += 1;
            }
            Shape::Weights(last, most) => {
                allowed(json!({ "0": most, (last.to_string()): -most }));
                let wanted = format!(
                    "give an object whose names are whole numbers from 0 to {last} and whose values are numbers from \
                     -{most} to {most}"
                );
                for wrong in
                    [json!({ (last + 1).to_string(): 1 }), json!({ "01": 1 }), json!({ "1": most * 2.0 })]
                {
                    let mistakes = mistakes_with(parameter, &wrong);
                    assert!(
                        mistakes.len() == 1 && mistakes[0].ends_with(&wanted),
                        "{name} {wrong}: {mistakes:?}"
                    );
                }
                seen[8] += 1;
            }
            Shape::Name | Shape::Color | Shape::Object { .. } | Shape::Objectives | Shape::Schedule => {}
        }
        assert!(
            parameter.about.ends_with('.') && !parameter.about.contains("::"),
            "{name}: {}",
            parameter.about
        );
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[test]
fn defaults_are_told_as_they_are() {
    let told = |name: &str| {
        let parameter = DreamSpec::parameters().iter().find(|parameter| parameter.name == name).unwrap();
        parameter.default.as_deref()
    };
    assert_eq!(
        told("octaves"),
        Some("auto; naive: 1; multiscale, lapnorm: 3; deepdream: 4; feature-visualization: 2")
    );
    assert_eq!(
        told("max_edge"),
        Some("1280; naive, multiscale, lapnorm, deepdream, feature-visualization: none")
    );
    assert_eq!(told("preset"), Some("deepdream-lapnorm"));
    assert_eq!(told("tile_size"), Some("512; naive: 2048"));
    assert_eq!(
        (told("octave_scale"), told("blend"), told("background")),
        (Some("1.4"), Some("0"), Some("#ffffff"))
    );
    for object in ["noise", "objectives", "mask", "motion"] {
        assert_eq!(told(object), None);
    }
}
