//! Bodies: many at once, and slow ones.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use super::{
    common::{client::quick, picture},
    target::{FORM, Target, connect, read_answer},
};

#[tokio::test(flavor = "multi_thread")]
async fn bodies_in_flight_take_no_more_memory_than_configured() {
    const ROOM: u64 = 64 << 20;
    let target = Target::start(&[("REVERIE__LIMITS__MAX_UPLOADS_MB", "64")]).await;
    let before = target.peak_memory();
    let address = target.address();
    // Sixty clients that send 30 MB each and never finish.
    let attackers: Vec<_> = (0..60)
        .map(|_| {
            std::thread::spawn(move || {
                let mut stream = connect(address);
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
                // Refused by now, or held: whoever is held is not answered, so only look.
                stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
                let mut status = [0; 12];
                let refused = stream.read(&mut status).is_ok_and(|read| read == 12 && status.ends_with(b"503"));
                (stream, refused)
            })
        })
        .collect();
    let attackers: Vec<_> = attackers.into_iter().map(|attacker| attacker.join().unwrap()).collect();
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
