//! Animations as MP4 and WebM, which `ffmpeg` writes: over HTTP, on the command line, and where there is none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::{fs, path::Path, process::Command};

use common::{
    client::{form, pointers, problem, quick},
    picture,
    process::{ServerProcess, ended},
    programs,
    server::TestServer,
};
use reverie_picture::{self as pictures, Format};
use serde_json::{Value, json};

const VIDEOS: [(Format, &str, &str); 2] =
    [(Format::Mp4, "mp4", "video/mp4"), (Format::Webm, "webm", "video/webm")];

/// Whether there is an `ffmpeg` with the encoders; says that `test` is skipped where not.
fn has_ffmpeg(test: &str) -> bool {
    let lacking = VIDEOS.into_iter().find_map(|(format, ..)| pictures::can_write(format).err());
    if let Some(lacking) = &lacking {
        programs::skip(test, &lacking.to_string());
    }
    lacking.is_none()
}

/// Number of frames that `ffmpeg` finds in a file.
fn count(file: &Path) -> usize {
    let program = programs::program("videos", "ffmpeg").unwrap();
    let arguments = ["-v", "error", "-i", file.to_str().unwrap(), "-f", "framecrc", "-"];
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().filter(|line| !line.starts_with('#')).count()
}

fn moving(format: &str) -> Value {
    let mut spec = quick();
    spec["format"] = format.into();
    spec["motion"] = json!({ "frames": 4, "zoom": 1.04, "fps": 10, "playback": "boomerang" });
    spec
}

#[tokio::test]
async fn a_job_may_be_a_video() {
    if !has_ffmpeg("a_job_may_be_a_video") {
        return;
    }
    let server = TestServer::start().await;
    let list: Value = server.client.get("/v1/formats").await.json().await.unwrap();
    for format in list["formats"].as_array().unwrap() {
        assert_eq!((&format["available"], &format["reason"]), (&json!(true), &Value::Null), "{format}");
    }
    for (_, format, media_type) in VIDEOS {
        let id = server.client.submit(picture(95, 81), &moving(format)).await;
        let dream = server.client.dream(&id).await;
        let job = server.client.job(&id).await;
        assert_eq!(job["result"]["media_type"], media_type, "{job}");
        // Of an odd number of rows and columns the last is there twice.
        assert_eq!((&job["result"]["width"], &job["result"]["height"]), (&json!(96), &json!(82)), "{job}");
        let response = server.client.get(&format!("/v1/jobs/{id}/result")).await;
        assert_eq!(response.headers()["content-type"], media_type);
        let disposition = response.headers()["content-disposition"].to_str().unwrap().to_owned();
        assert!(disposition.ends_with(&format!(".{format}\"")), "{disposition}");
        let url = format!("{}/v1/jobs/{id}/result", server.client.url);
        let part = server.client.http.get(&url).header("range", "bytes=4-7").send().await.unwrap();
        assert_eq!(
            (part.status().as_u16(), &part.headers()["content-type"]),
            (206, &media_type.parse().unwrap())
        );
        assert_eq!(part.bytes().await.unwrap(), dream[4..8]);
        let small = server.client.get(&format!("/v1/jobs/{id}/thumbnail")).await.bytes().await.unwrap();
        assert_eq!(image::load_from_memory(&small).unwrap().width(), 96);
        let recipe: Value = serde_json::from_str(&pictures::recipe::extract(&dream).unwrap()).unwrap();
        assert_eq!(recipe["spec"]["motion"]["frames"], 4, "{recipe}");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &dream).unwrap();
        // There and back, the ends once.
        assert_eq!(count(file.path()), 6);
        let still = json!({ "format": format });
        let told = problem(server.client.post_form(form(picture(96, 80), &still)).await, 422).await;
        assert_eq!(pointers(&told), ["/spec/format"], "{told}");
        let exact = json!({ "format": format, "motion": {}, "lossless": true });
        let told = problem(server.client.post_form(form(picture(96, 80), &exact)).await, 422).await;
        assert_eq!(pointers(&told), ["/spec/lossless"], "{told}");
    }
}

/// Renders a small photo in `folder` with further arguments; exit code and standard error.
async fn render(folder: &Path, output: &str, more: &[&str], settings: &[(&str, &str)]) -> (i32, String) {
    let [photo, output] = ["photo.png", output].map(|name| folder.join(name).to_str().unwrap().to_owned());
    fs::write(&photo, picture(90, 70)).unwrap();
    let (code, _, errors) =
        ended(folder, &[&["render", &photo, "-o", &output], more].concat(), settings).await;
    (code, errors)
}

