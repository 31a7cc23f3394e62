//! Bodies: many at once, and slow ones.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use super::{
    common::{client::quick, picture},
    target::{FORM, Target, connect, connect_from, read_answer},
};

#[tokio::test(flavor = "multi_thread")]
async fn bodies_in_flight_take_no_more_memory_than_configured() {
    const ROOM: u64 = 64 << 20;
    let target = Target::start(&[("REVERIE__LIMITS__MAX_UPLOADS_MB", "64")]).await;
    let before = target.peak_memory();
    let address = target.address();
    // From two addresses, since one gets only half of the room.
    let attackers = flood(address, |number| Ipv4Addr::new(127, 0, 0, 2 + number % 2)).await;
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
        let answer = client.post_form(super::common::client::form(picture(64, 48), &quick())).await;
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

/// Sixty clients that send up to 30 MB each and never finish; whether each is refused.
async fn flood(server: SocketAddr, from: fn(u8) -> Ipv4Addr) -> Vec<(TcpStream, bool)> {
    let attackers: Vec<_> =
        (0..60).map(|number| tokio::task::spawn_blocking(move || hold(server, from(number)))).collect();
    let mut held = Vec::new();
    for attacker in attackers {
        held.push(attacker.await.unwrap());
    }
    held
}

/// Sends two thirds of a body of 30 MB, and looks whether it is refused by then.
fn hold(server: SocketAddr, from: Ipv4Addr) -> (TcpStream, bool) {
    let mut stream = connect_from(from, server).unwrap();
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nContent-Length: 31000000\r\n\r\n\
         --X\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let piece = [b'x'; 64 * 1024];
    for _ in 0..300 {
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
    let attackers = flood(target.address(), |_| Ipv4Addr::new(127, 0, 0, 2)).await;
    assert!(attackers.iter().any(|(_, refused)| *refused), "the room is never full");
    // From another address, a photo is accepted and becomes a dream while they hold on.
    let client = &target.process.client;
    let answer = client.post_form(super::common::client::form(picture(64, 48), &quick())).await;
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
    let mut reader = stream.try_clone().unwrap();
    let answer = std::thread::spawn(move || read_answer(&mut reader));
    let began = Instant::now();
    while !answer.is_finished() && stream.write_all(b"x").is_ok() {
        assert!(began.elapsed() < super::common::client::DEADLINE, "nobody gives up");
        std::thread::park_timeout(Duration::from_secs(1));
    }
    let answer = answer.join().unwrap();
    assert_eq!(answer.status, 408, "{}", answer.body);
}
