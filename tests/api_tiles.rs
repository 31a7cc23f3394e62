//! Tiles over HTTP: rendered when they are first asked for, by workers without a job, and kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::sync::{Arc, mpsc};

use common::{
    client::{Client, problem, quick},
    picture,
    postgres::cluster,
    process::{ServerProcess, WorkerProcess},
    server::{Setup, TestServer, renderer},
    until,
};
use reqwest::Response;
use reverie::{clock::Clock, jobs::MOST_WANTED};
use reverie_engine::{RenderError, RenderRequest, Renderer, Unencoded};
use serde_json::Value;

const MODEL: &str = "/v1/models/efficientnet-lite0";

/// The tile at this path of the model's layers, waited for.
async fn waited(client: &Client, path: &str) -> Response {
    let request = client.http.get(format!("{}{MODEL}/layers/{path}", client.url));
    request.header("prefer", "wait=60").send().await.unwrap()
}

/// The bytes of a tile that is there.
async fn bytes(response: Response) -> Vec<u8> {
    let status = response.status();
    assert_eq!(status, 200, "{}", response.text().await.unwrap());
    response.bytes().await.unwrap().to_vec()
}

/// How many attempts at tiles ended so.
async fn attempts(admin: &Client, outcome: &str) -> u64 {
    let text = admin.get("/metrics").await.text().await.unwrap();
    let start = format!("reverie_layer_tiles_total{{outcome=\"{outcome}\"}} ");
    text.lines()
        .find_map(|line| line.strip_prefix(&start))
        .unwrap_or_else(|| panic!("{text}"))
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tile_is_rendered_once_and_kept() {
    let server = TestServer::start().await;
    let client = &server.client;
    // Who does not wait is told to ask again.
    let first = client.get(&format!("{MODEL}/layers/block3/tile")).await;
    assert_eq!((first.status().as_u16(), first.headers()["retry-after"].to_str().unwrap()), (202, "2"));
    assert_eq!(first.headers()["cache-control"], "no-store");
    let pending: Value = first.json().await.unwrap();
    assert!(pending["wanted"].is_u64() && pending["detail"].is_string(), "{pending}");
    let response = waited(client, "block3/tile").await;
    let headers = response.headers().clone();
    assert_eq!(headers["preference-applied"], "wait=60");
    assert_eq!(
        (&headers["content-type"], &headers["cache-control"]),
        (&"image/webp".parse().unwrap(), &"private, max-age=86400".parse().unwrap())
    );
    let layer = bytes(response).await;
    let image = image::load_from_memory(&layer).unwrap();
    assert_eq!((image.width(), image.height()), (128, 128));
    // One of its channels is another one.
    assert!(bytes(waited(client, "block3/channels/7/tile").await).await != layer);
    assert_eq!(attempts(&server.admin_client(), "rendered").await, 2);
    // A browser that knows the model's digest keeps it for a week, and is told where it has it already.
    let model: Value = client.get(MODEL).await.json().await.unwrap();
    let known = format!("{MODEL}/layers/block3/tile?sha256={}", model["sha256"].as_str().unwrap());
    let kept = client.get(&known).await;
    assert_eq!(kept.headers()["cache-control"], "private, max-age=604800");
    let etag = headers["etag"].to_str().unwrap();
    assert!(etag.starts_with('"'), "{etag}");
    assert_eq!(client.get_unless(&known, etag).await.status(), 304);
    // It is no job of anybody.
    let jobs: Value = client.get("/v1/jobs").await.json().await.unwrap();
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 0);

    // It outlives the server, and the search for pictures without a job; another server does not render it again.
    let clock = Clock::driven(Clock::system().now());
    let folder = server.stop().await;
    let mut setup = Setup { works: false, clock: clock.clone(), ..Setup::new().await };
    setup.config.storage.dir = folder.path().join("data");
    let again = Setup { folder, ..setup }.start().await;
    clock.advance(std::time::Duration::from_secs(8 * 24 * 60 * 60));
    assert_eq!(again.app.retention.orphans().await.unwrap(), 0);
    assert!(bytes(again.client.get(&format!("{MODEL}/layers/block3/tile")).await).await == layer);
}