#[tokio::test]
async fn a_video_is_rendered_and_replayed_to_the_same_bytes() {
    if !has_ffmpeg("a_video_is_rendered_and_replayed_to_the_same_bytes") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (_, ending, _) in VIDEOS {
        let [name, again] = ["dream", "again"].map(|name| format!("{name}.{ending}"));
        let quick = ["--layer", "block3", "--iterations", "2", "--octaves", "2", "--precision", "fp32"];
        let motion = ["--frames", "3", "--zoom", "1.05"];
        let (code, errors) = render(folder.path(), &name, &[&quick[..], &motion].concat(), &[]).await;
        assert_eq!(code, 0, "{errors}");
        let replayed = folder.path().join(&name);
        let replay = ["--replay", replayed.to_str().unwrap()];
        let (code, errors) = render(folder.path(), &again, &replay, &[]).await;
        assert_eq!(code, 0, "{errors}");
        let [first, second] = [&name, &again].map(|name| fs::read(folder.path().join(name)).unwrap());
        assert!(first == second, "{ending}: the replay differs");
        assert_eq!(count(&replayed), 3);
    }
}

/// What a server says of a dry run in a format; null if it would take it.
async fn problem_of(server: &ServerProcess, format: &str, is_animation: bool) -> Value {
    let mut spec = quick();
    if is_animation {
        spec = moving(format);
    }
    spec["format"] = format.into();
    let request = server.client.http.post(format!("{}/v1/dry-run", server.client.url));
    let answer = request.multipart(form(picture(96, 80), &spec)).send().await.unwrap();
    if answer.status() == 200 { Value::Null } else { problem(answer, 422).await }
}

#[tokio::test]
async fn without_ffmpeg_videos_are_refused_before_anything_is_rendered() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(folder.path(), &[("REVERIE_FFMPEG", "/nowhere/ffmpeg")]).await;
    for (_, format, _) in VIDEOS {
        let told = problem(server.client.post_form(form(picture(96, 80), &moving(format))).await, 422).await;
        assert_eq!(told["type"], "urn:reverie:problem:no-video-encoder", "{told}");
        assert!(told["detail"].as_str().unwrap().contains("ffmpeg is not there; choose \"webp\""), "{told}");
    }
    // A client can ask before: the same words, on the command line, too.
    let list = server.client.get("/v1/formats").await;
    let etag = list.headers()["etag"].to_str().unwrap().to_owned();
    let list: Value = list.json().await.unwrap();
    let formats = list["formats"].as_array().unwrap();
    let said: Vec<_> = formats.iter().map(|format| format["name"].as_str().unwrap()).collect();
    assert_eq!(said, ["png", "jpeg", "webp", "gif", "mp4", "webm"]);
    for format in formats {
        let name = format["name"].as_str().unwrap();
        let animation = name != "jpeg";
        assert_eq!(
            (&format["animation"], &format["reason"].is_null()),
            (&json!(animation), &(format["available"] == true))
        );
        let told = problem_of(&server, name, animation).await;
        assert_eq!(format["available"], told.is_null(), "{format}: {told}");
        assert_eq!(format["reason"], told["detail"], "{format}: {told}");
        assert_eq!(format["still"], problem_of(&server, name, false).await.is_null(), "{format}");
    }
    let again =
        server.client.http.get(format!("{}/v1/formats", server.client.url)).header("if-none-match", etag);
    assert_eq!(again.send().await.unwrap().status(), 304);
    let nowhere = [("REVERIE_FFMPEG", "/nowhere/ffmpeg")];
    let (code, lines, _) = ended(folder.path(), &["formats", "--json"], &nowhere).await;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, &lines), (0, formats));
    let (_, table, _) = ended(folder.path(), &["formats"], &nowhere).await;
    assert_eq!((table.lines().count(), table.matches("not available: ").count()), (6, 2), "{table}");
    let (code, errors) = render(folder.path(), "dream.mp4", &["--frames", "200"], &nowhere).await;
    assert!(code == 1 && errors.contains("mp4 files are written by ffmpeg"), "{code}: {errors}");
    assert!(!folder.path().join("dream.mp4").exists());
}
