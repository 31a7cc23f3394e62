//! Bodies: many at once, and slow ones.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use tokio::time::timeout;

use super::{
    common::{
        client::{DEADLINE, form, quick},
        picture,
        server::Setup,
        until,
    },
    target::{FORM, Target, connect, connect_from, read_answer, send_part},
};

#[tokio::test(flavor = "multi_thread")]
async fn bodies_in_flight_take_no_more_memory_than_configured() {
    const ROOM: u64 = 64 << 20;
    let target = Target::start(&[("REVERIE__LIMITS__MAX_UPLOADS_MB", "64")]).await;
    let before = target.peak_memory();
    let address = target.address();
    // From two addresses, since one gets only half of the room.
    let attackers = flood(address, LARGE, |number| Ipv4Addr::new(127, 0, 0, 2 + number % 2)).await;
    let refused = attackers.iter().filter(|(_, refused)| *refused).count();
    let cost = target.peak_memory() - before;
    assert!(
        cost <= ROOM + (64 << 20),
        "{} MB for {} clients, {refused} of them refused",
        cost >> 20,
        attackers.len()
    );
    assert!(refused > 30, "{refused} of {}", attackers.len());
    // The room comes back with those who hold it.
    drop(attackers);
    let client = &target.process.client;
    let id = loop {
        let answer = client.post_form(form(picture(64, 48), &quick())).await;
        match answer.status().as_u16() {
            503 => tokio::task::yield_now().await,
            202 => {
                break answer.json::<serde_json::Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
            }
            other => panic!("{other}"),
        }
    };
    client.dream(&id).await;
}

/// The head of the part with the picture.
const PART: &str = "--X\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n";

/// What one of them sends and never finishes, in pieces of 64 KiB: two thirds of the 30 MB that it announces, a megabyte,
/// and as little as fits beside anything.
const LARGE: usize = 300;
const SMALL: usize = 16;
const CRUMB: usize = 1;

/// Sixty clients that send so many pieces of a body of 30 MB each and never finish; whether each is refused.
async fn flood(server: SocketAddr, pieces: usize, from: fn(u8) -> Ipv4Addr) -> Vec<(TcpStream, bool)> {
    let attackers: Vec<_> = (0..60)
        .map(|number| tokio::task::spawn_blocking(move || hold(server, pieces, from(number))))
        .collect();
    let mut held = Vec::new();
    for attacker in attackers {
        held.push(attacker.await.unwrap());
    }
    held
}

