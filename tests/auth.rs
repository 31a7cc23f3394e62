//! Keys: who is let in, who is not, and what a refusal says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::time::Duration;

use common::{
    client::{Client, DEADLINE, problem, quick},
    events::Events,
    picture,
    postgres::cluster,
    process::{ServerProcess, ended},
    server::{Setup, TestServer},
    until,
};
use reqwest::{Method, Response};
use reverie::keys::{NewKey, Scopes, Tenant, Token};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

/// A server that asks for keys and does no work, with a client that may do everything.
async fn locked() -> (TestServer, Client) {
    let mut setup = Setup { works: false, ..Setup::new().await };
    let key = setup.require_keys();
    let server = setup.start().await;
    let client = server.client.with_key(&key);
    (server, client)
}

/// A request with one more header.
async fn with(client: &Client, path: &str, header: &str) -> Response {
    let request = client.http.get(format!("{}{path}", client.url));
    request.header("authorization", header).send().await.unwrap()
}

/// A refusal with 401, and how it asks for a key.
async fn unauthorized(response: Response) -> (String, String) {
    let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
    let refusal = problem(response, 401).await;
    assert_eq!(refusal["type"], "urn:reverie:problem:unauthorized");
    (challenge, refusal["detail"].as_str().unwrap().to_owned())
}

async fn make(admin: &Client, body: Value) -> Value {
    let request = admin.http.post(format!("{}/v1/keys", admin.url)).json(&body);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["cache-control"], "no-store");
    response.json().await.unwrap()
}

#[tokio::test]
async fn a_request_without_a_valid_key_is_refused() {
    let (server, _) = locked().await;
    let (challenge, detail) = unauthorized(server.client.get("/v1/jobs").await).await;
    assert_eq!(challenge, "Bearer realm=\"reverie\"");
    assert!(detail.contains("Authorization: Bearer"), "{detail}");
    let unknown = Token::generate().unwrap();
    for wrong in ["Basic cnZrOg==", "Bearer", "Bearer 7", &format!("Bearer {}", unknown.reveal())] {
        let (challenge, detail) = unauthorized(with(&server.client, "/v1/jobs", wrong).await).await;
        assert_eq!(challenge, "Bearer realm=\"reverie\", error=\"invalid_token\"", "{wrong}");
        assert!(!detail.contains(&unknown.reveal()), "{detail}");
    }
    // The right id with another secret.
    let token = Token::generate().unwrap();
    server.state.queue.add_key(&NewKey::new(&token, Tenant::DEFAULT, Scopes::all())).await.unwrap();
    let forged = unknown.reveal().replace(unknown.id().as_str(), token.id().as_str());
    unauthorized(with(&server.client, "/v1/jobs", &format!("Bearer {forged}")).await).await;
    assert_eq!(with(&server.client, "/v1/jobs", &format!("bearer {}", token.reveal())).await.status(), 200);
    // A large body is refused before it is read, and the client still gets to read why.
    let refused = server.client.post_bytes("image/png", vec![0_u8; 5_000_000]).await;
    unauthorized(refused).await;
    // Health and the contract are open; what does not exist does not.
    for open in ["/healthz", "/readyz", "/openapi.yaml", "/docs/"] {
        assert!(server.client.get(open).await.status() != 401, "{open}");
    }
    assert_eq!(server.client.get("/v1/nothing").await.status(), 404);
    assert_eq!(server.admin_client().get("/metrics").await.status(), 200);
}

#[tokio::test]
async fn an_expired_and_a_revoked_key_say_so() {
    let (server, admin) = locked().await;
    let made =
        make(&admin, json!({ "tenant": "lab", "scopes": ["jobs:read"], "expires_in_seconds": 1 })).await;
    let client = server.client.with_key(made["key"].as_str().unwrap());
    until("the key expires", async || client.get("/v1/jobs").await.status() == 401).await;
    let (_, detail) = unauthorized(client.get("/v1/jobs").await).await;
    assert!(detail.contains("expired at"), "{detail}");

    let made = make(&admin, json!({ "tenant": "lab", "scopes": ["jobs:read"] })).await;
    let client = server.client.with_key(made["key"].as_str().unwrap());
    assert_eq!(client.get("/v1/jobs").await.status(), 200);
    let path = format!("/v1/keys/{}", made["id"].as_str().unwrap());
    let id = server.client_of("lab", "jobs:write").await.submit(picture(64, 64), &quick()).await;
    let mut events = Events::open(&client, &id, None).await;
    assert_eq!(events.next().await.unwrap().data["status"], "queued");
    for _ in 0..2 {
        assert_eq!(admin.request(Method::DELETE, &path).await.status(), 204);
    }
    // At once, where it was revoked, and an open stream of events ends.
    assert!(timeout(DEADLINE, events.next()).await.expect("the stream goes on").is_none());
    let (_, detail) = unauthorized(client.get("/v1/jobs").await).await;
    assert!(detail.contains("revoked at"), "{detail}");
    problem(admin.request(Method::DELETE, "/v1/keys/0000000000000000").await, 404).await;
    problem(admin.request(Method::DELETE, "/v1/keys/x").await, 404).await;
}

