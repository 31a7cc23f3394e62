//! The guard of requests that the server sends for its clients, against names that change, redirects that lead inside, and
//! answers that do not end. All servers are real; only the look-up of names is the test's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::{
    collections::VecDeque,
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use common::receiver::{Answer, Received, Receiver};
use reqwest::header::HeaderMap;
use reverie::{
    config::EgressConfig,
    egress::{Egress, EgressError, Lookup},
};
use tokio::net::TcpListener;

/// Longest answer in these tests.
const MOST: usize = 1000;

/// A name server that gives each answer once, and the last one for ever, as one that rebinds does.
#[derive(Clone)]
struct Rebinding(Arc<Mutex<VecDeque<Vec<IpAddr>>>>);

impl Rebinding {
    fn new(answers: &[&[&str]]) -> Self {
        let read = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        Self(Arc::new(Mutex::new(answers.iter().map(read).collect())))
    }

    /// How many answers are left.
    fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

#[async_trait]
impl Lookup for Rebinding {
    async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.0.lock().unwrap();
        let next = answers.pop_front().unwrap_or_default();
        Ok(next)
    }
}

/// Allows 127.0.0.2, which stands for the internet here; 127.0.0.1 is inside.
fn config() -> EgressConfig {
    EgressConfig {
        allow_http: true,
        allowed_networks: vec!["127.0.0.2/32".parse().unwrap()],
        ..EgressConfig::default()
    }
}

/// A server outside and one inside, on the same port.
async fn outside_and_inside(
    answer: impl Fn(&Received) -> Answer + Send + Sync + 'static,
) -> (Receiver, Receiver) {
    let (outside, inside) = loop {
        let outside = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let port = outside.local_addr().unwrap().port();
        // Another program may have the port there.
        if let Ok(inside) = TcpListener::bind(("127.0.0.1", port)).await {
            break (outside, inside);
        }
    };
    (Receiver::on(outside, answer), Receiver::on(inside, |_| Answer::Body(b"secret".to_vec())))
}

async fn fetch(egress: &Egress, url: &str) -> Result<Bytes, EgressError> {
    egress.fetch(url.parse().unwrap(), MOST, |_| true).await
}

fn is_inner<T>(outcome: &Result<T, EgressError>) -> bool {
    matches!(outcome, Err(EgressError::Address { what: "loopback", .. }))
}

#[tokio::test]
async fn a_name_that_changes_its_address_gains_nothing() {
    let (outside, inside) = outside_and_inside(|_| Answer::Body(b"public".to_vec())).await;
    let names = Rebinding::new(&[&["127.0.0.2"], &["127.0.0.1"], &["127.0.0.1"]]);
    let egress = Egress::with_lookup(&config(), Arc::new(names.clone())).unwrap();
    let url = format!("http://rebind.example:{}/", outside.address.port());
    // The name is looked up once, and the connection goes to what was found and checked.
    assert_eq!(fetch(&egress, &url).await.unwrap(), "public");
    assert_eq!(names.left(), 2, "the name was looked up again");
    // The next request looks it up anew, and is refused before any connection.
    let refused = fetch(&egress, &url).await;
    assert!(is_inner(&refused), "{refused:?}");
    let posted = egress.post(url.parse().unwrap(), HeaderMap::new(), Bytes::new()).await;
    assert!(is_inner(&posted), "{posted:?}");
    assert_eq!((outside.connections(), inside.connections()), (1, 0));
}

#[tokio::test]
async fn a_name_with_one_inner_address_is_refused() {
    let (outside, inside) = outside_and_inside(|_| Answer::Body(b"public".to_vec())).await;
    let names = Rebinding::new(&[&["127.0.0.2", "127.0.0.1"], &["127.0.0.2", "::ffff:127.0.0.2"], &[]]);
    let egress = Egress::with_lookup(&config(), Arc::new(names)).unwrap();
    let url = format!("http://both.example:{}/", outside.address.port());
    assert!(is_inner(&fetch(&egress, &url).await));
    assert!(matches!(fetch(&egress, &url).await, Err(EgressError::Address { .. })));
    assert_eq!(fetch(&egress, &url).await, Err(EgressError::NoAddress("both.example".into())));
    assert_eq!((outside.connections(), inside.connections()), (0, 0));
}

