//! How good predictions are: `make bench-predictions` prints what was predicted for a mixed set of jobs, and what
//! they took.
//!
//! Seconds count from the claim to the end in a server process. Memory is the peak of a `reverie render` process of its
//! own with the same spec, less the peak of one that renders next to nothing: a server keeps memory from job to job, and
//! would hide what a job needs behind what an earlier one needed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark may fail loudly")]

use std::{
    fs,
    io::{BufRead, BufReader, Cursor},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

/// The second model, which is not part of the repository; its jobs are left out where it is missing.
const INCEPTION: &str = "bvlc_inception_graph";

/// One job: what it is about, the size of its picture, and its spec.
type Case = (&'static str, (u32, u32), Value);

#[tokio::main]
async fn main() {
    let models = models();
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(models.path(), folder.path());
    println!(
        "| job | seconds: predicted / taken | factor | MB: predicted / taken | factor |\n|---|---|---|---|---|"
    );
    let (mut times, mut sizes) = (Vec::new(), Vec::new());
    let bare = |model: Option<&Value>| {
        let mut spec = json!({ "preset": "naive", "tile_size": 64 });
        if let Some(model) = model {
            spec["model"] = model.clone();
        }
        peak(models.path(), folder.path(), (64, 64), &spec)
    };
    for (what, size, spec) in cases(models.path()) {
        let job = server.run(size, &spec).await;
        let taken = peak(models.path(), folder.path(), size, &spec) - bare(spec.get("model"));
        let (metrics, seconds) = (&job["metrics"], seconds(&job));
        let predicted = |name: &str| metrics[name].as_f64().unwrap();
        let (time, memory) = (predicted("predicted_seconds"), predicted("predicted_memory_mb"));
        println!(
            "| {what} | {time:.2} / {seconds:.2} | {:.2} | {memory:.0} / {taken:.0} | {:.2} |",
            time / seconds,
            memory / taken
        );
        times.push(time / seconds);
        sizes.push(memory / taken);
    }
    println!("\nOff by a factor of {} in seconds, {} in memory.", summary(&mut times), summary(&mut sizes));
}

/// Median and largest factor, whichever way a prediction is wrong.
fn summary(ratios: &mut [f64]) -> String {
    ratios.iter_mut().for_each(|ratio| *ratio = ratio.max(1.0 / *ratio));
    ratios.sort_unstable_by(f64::total_cmp);
    format!("{:.2} at the median and {:.2} at most", ratios[ratios.len() / 2], ratios[ratios.len() - 1])
}

/// A mixed set: small and large, deep and shallow, every preset.
fn cases(models: &Path) -> Vec<Case> {
    let layer = |layer: &str| json!([{ "layer": layer }]);
    let mut cases = vec![
        ("default, 256×256", (256, 256), json!({})),
        ("default, 640×480", (640, 480), json!({})),
        ("default, 1024×768", (1024, 768), json!({})),
        ("3 iterations, 2048×1536", (2048, 1536), json!({ "iterations": 3 })),
        ("block2, 640×480", (640, 480), json!({ "objectives": layer("block2") })),
        ("block5, 1 octave, 800×600", (800, 600), json!({ "objectives": layer("block5"), "octaves": 1 })),
        ("block15, 6 octaves, 500×700", (500, 700), json!({ "objectives": layer("block15"), "octaves": 6 })),
        ("class 207, 400×400", (400, 400), json!({ "objectives": [{ "kind": "class", "class": 207 }] })),
        ("tiles of 256, 800×600", (800, 600), json!({ "tile_size": 256, "iterations": 5 })),
        ("naive, 512×512", (512, 512), json!({ "preset": "naive" })),
        ("multiscale, 224×224", (224, 224), json!({ "preset": "multiscale" })),
        ("lapnorm, 300×200", (300, 200), json!({ "preset": "lapnorm", "octaves": 4 })),
        (
            "deepdream, JPEG, 1200×900",
            (1200, 900),
            json!({ "preset": "deepdream", "format": "jpeg", "iterations": 4 }),
        ),
        (
            "three layers, 500×400",
            (500, 400),
            json!({ "objectives": [{ "layer": "block4" }, { "layer": "block8", "weight": -0.5 }, { "layer": "block10", "channels": [7] }] }),
        ),
        (
            "strongest channel, a direction, 500×400",
            (500, 400),
            json!({ "objectives": [{ "layer": "block10", "pick": "strongest" }, { "layer": "block6", "direction": { "3": 1, "9": -1 } }] }),
        ),
        ("guide, 500×400", (500, 400), json!({ "objectives": [{ "kind": "guide", "layer": "block8" }] })),
        (
            "total variation and decay, 640×480",
            (640, 480),
            json!({ "total_variation": 0.1, "l2_decay": 0.01 }),
        ),
        (
            "random sizes and angles, 640×480",
            (640, 480),
            json!({ "random_scale": 0.1, "random_rotation": 5 }),
        ),
        ("Fourier, 640×480", (640, 480), json!({ "parametrization": "fourier" })),
        (
            "both, class 207, 400×400",
            (400, 400),
            json!({
                "objectives": [{ "kind": "class", "class": 207 }], "parametrization": "fourier", "random_scale": 0.1,
                "random_rotation": 5,
            }),
        ),
        ("12 frames, 400×300", (400, 300), json!({ "motion": { "frames": 12 }, "format": "webp" })),
    ];
    if models.join(format!("{INCEPTION}.pb")).exists() {
        let more = [
            ("Inception, 256×256", (256, 256), json!({})),
            ("Inception, 640×480", (640, 480), json!({ "iterations": 5 })),
            (
                "Inception, mixed3a, 640×480",
                (640, 480),
                json!({ "objectives": layer("mixed3a"), "iterations": 5 }),
            ),
            ("Inception, mixed5b, 400×300", (400, 300), json!({ "objectives": layer("mixed5b") })),
            ("Inception, naive, 300×300", (300, 300), json!({ "preset": "naive" })),
            ("Inception, 1200×900", (1200, 900), json!({ "iterations": 2 })),
        ];
        cases.extend(more.map(|(what, size, mut spec)| {
            spec["model"] = INCEPTION.into();
            (what, size, spec)
        }));
    }
    cases
}

/// A folder with the models that are there.
fn models() -> tempfile::TempDir {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("REVERIE_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let folder = tempfile::tempdir().unwrap();
    let files = [root.join("models/efficientnet-lite0.pth"), shared.join(format!("models/{INCEPTION}.pb"))];
    for file in files.iter().filter_map(|file| file.canonicalize().ok()) {
        std::os::unix::fs::symlink(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    folder
}

/// Whether a job needs a guide; the picture itself is one.
fn follows_guide(spec: &Value) -> bool {
    spec["objectives"][0]["kind"] == "guide"
}

/// Seconds from claim to end.
fn seconds(job: &Value) -> f64 {
    let time = |name: &str| chrono::DateTime::parse_from_rfc3339(job[name].as_str().unwrap()).unwrap();
    (time("finished_at") - time("started_at")).as_seconds_f64()
}

/// Highest resident memory in megabytes of a process that renders this with one gradient step per octave: further
/// steps use the same memory again.
fn peak(models: &Path, folder: &Path, size: (u32, u32), spec: &Value) -> f64 {
    let (input, with) = (folder.join("input.jpg"), folder.join("spec.json"));
    fs::write(&input, picture(size)).unwrap();
    fs::write(&with, spec.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_reverie"));
    command.arg("render").arg(&input).arg("--output").arg(folder.join("dream.png"));
    command.arg("--spec").arg(&with).arg("--models-dir").arg(models).args(["--iterations", "1", "--json"]);
    if follows_guide(spec) {
        command.arg("--guide").arg(&input);
    }
    let run = command.output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let line: Value = serde_json::from_slice(&run.stdout).unwrap();
    line["peak_memory_bytes"].as_f64().unwrap() / 1e6
}

struct Server {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl Server {
    fn start(models: &Path, folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_reverie"))
            .arg("serve")
            .env("REVERIE__SERVER__LISTEN", "127.0.0.1:0")
            .env("REVERIE__SERVER__ADMIN_LISTEN", "")
            .env("REVERIE__STORAGE__DIR", folder)
            .env("REVERIE__MODELS__DIR", models)
            .env("REVERIE__LOG__FILTER", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").expect("the server does not start").to_owned();
        Self { child, url, http: reqwest::Client::new() }
    }

    /// Posts a job and waits for its end.
    async fn run(&self, size: (u32, u32), spec: &Value) -> Value {
        let image = Part::bytes(picture(size)).file_name("picture.jpg");
        let mut form = Form::new().text("spec", spec.to_string()).part("image", image);
        if follows_guide(spec) {
            form = form.part("guide", Part::bytes(picture(size)).file_name("guide.jpg"));
        }
        let posted =
            self.http.post(format!("{}/v1/jobs", self.url)).header("prefer", "wait=60").multipart(form);
        let mut job: Value = posted.send().await.unwrap().json().await.unwrap();
        while job["finished_at"].is_null() {
            let path = job["links"]["self"].as_str().unwrap_or_else(|| panic!("{job}"));
            let asked = self.http.get(format!("{}{path}", self.url)).header("prefer", "wait=60");
            job = asked.send().await.unwrap().json().await.unwrap();
        }
        assert_eq!(job["status"], "succeeded", "{job}");
        job
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sample photo at this size, as a JPEG.
fn picture((width, height): (u32, u32)) -> Vec<u8> {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/sample.jpg");
    let photo = image::open(sample).unwrap();
    let photo = photo.resize_exact(width, height, image::imageops::FilterType::Triangle).to_rgb8();
    let mut file = Cursor::new(Vec::new());
    photo.write_to(&mut file, image::ImageFormat::Jpeg).unwrap();
    file.into_inner()
}