#[tokio::test]
async fn a_key_does_only_what_its_scopes_allow() {
    let (server, admin) = locked().await;
    for scope in ["jobs:read", "jobs:write", "admin"] {
        let client = server.client_of("lab", scope).await;
        for (method, path, needed) in [
            (Method::GET, "/v1/jobs", "jobs:read"),
            (Method::HEAD, "/v1/jobs", "jobs:read"),
            (Method::POST, "/v1/jobs", "jobs:write"),
            (Method::DELETE, "/v1/jobs/0198c0de-5a7e-7000-8000-00000000d0e5", "jobs:write"),
            (Method::GET, "/v1/keys", "admin"),
            (Method::POST, "/v1/keys", "admin"),
        ] {
            let response = client.request(method.clone(), path).await;
            let refused = response.status() == 403;
            assert_eq!(refused, scope != needed, "{scope}: {method} {path}: {}", response.status());
            if refused {
                let challenge = response.headers()["www-authenticate"].to_str().unwrap();
                assert!(
                    challenge.contains("insufficient_scope") && challenge.contains(needed),
                    "{challenge}"
                );
            }
        }
        // Models are for every key.
        assert_eq!(client.get("/v1/models").await.status(), 200);
    }
    // Several keys of a tenant open the same jobs.
    let (one, other) =
        (server.client_of("lab", "jobs:write").await, server.client_of("lab", "jobs:read").await);
    let id = one.submit(picture(64, 64), &quick()).await;
    assert_eq!(other.job(&id).await["status"], "queued");
    // Listed without secrets, with the time of the last use.
    let listed = async || -> Value { admin.get("/v1/keys?tenant=lab").await.json().await.unwrap() };
    let used = async || {
        let keys = listed().await;
        keys["keys"].as_array().unwrap().iter().all(|key| key["last_used_at"].is_string())
    };
    until("the uses are noted", used).await;
    let keys = listed().await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 5);
    assert!(!keys.to_string().contains("rvk_") && !keys.to_string().contains("sha256"), "{keys}");
}

#[tokio::test]
async fn a_server_without_keys_manages_none() {
    let server = TestServer::idle().await;
    let refusal = problem(server.client.get("/v1/keys").await, 403).await;
    assert!(refusal["detail"].as_str().unwrap().contains("reverie keys"), "{refusal}");
    // Whatever a client sends as a key is not looked at.
    assert_eq!(with(&server.client, "/v1/jobs", "Bearer 7").await.status(), 200);
}

#[tokio::test]
async fn a_server_without_keys_serves_this_machine_only() {
    let folder = tempfile::tempdir().unwrap();
    let everywhere = ("REVERIE__SERVER__LISTEN", "0.0.0.0:0");
    let (code, _, errors) = ended(folder.path(), &["serve"], &[everywhere]).await;
    assert_eq!(code, 1, "{errors}");
    for part in ["0.0.0.0:0", "auth.mode = \"keys\"", "127.0.0.1", "auth.allow_anonymous = true"] {
        assert!(errors.contains(part), "{part} is missing in {errors}");
    }
    assert!(folder.path().read_dir().unwrap().next().is_none(), "something was begun");
    let check = &["serve", "--check-config"];
    for (allowed, settings) in [
        (false, vec![everywhere]),
        (true, vec![everywhere, ("REVERIE__AUTH__ALLOW_ANONYMOUS", "true")]),
        (true, vec![everywhere, ("REVERIE__AUTH__MODE", "keys")]),
        (true, vec![("REVERIE__SERVER__LISTEN", "[::1]:0")]),
        (true, vec![("REVERIE__SERVER__LISTEN", "localhost:0")]),
    ] {
        let (code, _, errors) = ended(folder.path(), check, &settings).await;
        assert_eq!(code == 0, allowed, "{settings:?}: {errors}");
    }
    // Who allows it is reminded in the log.
    let log = tempfile::NamedTempFile::new().unwrap();
    let settings = [everywhere, ("REVERIE__AUTH__ALLOW_ANONYMOUS", "true")];
    let mut command = ServerProcess::command(folder.path(), &settings);
    command.stderr(log.reopen().unwrap());
    let server = ServerProcess::of(command).await;
    let said = std::fs::read_to_string(log.path()).unwrap();
    assert!(said.contains("WARN") && said.contains("auth.allow_anonymous"), "{said}");
    server.terminate();
    assert!(server.ended().await);
}

