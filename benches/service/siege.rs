//! What honest clients notice while others attack: forty clients make dreams and poll, three attackers do what the
//! limits are for, each from an address of its own.

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::wire::{self, Connection};

/// Honest clients, each with one job at a time.
pub const CLIENTS: usize = 40;
/// How long they are at it.
const SIEGE: Duration = Duration::from_secs(30);
/// Between two polls of one client.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections of the one who sends bodies that never end, and of the one who inflates profiles.
const BODIES: usize = 60;
const PROFILES: usize = 8;

/// What the honest clients saw.
#[derive(Default)]
pub struct Seen {
    /// Time of each poll of a job's status.
    pub polls: Vec<Duration>,
    /// Dreams that came back.
    pub dreams: usize,
    /// Requests that were answered with 503 and sent again.
    pub repeated: usize,
    /// Requests with any other answer than they should have.
    pub lost: usize,
    /// Requests of the attackers that were answered or cut off.
    pub attacks: u64,
}

/// Honest clients at `server` for half a minute; with attackers, if so wished.
pub async fn honest(server: SocketAddr, image: &[u8], attacked: bool) -> Seen {
    let attacks = Arc::new(AtomicU64::new(0));
    let over = CancellationToken::new();
    // On a thread of their own: what they do to send an attack is not the server's to bear.
    let attackers = attacked.then(|| {
        let (attacks, over) = (Arc::clone(&attacks), over.clone());
        std::thread::spawn(move || attack(server, &attacks, &over))
    });
    let spec = json!({ "objectives": [{ "layer": "block2" }], "octaves": 1, "iterations": 1 });
    let upload = Arc::new(wire::upload(image, &spec));
    let until = Instant::now() + SIEGE;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(dreams(server, Arc::clone(&upload), until));
    }
    let mut all = Seen::default();
    for seen in clients.join_all().await {
        all.polls.extend(seen.polls);
        all.dreams += seen.dreams;
        all.repeated += seen.repeated;
        all.lost += seen.lost;
    }
    over.cancel();
    if let Some(attackers) = attackers {
        tokio::task::spawn_blocking(|| attackers.join().unwrap()).await.unwrap();
    }
    all.attacks = attacks.load(Ordering::Relaxed);
    all
}

/// All attackers, until it is over.
fn attack(server: SocketAddr, attacks: &Arc<AtomicU64>, over: &CancellationToken) {
    let (names, profile) = (Arc::new(unknown_names()), Arc::new(swollen_profile()));
    let endless = Arc::new(endless_body());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut attackers = JoinSet::new();
        attackers.spawn(again_and_again(server, 2, names, Arc::clone(attacks)));
        for _ in 0..PROFILES {
            attackers.spawn(again_and_again(server, 3, Arc::clone(&profile), Arc::clone(attacks)));
        }
        for _ in 0..BODIES {
            attackers.spawn(again_and_again(server, 4, Arc::clone(&endless), Arc::clone(attacks)));
        }
        over.cancelled().await;
        attackers.shutdown().await;
    });
}

/// One honest client: a job, polls until it has ended, its dream; and again.
async fn dreams(server: SocketAddr, upload: Arc<Vec<u8>>, until: Instant) -> Seen {
    let (mut seen, mut connection) = (Seen::default(), Connection::open(server).await);
    while Instant::now() < until {
        let accepted = connection.ask(&upload).await;
        match accepted.status {
            202 => {}
            503 => {
                seen.repeated += 1;
                sleep(PAUSE).await;
                continue;
            }
            _ => {
                seen.lost += 1;
                continue;
            }
        }
        let id = accepted.json()["id"].as_str().unwrap().to_owned();
        let poll = wire::get(&format!("/v1/jobs/{id}"), None);
        let status = loop {
            let asked = Instant::now();
            let answer = connection.ask(&poll).await;
            seen.polls.push(asked.elapsed());
            if answer.status != 200 {
                break String::new();
            }
            let job = answer.json();
            if job["finished_at"].is_string() {
                break job["status"].as_str().unwrap().to_owned();
            }
            sleep(PAUSE).await;
        };
        let result = connection.ask(&wire::get(&format!("/v1/jobs/{id}/result"), None)).await;
        match (status.as_str(), result.status) {
            ("succeeded", 200) => seen.dreams += 1,
            _ => seen.lost += 1,
        }
    }
    seen
}

/// Sends a request on a new connection of its own address, and reads whatever comes, until it is aborted.
async fn again_and_again(server: SocketAddr, from: u8, request: Arc<Vec<u8>>, attacks: Arc<AtomicU64>) {
    loop {
        let attempt = async {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind((Ipv4Addr::new(127, 0, 0, from), 0).into())?;
            let (mut answers, mut requests) = socket.connect(server).await?.into_split();
            // Answers may come before all is sent.
            let reading = tokio::spawn(async move {
                let mut answer = [0; 4096];
                while answers.read(&mut answer).await.is_ok_and(|read| read > 0) {}
            });
            let sent = requests.write_all(&request).await;
            // Nobody closes a connection for good manners here; a server that is waiting for more is left waiting.
            let _ = timeout(Duration::from_secs(20), reading).await;
            sent
        };
        // That the server cuts an attacker off is what it should do.
        let _ = attempt.await;
        attacks.fetch_add(1, Ordering::Relaxed);
    }
}

fn post(content_type: &str, announced: usize, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {announced}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Eight megabytes of members that no spec has.
fn unknown_names() -> Vec<u8> {
    let mut body = Vec::from(*b"{\"spec\":{\"a\":1");
    let mut number = 0;
    while body.len() < 8 << 20 {
        write!(body, ",\"unknown{number}\":0").unwrap();
        number += 1;
    }
    body.extend(b"}}");
    post("application/json", body.len(), &body)
}

/// A PNG of 400 KB whose profile inflates to 400 MB, and whose pixels are missing.
fn swollen_profile() -> Vec<u8> {
    let mut packer = flate2::write::ZlibEncoder::new(Vec::from(*b"p\0\0"), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..400 {
        packer.write_all(&zeros).unwrap();
    }
    let profile = packer.finish().unwrap();
    let mut png = Vec::from(*b"\x89PNG\r\n\x1a\n");
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        png.extend((data.len() as u32).to_be_bytes());
        png.extend(kind);
        png.extend(data);
        let mut sum = crc32fast::Hasher::new();
        sum.update(kind);
        sum.update(data);
        png.extend(sum.finalize().to_be_bytes());
    };
    chunk(b"IHDR", &[0, 0, 4, 0, 0, 0, 4, 0, 8, 2, 0, 0, 0]);
    chunk(b"iCCP", &profile);
    chunk(b"IDAT", &[]);
    chunk(b"IEND", &[]);
    let form = wire::upload(&png, &json!({}));
    let start = form.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    post("multipart/form-data; boundary=X", form.len() - start, &form[start..])
}

/// Twenty megabytes of a body of thirty.
fn endless_body() -> Vec<u8> {
    let mut body =
        Vec::from(*b"--X\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n");
    body.resize(20 << 20, b'x');
    post("multipart/form-data; boundary=X", 30 << 20, &body)
}