/// Sends a part of a body of 30 MB, and looks whether it is refused by then. It does not say how long the body will be, or
/// it would be refused for that.
fn hold(server: SocketAddr, pieces: usize, from: Ipv4Addr) -> (TcpStream, bool) {
    let mut stream = connect_from(from, server).unwrap();
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{PART}\r\n",
        PART.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let piece = [format!("{:x}\r\n", 64 * 1024).as_bytes(), &[b'x'; 64 * 1024], b"\r\n"].concat();
    for _ in 0..pieces {
        if stream.write_all(&piece).is_err() {
            break;
        }
    }
    // Whoever is held is not answered, so only look.
    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let mut status = [0; 12];
    let refused = stream.read(&mut status).is_ok_and(|read| read == 12 && status.ends_with(b"503"));
    (stream, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_leaves_room_for_the_others() {
    // Room for all that one address could hold of it: two bodies of JSON as long as they may be.
    let target = Target::start(&[("REVERIE__LIMITS__MAX_UPLOADS_MB", "96")]).await;
    let mut attackers = Vec::new();
    // Smaller and smaller ones, so that they hold all that they are given.
    for pieces in [LARGE, SMALL, CRUMB] {
        attackers.extend(flood(target.address(), pieces, |_| Ipv4Addr::new(127, 0, 0, 2)).await);
    }
    assert!(attackers.iter().any(|(_, refused)| *refused), "the room is never full");
    // From another address, a photo of some megabytes is accepted and becomes a dream while they hold on.
    let client = &target.process.client;
    let photo = [picture(64, 48), vec![0; 5 << 20]].concat();
    let answer = client.post_form(form(photo, &quick())).await;
    let status = answer.status();
    let job = answer.json::<serde_json::Value>().await.unwrap();
    assert_eq!(status, 202, "{job}");
    client.dream(job["id"].as_str().unwrap()).await;
    drop(attackers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_a_byte_a_second_is_given_up() {
    let target = Target::start(&[]).await;
    let mut stream = connect(target.address());
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // Another one has sent so much that it would have a quarter of an hour, and sends no more.
    let stopped = std::thread::spawn({
        let address = target.address();
        let head = head.trim_end().replace("1000000", "31000000");
        move || send_part(address, &head, &[b'x'; 15 << 20])
    });
    let mut reader = stream.try_clone().unwrap();
    let answer = std::thread::spawn(move || read_answer(&mut reader));
    let began = Instant::now();
    while !answer.is_finished() && stream.write_all(b"x").is_ok() {
        assert!(began.elapsed() < DEADLINE, "nobody gives up");
        std::thread::park_timeout(Duration::from_secs(1));
    }
    let answer = answer.join().unwrap();
    assert_eq!(answer.status, 408, "{}", answer.body);
    assert_eq!(stopped.join().unwrap(), 408, "whoever sends no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_go_away_leave_no_picture_without_a_job() {
    let setup = Setup::new().await;
    let server = Setup { works: false, ..setup }.start().await;
    let address: SocketAddr = server.client.url.strip_prefix("http://").unwrap().parse().unwrap();
    let body = [PART.as_bytes(), &picture(64, 48), b"\r\n--X--\r\n"].concat();
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let stored = || server.blobs("inputs").len();
    for _ in 0..20 {
        let before = stored();
        let mut stream = connect(address);
        stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
        let storing = async {
            while stored() == before {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, storing).await.expect("nothing is stored");
        // The picture is on its way, and nobody waits for the answer.
        drop(stream);
    }
    until("there are as many pictures as jobs", async || {
        let list = server.client.get("/v1/jobs?limit=100").await;
        let list: serde_json::Value = list.json().await.unwrap();
        stored() == list["jobs"].as_array().unwrap().len()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_without_room_are_refused_before_they_are_sent() {
    let mut setup = Setup::new().await;
    setup.config.limits.max_uploads_mb = 2;
    let server = Setup { works: false, ..setup }.start().await;
    let mut taken = server.state.uploads.share(None);
    taken.grow(1 << 20).unwrap();
    let address = server.client.url.strip_prefix("http://").unwrap().parse().unwrap();
    // JSON takes twice its length: its text, and the picture in it.
    for (content_type, length) in [(FORM, 1_100_000), ("application/json", 600_000)] {
        let head = format!(
            "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {length}"
        );
        let status = tokio::task::block_in_place(|| send_part(address, &head, b""));
        assert_eq!(status, 503, "{content_type}");
    }
    // What fits is read.
    let fits = [picture(64, 48), vec![0; 600_000]].concat();
    server.client.submit(fits, &quick()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_wait_for_memory_and_keep_the_room_of_their_body() {
    const ROOM: usize = 2 << 20;
    let mut setup = Setup::new().await;
    (setup.config.limits.max_decode_mb, setup.config.limits.max_uploads_mb) = (10, 2);
    let server = Setup { works: false, ..setup }.start().await;
    let is_free = || server.state.uploads.share(None).has_room(ROOM);
    // Half a megabyte is left for decoders.
    let taken = server.state.decoders.reserve(9_500_000).await.unwrap();
    let large = tokio::spawn({
        let client = server.client.clone();
        // Three megabytes of pixels.
        async move { client.post_form(form(picture(1000, 1000), &quick())).await }
    });
    until("the body takes room", async || !is_free()).await;
    // Others that need none pass by; so many that it would have been decoded by now.
    for _ in 0..20 {
        let noise = server.client.post_bytes("application/json", "{\"spec\":{\"noise\":{}}}").await;
        assert_eq!(noise.status(), 202);
    }
    assert!(!large.is_finished(), "it was decoded without memory for it");
    assert!(!is_free(), "the picture is held, and its room is given to others");
    drop(taken);
    assert_eq!(timeout(DEADLINE, large).await.unwrap().unwrap().status(), 202);
    until("the room is given back", async || is_free()).await;
}