/// The bootstrap key, the command line beside a running server, and what the log holds.
#[tokio::test]
async fn keys_are_made_beside_a_running_server_and_never_logged() {
    let folder = tempfile::tempdir().unwrap();
    let (token, file) = (Token::generate().unwrap(), folder.path().join("first-key"));
    std::fs::write(&file, format!("{}\n", token.reveal())).unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let settings = [
        ("REVERIE__AUTH__MODE", "keys"),
        ("REVERIE__AUTH__BOOTSTRAP_KEY_FILE", file.to_str().unwrap()),
        ("REVERIE__LOG__FILTER", "info"),
        ("NO_COLOR", "1"),
    ];
    let data = folder.path().join("data");
    let start = async || {
        let mut command = ServerProcess::command(&data, &settings);
        command.stderr(std::fs::OpenOptions::new().append(true).open(log.path()).unwrap());
        ServerProcess::of(command).await
    };
    let server = start().await;
    let first = server.client.with_key(&token.reveal());
    assert_eq!(first.get("/v1/keys").await.status(), 200);

    let run = async |arguments: &[&str]| ended(&data, arguments, &settings).await;
    let create = [
        "keys",
        "create",
        "--tenant",
        "lab",
        "--scopes",
        "jobs:read,jobs:write",
        "--expires",
        "90d",
        "--max-priority",
        "3",
    ];
    let (code, made, told) = run(&create).await;
    assert_eq!(code, 0, "{told}");
    let made: Token = made.trim().parse().unwrap();
    assert!(told.contains(made.id().as_str()) && told.contains("expires at"), "{told}");
    let lab = server.client.with_key(&made.reveal());
    assert_eq!(lab.get("/v1/jobs").await.status(), 200);
    let (code, listed, _) = run(&["keys", "list", "--tenant", "lab"]).await;
    assert!(code == 0 && listed.contains(made.id().as_str()) && listed.lines().count() == 2, "{listed}");
    assert!(!listed.contains("rvk_"), "{listed}");

    // Who did what is in the audit log.
    let id = lab.submit(picture(64, 64), &quick()).await;
    assert_eq!(lab.post(&format!("/v1/jobs/{id}/links")).await.status(), 403);
    assert_eq!(server.client.request(Method::DELETE, &format!("/v1/jobs/{id}?a=b")).await.status(), 401);
    assert_eq!(lab.request(Method::DELETE, &format!("/v1/jobs/{id}")).await.status(), 204);
    let text = std::fs::read_to_string(log.path()).unwrap();
    let entries: Vec<&str> = text.lines().filter(|line| line.contains("reverie::audit")).collect();
    let has = |parts: &[&str]| entries.iter().any(|line| parts.iter().all(|part| line.contains(part)));
    let by = format!("key=\"{}\" tenant=\"lab\" client=\"127.0.0.1\"", made.id());
    for (action, path, status) in [
        ("POST /v1/jobs", "/v1/jobs".to_owned(), "202"),
        ("POST /v1/jobs/{id}/links", format!("/v1/jobs/{id}/links"), "403"),
        ("DELETE /v1/jobs/{id}", format!("/v1/jobs/{id}"), "204"),
    ] {
        let (action, path) = (format!("action=\"{action}\""), format!("path=\"{path}\""));
        assert!(has(&[&action, &path, &by, &format!("status={status}")]), "{action} is not in {entries:#?}");
    }
    assert!(has(&["POST /v1/jobs\"", &format!("job=\"{id}\"")]), "{entries:#?}");
    assert!(has(&["DELETE /v1/jobs/{id}", "status=401"]) && !text.contains("a=b"), "{entries:#?}");
    assert!(!entries.iter().any(|line| line.contains("GET /v1/jobs\"")), "{entries:#?}");

    // A key in a URL is refused, also where it is right, and told to be revoked.
    for path in [format!("/v1/jobs?key={}", made.reveal()), format!("/v1/jobs/{}", made.reveal())] {
        let refusal = problem(lab.get(&path).await, 400).await;
        assert!(refusal["detail"].as_str().unwrap().contains("revoke"), "{refusal}");
        assert!(!refusal.to_string().contains(&made.reveal()), "{refusal}");
    }
    let (code, _, told) = run(&["keys", "revoke", made.id().as_str()]).await;
    assert!(code == 0 && told.contains("is revoked"), "{told}");
    // The server learns of it within 30 seconds.
    let began = Instant::now();
    until("the key stops working", async || lab.get("/v1/jobs").await.status() == 401).await;
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());

    // The bootstrap key does not come back with a restart.
    assert_eq!(run(&["keys", "revoke", token.id().as_str()]).await.0, 0);
    server.terminate();
    assert!(server.ended().await);
    let server = start().await;
    assert_eq!(server.client.with_key(&token.reveal()).get("/v1/keys").await.status(), 401);
    drop(server);
    let logged = std::fs::read_to_string(log.path()).unwrap();
    assert!(logged.contains("tenant=lab") && logged.contains(made.id().as_str()), "{logged}");
    assert!(logged.contains("the bootstrap key was revoked"), "{logged}");
    for secret in [&token, &made].map(|token| token.reveal().rsplit_once('_').unwrap().1.to_owned()) {
        assert!(!logged.contains(&secret), "a secret is in the log");
    }
    for (arguments, expected) in [
        (vec!["keys", "create", "--tenant", "A b", "--scopes", "admin"], "not the name of a tenant"),
        (vec!["keys", "create", "--tenant", "a", "--scopes", "root"], "unknown scope"),
        (vec!["keys", "create", "--tenant", "a", "--scopes", "admin", "--expires", "0s"], "give a time"),
        (
            vec!["keys", "create", "--tenant", "a", "--scopes", "admin", "--max-priority", "11"],
            "11 is not in 0..=10",
        ),
        (vec!["keys", "revoke", "0000000000000000"], "there is no key"),
        (vec!["keys", "revoke", "rvk_0"], "give the id"),
    ] {
        let (code, _, errors) = run(&arguments).await;
        assert!(code != 0 && errors.contains(expected), "{arguments:?}: {errors}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_revoked_in_one_process_stops_in_another() {
    let Some(cluster) = cluster("auth::a_key_revoked_in_one_process_stops_in_another") else { return };
    let (folder, database) = (tempfile::tempdir().unwrap(), cluster.database().await);
    let (url, token) = (cluster.url_of(&database), Token::generate().unwrap().reveal());
    let settings = [
        ("REVERIE__STORAGE__DATABASE", &*url),
        ("REVERIE__AUTH__MODE", "keys"),
        ("REVERIE__AUTH__BOOTSTRAP_KEY", &token),
    ];
    let start = async || {
        let mut command = ServerProcess::command(folder.path(), &settings);
        command.args(["--workers", "0"]);
        ServerProcess::of(command).await
    };
    let (one, other) = tokio::join!(start(), start());
    let admin = one.client.with_key(&token);
    let made = make(&admin, json!({ "tenant": "lab", "scopes": ["jobs:read"] })).await;
    let key = made["key"].as_str().unwrap();
    // Known everywhere at once.
    let elsewhere = other.client.with_key(key);
    assert_eq!(elsewhere.get("/v1/jobs").await.status(), 200);
    let path = format!("/v1/keys/{}", made["id"].as_str().unwrap());
    assert_eq!(admin.request(Method::DELETE, &path).await.status(), 204);
    let began = Instant::now();
    assert_eq!(one.client.with_key(key).get("/v1/jobs").await.status(), 401);
    until("it stops working elsewhere", async || elsewhere.get("/v1/jobs").await.status() == 401).await;
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}
