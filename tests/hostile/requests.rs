//! Requests that are long where nobody expects it: names, mistakes, JSON, headers, queries.

use std::time::Duration;

use super::target::{FORM, Target, form, post, send, send_part};

/// The longest that one request may hold a thread that serves others too.
const HOLD: Duration = Duration::from_millis(50);

/// The longest refusal.
const ANSWER: usize = 64 * 1024;

/// What a request of a few megabytes may cost.
const MEMORY: u64 = 50 << 20;

/// JSON members with names that nothing has, of so many bytes in all.
fn unknown_names(bytes: usize) -> String {
    let members: Vec<String> = (0..bytes / 12).map(|index| format!("\"u{index:06x}\":1")).collect();
    format!("{{{}}}", members.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_names_cost_no_more_than_their_text() {
    let target = Target::start(&[]).await;
    let (small, large) = (unknown_names(250_000), unknown_names(8_000_000));
    let in_json = |spec: &str| format!("{{\"image\":\"data:,x\",\"spec\":{spec}}}").into_bytes();
    let before = target.peak_memory();
    target.held_less_than(HOLD, || {
        for (content_type, body, status) in [
            (FORM, form(&[("image", "x"), ("spec", &small)]), 422),
            ("application/json", in_json(&small), 422),
            ("application/json", small.clone().into_bytes(), 422),
            (FORM, form(&[("image", "x"), ("spec", &large)]), 413),
            ("application/json", in_json(&large), 413),
            ("application/json", large.clone().into_bytes(), 413),
        ] {
            let answer = post(target.address(), content_type, &body);
            assert_eq!(answer.status, status, "{}", answer.body);
            assert!(answer.bytes <= ANSWER, "{} bytes for {}", answer.bytes, body.len());
            assert!(answer.body["detail"].as_str().unwrap().len() < 500);
            if status == 422 {
                assert_eq!(answer.body["errors"].as_array().unwrap().len(), 64);
            }
        }
    });
    let cost = target.peak_memory() - before;
    assert!(cost <= MEMORY, "{} MB", cost >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_names_are_refused_before_they_are_compared() {
    let target = Target::start(&[]).await;
    let spec = |name: &str| {
        format!(
            "{{\"model\":\"{name}\",\"preset\":\"{name}\",\"step\":\"{name}\",\
             \"objectives\":[{{\"layer\":\"{name}\"}},{{\"kind\":\"{name}\"}}]}}"
        )
    };
    target.held_less_than(HOLD, || {
        let (long, huge) = ("l".repeat(50_000), "l".repeat(5_000_000));
        for (name, status) in [(&long, 422), (&huge, 413)] {
            let body = form(&[("image", "x"), ("spec", &spec(name))]);
            let attackers: Vec<_> = (0..3)
                .map(|_| {
                    let (address, body) = (target.address(), body.clone());
                    std::thread::spawn(move || post(address, FORM, &body))
                })
                .collect();
            for attacker in attackers {
                let answer = attacker.join().unwrap();
                assert_eq!(answer.status, status, "{}", answer.body);
                assert!(answer.bytes < 4096, "{}", answer.body);
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_holds_no_picture_is_short() {
    let target = Target::start(&[]).await;
    let before = target.peak_memory();
    let numbers = format!("[{}1]", "1,".repeat(15_500_000));
    target.held_less_than(HOLD, || {
        for body in [
            format!("{{\"spec\":{numbers}}}"),
            numbers.clone(),
            format!("{{\"priority\":\"{}\"}}", "9".repeat(31_000_000)),
        ] {
            let answer = post(target.address(), "application/json", body.as_bytes());
            assert_eq!(answer.status, 413, "{}", answer.body);
            assert!(
                answer.body["detail"].as_str().unwrap().contains("262144 bytes of JSON"),
                "{}",
                answer.body
            );
        }
    });
    // The text itself, in pieces and as a whole, and nothing that is made of it.
    let cost = target.peak_memory() - before;
    assert!(cost <= 62_000_000 + MEMORY, "{} MB", cost >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_is_refused_before_it_is_all_there() {
    let target = Target::start(&[]).await;
    let numbers = format!("{{\"spec\":[{}", "1,".repeat(200_000));
    // A part of it, or nothing; the rest never comes.
    for (content_type, length, part) in
        [("application/json", 31_000_000, numbers.as_bytes()), (FORM, 100_000_000, b"")]
    {
        let head = format!(
            "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {length}"
        );
        assert_eq!(send_part(target.address(), &head, part), 413, "{content_type}");
    }
}

/// What takes long for a body of allowed length: base64 of many megabytes, and lists of many numbers.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_unpacked_and_checked_beside_the_requests() {
    let target = Target::start(&[]).await;
    let picture = format!("{{\"image\":\"data:;base64,{}\"}}", "A".repeat(31_000_000));
    let channels =
        format!("{{\"objectives\":[{{\"layer\":\"block2\",\"channels\":[{}0]}}]}}", "0,".repeat(125_000));
    target.held_less_than(HOLD, || {
        for (content_type, body) in [
            ("application/json", picture.clone().into_bytes()),
            (FORM, form(&[("image", "x"), ("spec", &channels)])),
        ] {
            let answer = post(target.address(), content_type, &body);
            assert_eq!(answer.status, 415, "{}", answer.body);
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_repeated_in_an_answer_is_cut() {
    let target = Target::start(&[]).await;
    let address = target.address();
    let host = "HTTP/1.1\r\nHost: localhost";
    let (long, many) = ("x".repeat(30_000), "a=1&".repeat(7_500));
    let priority = form(&[("priority", &long)]);
    let parts: Vec<(&str, &str)> = (0..60).map(|_| (&*long, "1")).collect();
    target.held_less_than(HOLD, || {
        for (head, body, status, most) in [
            (format!("GET /v1/models/{long} {host}"), Vec::new(), 404, 40_000),
            (format!("GET /v1/jobs/{long} {host}"), Vec::new(), 404, 40_000),
            (format!("GET /v1/jobs?{many} {host}"), Vec::new(), 422, ANSWER),
            (format!("GET /v1/jobs?cursor={long}&status={long} {host}"), Vec::new(), 422, 4096),
            (format!("POST /v1/jobs?{many} {host}\r\nContent-Length: 0"), Vec::new(), 422, ANSWER),
            (
                format!("POST /v1/jobs {host}\r\nContent-Length: 0\r\nContent-Type: a/{long}"),
                Vec::new(),
                415,
                4096,
            ),
            (
                format!("POST /v1/jobs {host}\r\nContent-Length: 0\r\nContent-Encoding: {long}"),
                Vec::new(),
                415,
                4096,
            ),
            (
                format!("POST /v1/jobs {host}\r\nContent-Length: 0\r\nCancel-After: {long}"),
                Vec::new(),
                400,
                4096,
            ),
            // A number of 30 kB is not read to find out which.
            (
                format!("POST /v1/jobs {host}\r\nContent-Type: {FORM}\r\nContent-Length: {}", priority.len()),
                priority.clone(),
                400,
                4096,
            ),
            (format!("GET /healthz {host}\r\nX-Long: {}", long.repeat(10)), Vec::new(), 431, 4096),
            (
                format!(
                    "POST /v1/jobs {host}\r\nContent-Type: {FORM}\r\nContent-Length: {}",
                    form(&parts).len()
                ),
                form(&parts),
                422,
                ANSWER,
            ),
        ] {
            let answer = send(address, &head, &body);
            assert_eq!(answer.status, status, "{}: {}", &head[..40], answer.body);
            assert!(answer.bytes <= most, "{}: {} bytes", &head[..40], answer.bytes);
        }
        let parts: Vec<(&str, &str)> = (0..100_000).map(|_| ("u", "1")).collect();
        assert_eq!(post(address, FORM, &form(&parts)).status, 400);
    });
}