#[tokio::test]
async fn what_there_is_no_tile_of_is_told_with_the_nearest_names() {
    let server = TestServer::idle().await;
    let refused = async |path: &str| problem(server.client.get(path).await, 404).await;
    let told = refused("/v1/models/lite0/layers/block3/tile").await;
    assert!(told["detail"].as_str().unwrap().contains("lite0"), "{told}");
    let told = refused(&format!("{MODEL}/layers/blok3/tile")).await;
    assert!(told["detail"].as_str().unwrap().contains("block3"), "{told}");
    for channel in ["40", "4294967296", "-1", "first"] {
        let told = refused(&format!("{MODEL}/layers/block3/channels/{channel}/tile")).await;
        assert!(told["detail"].as_str().unwrap().contains("channels 0 to 39"), "{told}");
    }
    problem(server.client.get(&format!("{MODEL}/layers/block3/tile?sha=1")).await, 422).await;
    assert_eq!(server.state.queue.tiles_wanted().await.unwrap(), 0, "nothing of it is wanted");
}

#[tokio::test]
async fn a_flood_of_wanted_tiles_is_bounded_and_any_key_may_look() {
    let mut setup = Setup { works: false, ..Setup::new().await };
    setup.require_keys();
    let server = setup.start().await;
    problem(server.client.get(&format!("{MODEL}/layers/block3/tile")).await, 401).await;
    let reader = server.client_of("lab", "jobs:read").await;
    let mut asked = 0;
    for layer in ["block6", "block9", "block12"] {
        for channel in 0..60 {
            let answer = reader.get(&format!("{MODEL}/layers/{layer}/channels/{channel}/tile")).await;
            assert_eq!(answer.status(), 202);
            let pending: Value = answer.json().await.unwrap();
            asked += 1;
            assert_eq!(pending["wanted"], asked.min(MOST_WANTED), "{pending}");
        }
    }
    assert!(asked > MOST_WANTED);
}

/// A renderer that does not end a tile until it is told to stop, and says so when it has begun; all else as usual.
fn stubborn(begun: mpsc::Sender<()>) -> Renderer {
    let real = renderer();
    Renderer::start_with("cpu".into(), 1, move || {
        let (real, begun) = (real.clone(), begun.clone());
        move |request: RenderRequest| -> Result<Unencoded, RenderError> {
            let is_tile = request.spec.noise.is_some_and(|noise| noise.width == 128) && !request.spec.recipe;
            if is_tile {
                begun.send(()).unwrap();
                while !request.cancel.is_canceled() {
                    std::thread::yield_now();
                }
                return Err(RenderError::Canceled);
            }
            real.submit(request)?.blocking_recv().unwrap_or(Err(RenderError::Stopped))
        }
    })
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_comes_while_a_tile_is_rendered_begins_at_once() {
    let (begun, begins) = mpsc::channel();
    let setup = Setup::new().await;
    let server = Setup { renderer: Some(stubborn(begun)), ..setup }.start().await;
    let begins = Arc::new(std::sync::Mutex::new(begins));
    let begins = async || {
        let begins = Arc::clone(&begins);
        tokio::task::spawn_blocking(move || begins.lock().unwrap().recv().unwrap()).await.unwrap();
    };
    for channel in 0..3 {
        let path = format!("{MODEL}/layers/block3/channels/{channel}/tile");
        assert_eq!(server.client.get(&path).await.status(), 202);
    }
    begins().await;
    // The tile would never end by itself.
    let id = server.client.submit(picture(64, 64), &quick()).await;
    server.client.dream(&id).await;
    // It is tried again afterwards, and a stop of the server does not wait for it either.
    begins().await;
    until("the tile was given up", async || attempts(&server.admin_client(), "given_up").await == 1).await;
    assert_eq!(server.state.queue.tiles_wanted().await.unwrap(), 3);
    let job = server.client.job(&id).await;
    assert_eq!(job["attempt"], 1, "{job}");
    drop(server.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiles_are_wanted_in_one_process_and_rendered_in_another() {
    let Some(cluster) = cluster("api_tiles::tiles_are_wanted_in_one_process_and_rendered_in_another") else {
        return;
    };
    let (folder, database) = (tempfile::tempdir().unwrap(), cluster.database().await);
    let url = cluster.url_of(&database);
    let settings = [("REVERIE__STORAGE__DATABASE", &*url)];
    let mut command = ServerProcess::command(folder.path(), &settings);
    command.args(["--workers", "0"]);
    let api = ServerProcess::of(command).await;
    assert_eq!(api.client.get(&format!("{MODEL}/layers/block6/tile")).await.status(), 202);
    let worker = WorkerProcess::start(folder.path(), &settings).await;
    let tile = bytes(waited(&api.client, "block6/tile").await).await;
    assert!(bytes(api.client.get(&format!("{MODEL}/layers/block6/tile")).await).await == tile);
    assert_eq!(attempts(&worker.admin, "rendered").await, 1);
    assert_eq!(attempts(&api.admin, "rendered").await, 0);
}