#[tokio::test]
async fn redirects_are_checked_and_counted() {
    let answer = |request: &Received| match request.target.split_once("?to=") {
        Some((_, place)) => Answer::Redirect(place.to_owned()),
        None => match request.target[1..].parse::<u32>() {
            Ok(0) | Err(_) => Answer::Body(b"public".to_vec()),
            Ok(left) => Answer::Redirect(format!("/{}", left - 1)),
        },
    };
    let (outside, inside) = outside_and_inside(answer).await;
    let names = Rebinding::new(&[&["127.0.0.1"]]);
    let egress = Egress::with_lookup(&config(), Arc::new(names)).unwrap();
    assert_eq!(fetch(&egress, &outside.url("/3")).await.unwrap(), "public");
    assert_eq!(fetch(&egress, &outside.url("/4")).await, Err(EgressError::Redirects));
    let to = |place: &str| outside.url(&format!("/?to={place}"));
    // To an address inside, to a name that has one, and in other spellings.
    let port = outside.address.port();
    for place in [
        inside.url("/"),
        format!("http://inside.example:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://[::ffff:7f00:1]:{port}/"),
        format!("//127.0.0.1:{port}/"),
    ] {
        let refused = fetch(&egress, &to(&place)).await;
        assert!(matches!(refused, Err(EgressError::Address { .. })), "{place}: {refused:?}");
    }
    for place in ["ftp://127.0.0.2/", "file:///etc/passwd"] {
        assert!(fetch(&egress, &to(place)).await.is_err(), "{place}");
    }
    let credentials = fetch(&egress, &to(&format!("http://user:password@127.0.0.2:{port}/"))).await;
    assert_eq!(credentials, Err(EgressError::Credentials));
    assert_eq!(inside.connections(), 0);
    // What is posted goes nowhere else, wherever that would be.
    let posted = egress.post(outside.url("/1").parse().unwrap(), HeaderMap::new(), Bytes::new()).await;
    assert_eq!(posted, Ok(302));
}

#[tokio::test]
async fn a_host_that_is_not_listed_is_not_asked_after_a_redirect_either() {
    let (outside, _inside) = outside_and_inside(|_| Answer::Redirect("http://other.example/".into())).await;
    let allowed_hosts = vec!["listed.example".to_owned()];
    let names = Rebinding::new(&[&["127.0.0.2"], &["127.0.0.2"]]);
    let config = EgressConfig { allowed_hosts, ..config() };
    let egress = Egress::with_lookup(&config, Arc::new(names)).unwrap();
    let port = outside.address.port();
    let refused = fetch(&egress, &format!("http://listed.example:{port}/")).await;
    assert_eq!(refused, Err(EgressError::Host("other.example".into())));
    assert_eq!(outside.connections(), 1);
    let refused = fetch(&egress, &format!("http://other.example:{port}/")).await;
    assert_eq!(refused, Err(EgressError::Host("other.example".into())));
}

#[tokio::test]
async fn answers_are_bounded_in_size_and_time() {
    let chunked = || {
        let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for _ in 0..200 {
            bytes.extend_from_slice(b"A\r\n0123456789\r\n");
        }
        [bytes, b"0\r\n\r\n".to_vec()].concat()
    };
    let answer = move |request: &Received| match &*request.target {
        "/most" => Answer::Body(vec![7; MOST]),
        "/announced" => Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5000000000\r\n\r\n".to_vec()),
        "/chunked" => Answer::Raw(chunked()),
        "/broken" => Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nhalf".to_vec()),
        "/silent" => Answer::Silence,
        _ => Answer::Status(404),
    };
    let (outside, _inside) = outside_and_inside(answer).await;
    let egress = Egress::new(&config()).unwrap();
    let get = async |path: &str| fetch(&egress, &outside.url(path)).await;
    assert_eq!(get("/most").await.unwrap().len(), MOST);
    assert_eq!(get("/announced").await, Err(EgressError::TooLong(MOST)));
    assert_eq!(get("/chunked").await, Err(EgressError::TooLong(MOST)));
    assert_eq!(get("/nothing").await, Err(EgressError::Status(404)));
    assert!(matches!(get("/broken").await, Err(EgressError::Connection(_))));
    let mut room = 600;
    let no_room = egress.fetch(outside.url("/chunked").parse().unwrap(), 10 * MOST, |more| {
        room -= i64::try_from(more).unwrap();
        room >= 0
    });
    assert_eq!(no_room.await, Err(EgressError::NoRoom));
    let (began, hasty) = (Instant::now(), egress.clone().within(Duration::from_millis(300)));
    assert!(matches!(fetch(&hasty, &outside.url("/silent")).await, Err(EgressError::Timeout(_))));
    let posted = hasty.post(outside.url("/silent").parse().unwrap(), HeaderMap::new(), Bytes::new()).await;
    assert!(matches!(posted, Err(EgressError::Timeout(_))), "{posted:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_proxy_gets_every_request_and_looks_names_up() {
    let mut proxy = Receiver::start(|_| Answer::Body(b"through the proxy".to_vec())).await;
    let names = Rebinding::new(&[]);
    let config = EgressConfig { proxy: Some(proxy.url("")), ..config() };
    let egress = Egress::with_lookup(&config, Arc::new(names)).unwrap();
    assert_eq!(fetch(&egress, "http://images.example/a").await.unwrap(), "through the proxy");
    assert_eq!(proxy.next().await.target, "http://images.example/a");
    // What the URL itself shows is refused here.
    assert!(is_inner(&fetch(&egress, "http://127.0.0.1/").await));
    assert_eq!(proxy.connections(), 1);
}
