//! The Studio's page as a browser and as another client meet it; `scripts/contract-test` uses it in a real browser.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use common::server::{Setup, TestServer};
use reqwest::Response;
use serde_json::Value;

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
async fn a_server_can_do_without_the_page() {
    let mut setup = Setup::new().await;
    setup.config.server.studio = false;
    let server = setup.start().await;
    let index = browse(&server, "/").await;
    assert_eq!(index.json::<Value>().await.unwrap()["service"], "reverie");
    assert_eq!(browse(&server, "/studio/app.js").await.status(), 404);
}
