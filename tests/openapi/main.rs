//! The contract: it is what the code says, its examples work, and it is served with a page to read it on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "../common/mod.rs"]
mod common;

mod examples;
mod made;

use std::collections::BTreeSet;

use common::server::TestServer;
use reverie::http::contract;
use reverie_dream::spec::{self, InputKind};
use serde_json::{Value, json};

/// The contract as JSON.
fn document() -> Value {
    serde_json::to_value(contract::document()).unwrap()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_file_is_what_the_code_says() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.yaml");
    let stored = std::fs::read_to_string(file).unwrap();
    assert!(stored == contract::yaml().unwrap(), "openapi.yaml is out of date; renew it with: scripts/renew");
}

#[test]
fn everything_is_described() {
    let document = document();
    for (name, operation) in examples::operations(&document) {
        for member in ["summary", "operationId", "description"] {
            assert!(operation[member].is_string(), "{name} has no {member}");
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{name}: {parameter}");
            assert!(!parameter["example"].is_null(), "{name}: {parameter} has no example");
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = examples::resolved(&document, response);
            assert!(response["description"].is_string(), "{name}: {status}");
            for header in response["headers"].as_object().into_iter().flat_map(|headers| headers.values()) {
                assert!(header["description"].is_string(), "{name}: {status}: {header}");
            }
        }
        // Each answer that is not a file has an example, and so has each request.
        let answers =
            operation["responses"].as_object().unwrap().iter().filter(|(status, _)| status.starts_with('2'));
        let bodies = answers.map(|(_, answer)| answer).chain([&operation["requestBody"]]);
        for (media, content) in bodies.filter_map(|body| body["content"].as_object()).flatten() {
            let example = content["example"].is_object() || content["examples"].is_object();
            let file = media.starts_with("image/")
                || media.starts_with("video/")
                || media == "application/octet-stream";
            assert!(example || file, "{name}: {media} has no example");
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (member, schema) in schema["properties"].as_object().into_iter().flatten() {
            let described = schema["description"].is_string()
                || schema["oneOf"][0]["description"].is_string()
                || schema["oneOf"][1]["description"].is_string();
            assert!(described, "{name}.{member}: {schema}");
        }
        assert!(schema["description"].is_string(), "{name}");
    }
}

/// Every part of a document.
fn parts<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    found.push(value);
    match value {
        Value::Object(members) => members.values().for_each(|member| parts(member, found)),
        Value::Array(members) => members.iter().for_each(|member| parts(member, found)),
        _ => {}
    }
}

#[test]
fn every_value_of_every_enum_is_described_and_no_member_has_a_default() {
    let document = document();
    let mut found = Vec::new();
    parts(&document, &mut found);
    let mut values = 0;
    for part in found {
        // Generators would make the member required, or send the default.
        assert!(part["type"].is_null() || part["default"].is_null(), "{part}");
        let Some(names) = part["enum"].as_array() else { continue };
        let about = part["description"].as_str().unwrap_or_else(|| panic!("{part} has no description"));
        assert!(!about.contains("::"), "{about} is for programmers");
        // The kind of one variant says what that kind is.
        if names.len() == 1 {
            continue;
        }
        assert_eq!(part["examples"], part["enum"]);
        let each = part["x-enum-descriptions"].as_array().unwrap();
        assert_eq!(each.len(), names.len(), "{part}");
        for (name, description) in names.iter().zip(each) {
            let (name, description) = (name.as_str().unwrap(), description.as_str().unwrap());
            assert!(
                !description.is_empty() && about.contains(&format!("- `{name}`: {description}")),
                "{name}"
            );
            values += 1;
        }
    }
    // Presets, modes, ways to normalise, tilings, precisions, formats, parametrisations, ways to pick, ways to play, states (twice), events, scopes, ends that
    // a webhook is told of, states of deliveries, states that operators watch.
    assert_eq!(values, 6 + 2 + 3 + 2 + 4 + 6 + 2 + 3 + 3 + 7 + 7 + 7 + 3 + 4 + 4 + 4);
}

#[tokio::test]
async fn requests_have_the_members_that_are_read() {
    let catalogue = common::server::catalogue().await;
    let document = document();
    let schemas = &document["components"]["schemas"];
    // A spec holds what a look stands for instead of its name.
    let stored = keys(&schemas["DreamSpec"]["properties"]).into_iter().chain(["look"]).collect();
    assert_eq!(keys(&schemas["Spec"]["properties"]), stored);
    assert_eq!(keys(&schemas["NoiseRequest"]["properties"]), keys(&schemas["Noise"]["properties"]));
    assert_eq!(keys(&schemas["MaskingRequest"]["properties"]), keys(&schemas["Masking"]["properties"]));
    assert_eq!(keys(&schemas["MotionRequest"]["properties"]), keys(&schemas["Motion"]["properties"]));
    assert_eq!(keys(&schemas["SpotRequest"]["properties"]), keys(&schemas["Spot"]["properties"]));
    // The bounds too: what lies just outside is refused, what lies on them is not.
    for (member, schema) in schemas["Spec"]["properties"].as_object().unwrap() {
        for (bound, outside) in [("minimum", -1.0), ("maximum", 1.0)] {
            let Some(limit) = schema[bound].as_f64() else { continue };
            let whole = schema["type"][0] == "integer";
            let number = |value: f64| if whole { json!(value as i64) } else { json!(value) };
            assert!(
                spec::resolve("", json!({ member: number(limit) }), &catalogue, InputKind::Image).is_ok(),
                "{member} {limit}"
            );
            let beyond = number(limit + outside);
            assert!(
                spec::resolve("", json!({ member: beyond }), &catalogue, InputKind::Image).is_err(),
                "{member} {beyond}"
            );
        }
    }
}

