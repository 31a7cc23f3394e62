//! The contract: it is what the code says, its examples work, and it is served with a page to read it on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

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
    assert!(
        stored == contract::yaml().unwrap(),
        "openapi.yaml is out of date; renew it with: cargo run -- openapi > openapi.yaml"
    );
}

#[test]
fn everything_is_described() {
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!("{method} {path}");
            assert!(operation["summary"].is_string() && operation["operationId"].is_string(), "{name}");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(parameter["description"].is_string(), "{name}: {parameter}");
            }
            for (status, response) in operation["responses"].as_object().unwrap() {
                let known = response["$ref"]
                    .as_str()
                    .is_none_or(|reference| document.pointer(reference.strip_prefix('#').unwrap()).is_some());
                assert!(known, "{name}: {response}");
                let described = response["$ref"].is_string() || response["description"].is_string();
                assert!(described, "{name}: {status}");
                for header in response["headers"].as_object().into_iter().flat_map(|headers| headers.values())
                {
                    assert!(header["description"].is_string(), "{name}: {status}: {header}");
                }
            }
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (member, schema) in schema["properties"].as_object().into_iter().flatten() {
            let described = schema["description"].is_string()
                || schema["oneOf"][0]["description"].is_string()
                || schema["oneOf"][1]["description"].is_string();
            assert!(described, "{name}.{member}: {schema}");
        }
    }
}

#[tokio::test]
async fn requests_have_the_members_that_are_read() {
    let catalogue = common::server::catalogue().await;
    let document = document();
    let schemas = &document["components"]["schemas"];
    assert_eq!(keys(&schemas["Spec"]["properties"]), keys(&schemas["DreamSpec"]["properties"]));
    assert_eq!(keys(&schemas["NoiseRequest"]["properties"]), keys(&schemas["Noise"]["properties"]));
    assert_eq!(keys(&schemas["ObjectiveRequest"]["properties"]), keys(&schemas["Objective"]["properties"]));
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

#[tokio::test]
async fn the_examples_work() {
    let server = TestServer::start().await;
    let document = document();
    let example =
        &document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["example"];
    let response = server.client.post_bytes("application/json", example.to_string()).await;
    let status = response.status();
    let job: Value = response.json().await.unwrap();
    assert_eq!(status, 202, "{job}");
    let id = job["id"].as_str().unwrap();
    server.client.dream(id).await;
    let job = server.client.job(id).await;
    // The example of a job has the members of a real one, at every depth.
    let example = &document["components"]["schemas"]["Job"]["example"];
    assert_eq!(keys(example), keys(&job));
    for member in ["spec", "progress", "result", "metrics", "links"] {
        assert_eq!(keys(&example[member]), keys(&job[member]), "{member}");
    }
    assert_eq!(example["spec"], job["spec"]);
    assert_eq!(keys(&document["components"]["schemas"]["Job"]["properties"]), keys(&job));
    // Each operation without a body answers its example parameters.
    for (path, item) in document["paths"].as_object().unwrap() {
        let operation = &item["get"];
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let mut url = path.clone();
        for parameter in parameters.iter().filter(|parameter| parameter["in"] == "path") {
            let value = parameter["example"].as_str().unwrap_or(id);
            url = url.replace(&format!("{{{}}}", parameter["name"].as_str().unwrap()), value);
        }
        // Only while it runs, which is over.
        if operation.is_object() && !path.ends_with("/preview") {
            let response = server.client.get(&url).await;
            assert_eq!(response.status(), 200, "{url}");
            let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
            let promised = keys(&operation["responses"]["200"]["content"]);
            assert!(promised.contains(kind.as_str()), "{url}: {kind} is not in {promised:?}");
        }
    }
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
