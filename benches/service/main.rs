//! How fast the service is around the renders: `make bench-service` prints one table.
//!
//! The real router, queue, store and renderer run in this process and are asked over loopback connections that
//! stay open. Client and server share the processors, so the server alone would be faster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark may fail loudly")]

mod keys;
mod load;
#[path = "../plot/mod.rs"]
mod plot;
#[path = "../../tests/common/postgres.rs"]
mod postgres;
#[path = "../server/mod.rs"]
mod server;
mod siege;
mod streams;
mod telling;
mod wire;

use std::{
    io::{Cursor, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use plot::Plot;
use reverie::{clock::Clock, config::Config};
use reverie_dream::model::Catalogue;
use reverie_engine::{RenderOptions, Renderer};
use reverie_models as models;
use serde_json::{Value, json};
use server::Server;
use wire::Connection;

/// Uploads in all.
const UPLOADS: usize = 1000;
/// Jobs in the queue while polls are counted and streams are open: as many as wait by default.
const QUEUE: usize = 100;
/// How long polls are counted.
const POLLING: Duration = Duration::from_secs(5);

/// Percentiles of the plot of polls.
const CURVE: [f64; 6] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9];

/// One line of the table.
struct Row {
    what: &'static str,
    found: String,
    target: &'static str,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let rows = runtime.block_on(measure());
    println!("\n| measure | found | target |\n|---|---|---|");
    for Row { what, found, target } in rows {
        println!("| {what} | {found} | {target} |");
    }
}

async fn measure() -> Vec<Row> {
    let folder = std::env::var_os("REVERIE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let mut catalogue = Catalogue::default();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/efficientnet-lite0.pth");
    catalogue.insert(models::load_file(&model).expect("run scripts/setup first"));
    let catalogue = Arc::new(catalogue);
    let mut rows = told(disk(&folder));
    rows.extend(told(accepting(&folder, &catalogue).await));
    rows.extend(told(polling(&folder, &catalogue).await));
    rows.extend(told(keys::cost(&folder, &catalogue).await));
    rows.extend(told(streams::cost(&folder, &catalogue).await));
    rows.extend(told(telling::rates(&folder, &catalogue).await));
    rows.extend(told(rendering(&folder, &catalogue).await));
    rows.extend(told(besieged(&folder, &catalogue).await));
    rows
}

/// Shows rows as they come: all of them take minutes.
fn told(rows: Vec<Row>) -> Vec<Row> {
    for Row { what, found, .. } in &rows {
        eprintln!("{what}: {found}");
    }
    rows
}

/// A server and its folder.
async fn serve(folder: &Path, catalogue: &Arc<Catalogue>, works: bool) -> Server {
    serve_with(folder, catalogue, works, |_| {}).await
}

/// A server with other settings than the defaults.
async fn serve_with(
    folder: &Path,
    catalogue: &Arc<Catalogue>,
    works: bool,
    change: impl FnOnce(&mut Config),
) -> Server {
    let mut config = Config::default();
    config.queue.capacity = 1_000_000;
    change(&mut config);
    let options = RenderOptions {
        device: "cpu".into(),
        queue: 1,
        max_pixels: config.limits.max_pixels,
        ..Default::default()
    };
    let renderers = if works { vec![Renderer::start(&options).unwrap()] } else { Vec::new() };
    Server::start(folder, catalogue, config, renderers).await
}

/// What the disk does alone, to compare with: a hundred kilobytes, synced, again and again.
fn disk(folder: &Path) -> Vec<Row> {
    let folder = tempfile::tempdir_in(folder).unwrap();
    let (bytes, count) = (vec![7u8; 100_000], 500);
    let began = Instant::now();
    for index in 0..count {
        let mut file = std::fs::File::create(folder.path().join(index.to_string())).unwrap();
        file.write_all(&bytes).unwrap();
        file.sync_all().unwrap();
    }
    let found = format!("{:.0}/s", f64::from(count) / began.elapsed().as_secs_f64());
    vec![Row {
        what: "the disk alone: 100 KB files written and synced, one after another",
        found,
        target: "",
    }]
}

/// Accepting photos, with no render in the way.
async fn accepting(folder: &Path, catalogue: &Arc<Catalogue>) -> Vec<Row> {
    let server = serve(folder, catalogue, false).await;
    let photo = photo(100_000);
    let (began, cost) = (Instant::now(), processor());
    let mut times =
        load::accept(server.address, wire::upload(&photo, &json!({ "iterations": 1 })), UPLOADS).await;
    let rate = UPLOADS as f64 / began.elapsed().as_secs_f64();
    let cost = (processor() - cost) / UPLOADS as f64;
    let rows = vec![
        Row { what: "photos of 100 KB accepted durably", found: format!("{rate:.0}/s"), target: "≥ 600/s" },
        Row { what: "… time of one, p50 / p99", found: percentiles(&mut times, &[50, 99]), target: "" },
        Row {
            what: "… processor time of one, client included", found: format!("{cost:.2} ms"), target: ""
        },
    ];
    server.stop().await;
    rows
}

/// Polls of a job that does not change, the last of a queue.
async fn polling(folder: &Path, catalogue: &Arc<Catalogue>) -> Vec<Row> {
    let server = serve(folder, catalogue, false).await;
    let address = server.address;
    let mut connection = Connection::open(address).await;
    let (mut id, upload) = (String::new(), wire::upload(&png(64, 64), &json!({})));
    for _ in 0..QUEUE {
        id = connection.submit(&upload).await;
    }
    let shown = connection.ask(&wire::get(&format!("/v1/jobs/{id}"), None)).await;
    let cost = processor();
    let polls = load::poll(address, wire::get(&format!("/v1/jobs/{id}"), Some(&shown.etag)), POLLING).await;
    let rate = polls as f64 / POLLING.as_secs_f64();
    let cost = (processor() - cost) / polls as f64 * 1000.0;
    server.stop().await;
    let what = "polls answered 304, of the last of 100 jobs in the queue";
    vec![
        Row { what, found: format!("{rate:.0}/s"), target: "≥ 10,000/s" },
        Row {
            what: "… processor time of one, client included", found: format!("{cost:.0} µs"), target: ""
        },
    ]
}

/// What clients notice while the worker is at work.
async fn rendering(folder: &Path, catalogue: &Arc<Catalogue>) -> Vec<Row> {
    let server = serve(folder, catalogue, true).await;
    let mut connection = Connection::open(server.address).await;
    let small = wire::upload(
        &png(96, 80),
        &json!({ "objectives": [{ "layer": "block2" }], "octaves": 2, "iterations": 3 }),
    );
    let endless = wire::upload(
        &png(256, 256),
        &json!({ "objectives": [{ "layer": "block5" }], "octaves": 1, "iterations": 1000 }),
    );

    let mut overheads = Vec::new();
    for round in 0..60 {
        let began = Instant::now();
        let id = connection.submit(&small).await;
        let job = connection.until(&id, |job| job["finished_at"].is_string()).await;
        let total = began.elapsed();
        assert_eq!(job["status"], "succeeded", "{job}");
        // The first few warm the renderer up.
        if round >= 10 {
            let render = job["metrics"]["render_seconds"].as_f64().unwrap();
            overheads.push(total.saturating_sub(Duration::from_secs_f64(render)));
        }
    }

    let id = connection.submit(&endless).await;
    connection.until(&id, |job| job["progress"]["iteration"].as_u64() >= Some(1)).await;
    let poll = wire::get(&format!("/v1/jobs/{id}"), None);
    let mut polls = Vec::new();
    for _ in 0..2000 {
        let asked = Instant::now();
        assert_eq!(connection.ask(&poll).await.status, 200);
        polls.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    let (mut at_work, mut steps, mut frees) = (id, Vec::new(), Vec::new());
    for _ in 0..10 {
        let next = connection.submit(&endless).await;
        let before = connection.job(&at_work).await;
        let asked = Instant::now();
        connection.ask(&wire::post(&format!("/v1/jobs/{at_work}/cancel"))).await;
        connection.until(&next, |job| job["status"] == "running").await;
        frees.push(asked.elapsed());
        steps.extend(step_time(&before));
        at_work = next;
        connection.until(&at_work, |job| job["progress"]["iteration"].as_u64() >= Some(3)).await;
    }
    server.stop().await;
    vec![
        Row {
            what: "poll while a render occupies every core, p50 / p99",
            found: percentiles(&mut polls, &[50, 99]),
            target: "p99 ≤ 25 ms",
        },
        Row {
            what: "POST to succeeded, less the render, p50 / p95",
            found: percentiles(&mut overheads, &[50, 95]),
            target: "p95 ≤ 50 ms",
        },
        Row {
            what: "cancel of a running job to the next one running, p50 / max",
            found: percentiles(&mut frees, &[50, 100]),
            target: "one gradient step",
        },
        Row {
            what: "… one gradient step of that job, p50",
            found: percentiles(&mut steps, &[50]),
            target: "",
        },
    ]
}

/// Honest clients alone, and beside attackers.
async fn besieged(folder: &Path, catalogue: &Arc<Catalogue>) -> Vec<Row> {
    let (mut rows, mut curves) = (Vec::new(), Vec::new());
    for (attacked, polls, dreams) in [
        (false, "polls of 40 clients that make dreams, p50 / p99", "… dreams / repeated with 503 / lost"),
        (true, "the same beside three attackers", "… dreams / repeated / lost, attacks answered"),
    ] {
        let server = serve(folder, catalogue, true).await;
        let mut seen = siege::honest(server.address, &png(96, 80), attacked).await;
        server.stop().await;
        rows.push(Row {
            what: polls,
            found: percentiles(&mut seen.polls, &[50, 99]),
            target: "p99 ≤ 100 ms",
        });
        let curve = CURVE.map(|share| percentile(&seen.polls, share)).to_vec();
        curves.push((if attacked { "beside three attackers" } else { "40 clients that make dreams" }, curve));
        let mut found = format!("{} / {} / {}", seen.dreams, seen.repeated, seen.lost);
        if attacked {
            found += &format!(", {}", seen.attacks);
        }
        rows.push(Row { what: dreams, found, target: "none lost" });
    }
    Plot {
        name: "load",
        title: "How long a poll takes beside other load",
        across: ("share of the polls, in percent", CURVE.map(|share| share.to_string()).to_vec()),
        up: "answered within, in ms",
        series: curves,
    }
    .draw();
    rows
}

/// Mean time of a gradient step of a running job so far.
fn step_time(job: &Value) -> Option<Duration> {
    let time = |name: &str| chrono_millis(job[name].as_str()?);
    let seconds = (time("updated_at").or_else(|| Some(now_millis()))? - time("started_at")?) / 1000.0;
    let steps = job["progress"]["iteration"].as_f64().filter(|steps| *steps > 0.0)?;
    Some(Duration::from_secs_f64((seconds / steps).max(0.0)))
}

fn chrono_millis(text: &str) -> Option<f64> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    Some(time.timestamp_millis() as f64)
}

fn now_millis() -> f64 {
    Clock::system().now().as_millis() as f64
}

/// Processor time that this process has taken so far, in milliseconds; 0 where there is no `/proc`.
fn processor() -> f64 {
    processor_of("self")
}

/// The same of another process, by its number.
fn processor_of(process: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    // A tick is ten milliseconds on every Linux.
    (ticks(11) + ticks(12)) * 10.0
}

/// Some percentiles of `times`, in milliseconds.
fn percentiles(times: &mut [Duration], wanted: &[usize]) -> String {
    times.sort_unstable();
    let texts: Vec<String> =
        wanted.iter().map(|&percent| format!("{:.1}", percentile(times, percent as f64))).collect();
    texts.join(" / ") + " ms"
}

/// A percentile of times in their order, in milliseconds.
fn percentile(times: &[Duration], percent: f64) -> f64 {
    let at = (times.len() as f64 * percent / 100.0) as usize;
    times[at.min(times.len() - 1)].as_secs_f64() * 1e3
}

/// The sample photo as a JPEG of about so many bytes.
fn photo(bytes: usize) -> Vec<u8> {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/sample.jpg");
    let sample = image::open(sample).unwrap();
    let sizes = (1..=40).map(|step| sample.width() * step / 40);
    let files = sizes.map(|width| {
        let mut file = Cursor::new(Vec::new());
        let smaller = sample.resize(width, u32::MAX, image::imageops::FilterType::Triangle).to_rgb8();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 85);
        smaller.write_with_encoder(encoder).unwrap();
        file.into_inner()
    });
    files.min_by_key(|file| file.len().abs_diff(bytes)).unwrap()
}

/// A small picture.
fn png(width: u32, height: u32) -> Vec<u8> {
    let image = image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8]));
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}