/// The variants of a union in the contract that a value fits: all required members, no unknown one, the right kind.
fn fitting<'a>(document: &'a Value, union: &'a Value, value: &Value) -> Vec<&'a str> {
    let variants = union["oneOf"].as_array().unwrap().iter();
    let variants =
        variants.map(|variant| (variant["$ref"].as_str().unwrap(), examples::resolved(document, variant)));
    let fits = |schema: &Value| {
        let required = schema["required"].as_array().into_iter().flatten();
        let kinds = &schema["properties"]["kind"]["enum"];
        let closed = schema["additionalProperties"] == false;
        required.into_iter().all(|name| value.get(name.as_str().unwrap()).is_some())
            && (!closed || keys(value).is_subset(&keys(&schema["properties"])))
            && value.get("kind").is_none_or(|kind| kinds.as_array().is_some_and(|kinds| kinds.contains(kind)))
    };
    variants.filter(|(_, schema)| fits(schema)).map(|(name, _)| name).collect()
}

#[tokio::test]
async fn an_objective_is_one_of_its_variants_exactly_where_the_server_takes_it() {
    let catalogue = common::server::catalogue().await;
    let document = document();
    let schemas = &document["components"]["schemas"];
    let (mut taken, mut refused) = (0, 0);
    let kinds = ["mean", "l2", "class", "probability", "guide", "guide-cosine", "direction", "max"];
    for kind in [None].into_iter().chain(kinds.map(Some)) {
        for members in 0..64_u32 {
            let mut objective = json!({});
            let values = [("layer", json!("logits")), ("channels", json!([3, 1])), ("class", json!(7))];
            let values = values.into_iter().chain([("weight", json!(-0.5)), ("size", json!(1))]);
            let values = values.chain([("direction", json!({ "3": 1.0 }))]);
            for (_, (name, value)) in values.enumerate().filter(|(bit, _)| members & (1 << bit) != 0) {
                objective[name] = value;
            }
            if let Some(kind) = kind {
                objective["kind"] = kind.into();
            }
            let asked = json!({ "objectives": [objective] });
            let variants = fitting(&document, &schemas["ObjectiveRequest"], &objective);
            match spec::resolve("", asked, &catalogue, InputKind::Image) {
                Ok(spec) => {
                    assert_eq!(variants.len(), 1, "{objective} fits {variants:?}");
                    let stored = serde_json::to_value(&spec.objectives[0]).unwrap();
                    assert_eq!(fitting(&document, &schemas["Objective"], &stored).len(), 1, "{stored}");
                    taken += 1;
                }
                // What the schema cannot say: a class, channels and a direction exclude each other.
                Err(_)
                    if kind.is_none() && members & 0b10000 == 0 && (members & 0b100_110).count_ones() > 1 =>
                {
                    refused += 1;
                }
                Err(mistakes) => {
                    assert!(variants.is_empty(), "{objective} fits {variants:?}, but: {mistakes:?}");
                    refused += 1;
                }
            }
        }
    }
    assert_eq!((taken, refused), (16 + 8 + 8 + 4 + 4 + 4 + 4 + 4, 9 * 64 - 52));
    let kinds = &schemas["Objective"]["discriminator"];
    assert_eq!(kinds["propertyName"], "kind");
    assert_eq!(
        keys(&kinds["mapping"]),
        BTreeSet::from(["mean", "l2", "class", "probability", "guide", "guide-cosine", "direction"])
    );
}

#[tokio::test]
async fn the_contract_is_served_with_a_page_of_its_own() {
    let server = TestServer::idle().await;
    let served = server.client.get("/openapi.yaml").await;
    assert_eq!(served.headers()["content-type"], "application/yaml");
    assert_eq!(served.text().await.unwrap(), contract::yaml().unwrap());
    let page = server.client.get("/docs").await;
    assert_eq!((page.status().as_u16(), page.url().path()), (200, "/docs/"));
    let page = page.text().await.unwrap();
    // Everything that the page loads comes from this server.
    let sources = page.split(['"', '\'']).filter(|text| text.ends_with(".js") || text.ends_with(".css"));
    let mut loaded = 0;
    for source in sources {
        assert!(!source.contains("//"), "{source} is elsewhere");
        let path = format!("/docs/{}", source.trim_start_matches("./"));
        let text = server.client.get(&path).await.text().await.unwrap();
        assert!(!text.is_empty(), "{path}");
        loaded += 1;
    }
    assert!(loaded >= 2, "{page}");
}
