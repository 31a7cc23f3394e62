//! The Studio's page as a browser and as another client meet it; `scripts/contract-test` uses it in a real browser.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::{
    client::{form, pointers, problem},
    picture,
    server::{Setup, TestServer},
};
use reqwest::Response;
use serde_json::{Value, json};

/// What `path` is to a browser.
async fn browse(server: &TestServer, path: &str) -> Response {
    let request = server.client.http.get(format!("{}{path}", server.client.url));
    request.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8").send().await.unwrap()
}

#[tokio::test]
async fn a_browser_gets_the_page_and_other_clients_an_index() {
    let server = TestServer::start().await;
    let page = browse(&server, "/").await;
    assert_eq!(page.status(), 200);
    let header = |name: &str| page.headers()[name].to_str().unwrap().to_owned();
    assert!(header("content-type").starts_with("text/html"));
    assert!(header("content-security-policy").contains("default-src 'self'"));
    assert_eq!(
        (header("x-content-type-options"), header("vary").contains("accept")),
        ("nosniff".into(), true)
    );
    let (etag, text) = (header("etag"), page.text().await.unwrap());
    let again = server.client.http.get(&server.client.url).header("accept", "text/html");
    assert_eq!(again.header("if-none-match", etag).send().await.unwrap().status(), 304);
    // What the page names is there, and is what it says.
    let mut files = 0;
    for name in text.split('"').filter(|part| part.starts_with("/studio/")) {
        let file = browse(&server, name).await;
        assert_eq!(file.status(), 200, "{name}");
        let kind = file.headers()["content-type"].to_str().unwrap();
        assert!(!kind.contains("html") && !kind.contains("octet-stream"), "{name}: {kind}");
        files += 1;
    }
    assert!(files >= 3);
    for missing in ["/studio/", "/studio/none.js", "/studio/../Cargo.toml", "/studio/%2e%2e/Cargo.toml"] {
        assert_eq!(browse(&server, missing).await.status(), 404, "{missing}");
    }
    let index = server.client.get("/").await;
    assert_eq!(
        (index.status().as_u16(), index.headers()["content-type"].to_str().unwrap()),
        (200, "application/json")
    );
    let index: Value = index.json().await.unwrap();
    assert_eq!(index["service"], "reverie");
    for link in index["links"].as_object().unwrap().values() {
        assert_eq!(server.client.get(link.as_str().unwrap()).await.status(), 200, "{link}");
    }
}

#[tokio::test]
async fn looks_are_listed_with_their_pictures_and_can_be_asked_for() {
    let server = TestServer::start().await;
    let list: Value = server.client.get("/v1/looks?model=efficientnet-lite0").await.json().await.unwrap();
    let looks = list["looks"].as_array().unwrap();
    assert!(looks.len() >= 8, "{list}");
    for look in looks {
        let picture = server.client.get(look["picture"].as_str().unwrap()).await;
        assert_eq!(
            (picture.status().as_u16(), &picture.headers()["content-type"]),
            (200, &"image/webp".parse().unwrap())
        );
        assert_eq!(look["model"], "efficientnet-lite0");
    }
    let every: Value = server.client.get("/v1/looks").await.json().await.unwrap();
    assert_eq!(every["looks"].as_array().unwrap().len(), looks.len());
    for wrong in ["?model=none", "?name=x", "?model=efficientnet-lite0&model=efficientnet-lite0"] {
        let refused = problem(server.client.get(&format!("/v1/looks{wrong}")).await, 422).await;
        assert_eq!(pointers(&refused).len(), 1, "{wrong}: {refused}");
    }
    // A job holds what the name stands for, and the request wins.
    let glass = looks.iter().find(|look| look["id"] == "glass").unwrap();
    let asked = json!({ "look": "glass", "iterations": 1, "octaves": 1 });
    let id = server.client.submit(picture(64, 48), &asked).await;
    let job = server.client.job(&id).await;
    assert_eq!(job["spec"]["objectives"][0]["layer"], glass["spec"]["objectives"][0]["layer"]);
    assert_eq!((&job["spec"]["iterations"], job["spec"].get("look")), (&json!(1), None));
    let unknown = server.client.post_form(form(picture(64, 48), &json!({ "look": "none" }))).await;
    assert_eq!(pointers(&problem(unknown, 422).await), ["/spec/look"]);
}

#[tokio::test]
async fn a_server_can_do_without_the_page() {
    let mut setup = Setup::new().await;
    setup.config.server.studio = false;
    let server = setup.start().await;
    let index = browse(&server, "/").await;
    assert_eq!(index.json::<Value>().await.unwrap()["service"], "reverie");
    assert_eq!(browse(&server, "/studio/app.js").await.status(), 404);
    let looks: Value = server.client.get("/v1/looks").await.json().await.unwrap();
    assert_eq!(looks["looks"][0]["picture"], Value::Null);
}
