//! The examples of the contract, played against a server: every operation, every parameter, every choice, and every
//! refusal that has an example.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    common::{
        client::{Client, quick},
        events::Events,
        programs,
        server::{Setup, TestServer},
    },
    document, keys,
};
use reqwest::{Method, Response, multipart::Form};
use reverie::{
    http::contract,
    jobs::{FailureKind, JobError, JobState},
    keys::{NewKey, Scopes, Tenant, Token},
};
use reverie_picture::Format;
use serde_json::{Value, json};

/// `get /v1/jobs` and what the document says of it.
pub fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap();
        methods.iter().map(move |(method, operation)| (format!("{method} {path}"), operation))
    });
    all.collect()
}

/// What a reference leads to; anything else is itself.
pub fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let Some(reference) = value["$ref"].as_str() else { return value };
    document.pointer(reference.strip_prefix('#').unwrap()).unwrap()
}

/// The example of a name.
fn example<'a>(document: &'a Value, name: &str) -> &'a Value {
    &document["components"]["examples"][name]["value"]
}

/// That an answer has the members of the example at every depth. `null` stands for anything; a spec has what was asked.
fn assert_alike(example: &Value, answer: &Value, at: &str) {
    match (example, answer) {
        (Value::Object(expected), Value::Object(found)) => {
            assert_eq!(keys(example), keys(answer), "{at}");
            for (name, expected) in expected.iter().filter(|(name, _)| *name != "spec") {
                assert_alike(expected, &found[name], &format!("{at}/{name}"));
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            for (expected, found) in expected.iter().zip(found) {
                assert_alike(expected, found, at);
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        (expected, found) => {
            let kinds =
                [expected, found].map(|value| (value.is_string(), value.is_number(), value.is_boolean()));
            assert_eq!(kinds[0], kinds[1], "{at}: {found}");
        }
    }
}

/// A request with the example of one parameter, or of none.
async fn ask(
    client: &Client,
    name: &str,
    operation: &Value,
    id: &str,
    parameter: Option<&Value>,
) -> Response {
    let (method, path) = name.split_once(' ').unwrap();
    let mut url = format!("{}{path}", client.url);
    for one in operation["parameters"].as_array().into_iter().flatten().filter(|one| one["in"] == "path") {
        let given = if one["schema"]["format"] == "uuid" { id } else { one["example"].as_str().unwrap() };
        url = url.replace(&format!("{{{}}}", one["name"].as_str().unwrap()), given);
    }
    let given = parameter.map(|one| (one, one["name"].as_str().unwrap(), one["example"].to_string()));
    let given = given.map(|(one, name, text)| (one, name, text.trim_matches('"').replace("\\\"", "\"")));
    if let Some((_, name, text)) = given.as_ref().filter(|(one, ..)| one["in"] == "query") {
        url += &format!("?{name}={text}");
    }
    let mut request = client.http.request(Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(), url);
    if let Some((_, name, text)) = given.filter(|(one, ..)| one["in"] == "header") {
        request = request.header(name, text);
    }
    if operation["requestBody"]["content"]["application/json"].is_object() {
        let body = &operation["requestBody"]["content"]["application/json"]["example"];
        request = request.header("content-type", "application/json").body(body.to_string());
    } else if operation["requestBody"].is_object() {
        request = request.body("x");
    }
    request.send().await.unwrap()
}

/// A job that an operation can be tried on.
async fn subject(client: &Client, operation: &Value, finished: &str) -> String {
    let long = json!({
        "objectives": [{ "layer": "block2" }], "octaves": 2, "iterations": 40, "preset": "deepdream",
        "noise": { "width": 256, "height": 256 },
    });
    match operation["operationId"].as_str().unwrap() {
        // While it runs, there is a preview after the first octave.
        "getPreview" => {
            let id = submit(client, &long).await;
            client.until_found(&format!("/v1/jobs/{id}/preview")).await;
            id
        }
        "cancelJob" | "cancelAnyJob" | "eraseJob" | "pauseJob" | "resumeJob" | "steerJob" => {
            submit(client, &long).await
        }
        "sendUpload" => {
            let announced = json!({ "bytes": 1 }).to_string();
            let request = client.http.post(format!("{}/v1/uploads", client.url));
            let made =
                request.header("content-type", "application/json").body(announced).send().await.unwrap();
            let upload: Value = made.json().await.unwrap();
            upload["id"].as_str().unwrap().to_owned()
        }
        _ => finished.to_owned(),
    }
}

/// Posts a spec that needs no image, which must be accepted; the job's id.
async fn submit(client: &Client, spec: &Value) -> String {
    let response = client.post_bytes("application/json", json!({ "spec": spec }).to_string()).await;
    let job: Value = response.json().await.unwrap();
    job["id"].as_str().unwrap_or_else(|| panic!("{job}")).to_owned()
}

/// A server without a worker, and a job there that has failed.
async fn failed() -> (TestServer, Client, String) {
    let mut setup = Setup { works: false, ..Setup::new().await };
    let key = setup.require_keys();
    let server = setup.start().await;
    let client = server.client.with_key(&key);
    let id = submit(&client, &json!({ "preset": "naive", "noise": { "width": 64, "height": 64 } })).await;
    let claim = server.state.queue.claim("a test").await.unwrap().unwrap();
    let error = JobError { kind: FailureKind::RenderFailed, detail: "the device is gone".into() };
    server.state.queue.fail(claim.lease, error, false).await.unwrap();
    (server, client, id)
}

#[tokio::test]
async fn every_operation_answers_as_its_example_says() {
    let mut setup = Setup::new().await;
    let key = setup.require_keys();
    setup.config.auth.link_secrets = vec!["0123456789abcdef0123456789abcdef".parse().unwrap()];
    let server = setup.start().await;
    let (client, document) = (&server.client.with_key(&key), document());
    // The key that the example of its revocation names.
    let id = example(&document, "KeyList")["keys"][0]["id"].as_str().unwrap();
    let token: Token = format!("rvk_{id}_{}", "0".repeat(64)).parse().unwrap();
    server.state.queue.add_key(&NewKey::new(&token, Tenant::DEFAULT, Scopes::all())).await.unwrap();
    // The requests: JSON, and a form.
    let contents = &document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"];
    let json = contents["application/json"]["example"].to_string();
    let job: Value = client.post_bytes("application/json", json).await.json().await.unwrap();
    let mut form = Form::new();
    for (name, value) in contents["multipart/form-data"]["example"].as_object().unwrap() {
        form = form.text(name.clone(), value.to_string());
    }
    let posted = client.post_form(form).await;
    assert_eq!(posted.status(), 202, "{}", posted.text().await.unwrap());
    let id = job["id"].as_str().unwrap_or_else(|| panic!("{job}"));
    client.dream(id).await;
    let job = client.job(id).await;
    assert_alike(example(&document, "Job"), &job, "Job");
    assert_eq!(example(&document, "Job")["spec"], job["spec"]);
    assert_eq!(keys(&document["components"]["schemas"]["Job"]["properties"]), keys(&job));

    let (_idle, of_idle, failed) = failed().await;
    for (name, operation) in operations(&document) {
        let (client, of_job) = match operation["operationId"].as_str() {
            Some("retryJob") => (&of_idle, failed.clone()),
            _ => (client, subject(client, operation, id).await),
        };
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let optional = parameters.filter(|one| one["required"] == false).map(Some);
        for parameter in optional.chain([None]) {
            let response = ask(client, &name, operation, &of_job, parameter).await;
            let status = response.status();
            let promised = &operation["responses"][status.as_str()];
            assert!(promised.is_object() && status.as_u16() < 400, "{name} {parameter:?}: {status}");
            let Some(media) = response.headers().get("content-type") else { continue };
            let media = media.to_str().unwrap().to_owned();
            let content = &promised["content"][&media];
            assert!(content.is_object(), "{name}: {media} is not promised");
            let Some(examples) = content["examples"].as_object() else { continue };
            let expected = &resolved(&document, examples.values().next().unwrap())["value"];
            if media == "application/json" {
                assert_alike(expected, &response.json().await.unwrap(), &name);
            } else {
                let mut events = Events::of(response);
                let last = events.next().await.unwrap();
                assert_eq!(expected["event"], last.name.as_str());
                let data: Value = serde_json::from_str(expected["data"].as_str().unwrap()).unwrap();
                assert_alike(&data, &last.data, &name);
            }
        }
        if of_job != id {
            client.request(Method::DELETE, &format!("/v1/jobs/{of_job}")).await;
        }
    }
}

#[tokio::test]
async fn every_choice_of_a_request_is_accepted() {
    let setup = Setup::new().await;
    let server = Setup { works: false, ..setup }.start().await;
    let (client, document) = (&server.client, document());
    let schemas = &document["components"]["schemas"];
    let accepted = async |spec: Value| -> Value {
        let mut body = json!({ "spec": spec, "image": contract::EXAMPLE_IMAGE });
        let kind = spec["objectives"][0]["kind"].as_str().unwrap_or_default();
        if kind.starts_with("guide") {
            body["guide"] = body["image"].clone();
        }
        let response = client.post_bytes("application/json", body.to_string()).await;
        let status = response.status();
        let job: Value = response.json().await.unwrap();
        assert_eq!(status, 202, "{spec}: {job}");
        job["spec"].clone()
    };
    let mut choices = 0;
    for (member, schema) in schemas["Spec"]["properties"].as_object().unwrap() {
        let Some(values) = resolved(&document, &schema["oneOf"][0])["examples"].as_array() else { continue };
        for value in values {
            choices += 1;
            let mut spec = json!({ member: value });
            let format: Option<Format> = serde_json::from_value(value.clone()).ok();
            if let Some(video) = format.filter(|format| format.is_video()) {
                spec["motion"] = json!({ "frames": 2 });
                if let Err(lacking) = reverie_picture::can_write(video) {
                    programs::skip("every_choice_of_a_request_is_accepted", &lacking.to_string());
                    continue;
                }
            }
            let shown = &accepted(spec).await[member];
            if value == "pixels" {
                // As in specs from before there was a choice.
                assert!(shown.is_null(), "{shown}");
            } else {
                assert_eq!(shown, value);
            }
        }
    }
    assert_eq!(choices, 6 + 2 + 3 + 2 + 4 + 6 + 2);
    for variant in schemas["ObjectiveRequest"]["oneOf"].as_array().unwrap() {
        let variant = resolved(&document, variant);
        let mut objective = json!({});
        for name in variant["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let kind = &variant["properties"]["kind"]["enum"][0];
            objective[name] = match name {
                "kind" => kind.clone(),
                "direction" => json!({ "7": 1.5 }),
                _ => json!(7),
            };
        }
        let spec = accepted(json!({ "objectives": [objective] })).await;
        let expected = objective.get("kind").cloned().unwrap_or(json!("l2"));
        assert_eq!(spec["objectives"][0]["kind"], expected);
    }
    // The states are a filter of the list, and the names of events follow from them.
    let states = schemas["JobState"]["examples"].as_array().unwrap();
    for state in states {
        let listed = client.get(&format!("/v1/jobs?status={}", state.as_str().unwrap())).await;
        assert_eq!(listed.status(), 200, "{state}");
    }
    let endings = JobState::ALL.into_iter().filter(|state| state.is_finished()).map(JobState::as_str);
    let events: BTreeSet<&str> = endings.chain(["progress", "preview", "paused"]).collect();
    let told = schemas["JobEventName"]["examples"].as_array().unwrap();
    assert_eq!(told.iter().filter_map(Value::as_str).collect::<BTreeSet<_>>(), events);
}

#[tokio::test]
async fn every_refusal_with_an_example_answers_so() {
    let document = document();
    let mut refusals: BTreeMap<&str, Value> = BTreeMap::new();
    let setup = Setup::new().await;
    let mut setup = Setup { works: false, ..setup };
    setup.config.queue.capacity = 1;
    let server = setup.start().await;
    let client = &server.client;
    let post = async |body: Value| client.post_bytes("application/json", body.to_string()).await;
    let wrong = json!({ "spec": { "iterations": 0 }, "image": contract::EXAMPLE_IMAGE });
    let unknown = example(&document, "NotFound")["instance"].as_str().unwrap();
    refusals.insert("Malformed", said(client.post_bytes("application/json", "{").await).await);
    refusals.insert("UnsupportedType", said(client.post_bytes("text/plain", "a dream, please").await).await);
    refusals.insert("TooLarge", said(post(json!({ "spec": "x".repeat(300_000) })).await).await);
    refusals.insert("Invalid", said(post(wrong).await).await);
    refusals.insert("NotFound", said(client.get(unknown).await).await);
    let good = json!({ "spec": quick(), "image": contract::EXAMPLE_IMAGE });
    let job: Value = post(good.clone()).await.json().await.unwrap();
    let path = job["links"]["self"].as_str().unwrap();
    refusals.insert("QueueFull", said(post(good.clone()).await).await);
    refusals.insert("NoResult", said(client.get(&format!("{path}/result")).await).await);
    let mut locked = Setup { works: false, ..Setup::new().await };
    locked.require_keys();
    let locked = locked.start().await;
    refusals.insert("Unauthorized", said(locked.client.post("/v1/jobs").await).await);
    let reader = locked.client_of("lab", "jobs:read").await;
    refusals.insert("Forbidden", said(reader.post("/v1/jobs").await).await);
    let mut slow = Setup { works: false, ..Setup::new().await };
    slow.config.quotas.requests_per_second = Some(1);
    let slow = slow.start().await;
    let mut refusal = slow.client.get("/v1/jobs").await;
    while refusal.status() == 200 {
        refusal = slow.client.get("/v1/jobs").await;
    }
    refusals.insert("QuotaExceeded", said(refusal).await);
    let dreaming = TestServer::start().await;
    let client = &dreaming.client;
    let job: Value = client.post_bytes("application/json", good.to_string()).await.json().await.unwrap();
    let id = job["id"].as_str().unwrap();
    client.dream(id).await;
    let canceled = client.post(&format!("/v1/jobs/{id}/cancel")).await;
    refusals.insert("AlreadyFinished", said(canceled).await);
    let request = client.http.get(format!("{}/v1/jobs/{id}/result", client.url));
    let beyond = request.header("range", "bytes=100000000-").send().await.unwrap();
    refusals.insert("BeyondEnd", said(beyond).await);

    let responses = document["components"]["responses"].as_object().unwrap();
    let mut played = BTreeSet::new();
    for (name, response) in responses {
        let Some(examples) = response["content"]["application/problem+json"]["examples"].as_object() else {
            continue;
        };
        let expected = &resolved(&document, examples.values().next().unwrap())["value"];
        let found = refusals.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not played"));
        assert_alike(expected, found, name);
        for member in ["type", "title", "status", "errors"] {
            assert_eq!(expected[member], found[member], "{name}");
        }
        // Sizes differ.
        let words = |problem: &Value| {
            let detail = problem["detail"].as_str().unwrap().to_owned();
            detail
                .split(' ')
                .filter(|word| word.parse::<u64>().is_err())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(expected), words(found), "{name}");
        played.insert(name.as_str());
    }
    assert_eq!(played, refusals.keys().copied().collect());
}

/// The problem document of a refusal.
async fn said(response: Response) -> Value {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    response.json().await.unwrap()
}
