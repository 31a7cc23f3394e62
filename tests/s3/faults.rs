//! A bucket that refuses, is silent, breaks off, or is not there.

use std::time::{Duration, Instant};

use futures::future::join_all;
use hyper::http::{Method, request::Parts};
use object_store::aws::AmazonS3Builder;
use reverie::{
    clock::Clock,
    config::{RetentionConfig, S3Config},
    jobs::{JobId, JobQueue, QueueOptions, sqlite::SqliteQueue},
    objects::{ObjectError, ObjectKey, Objects},
    worker::Retention,
};
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    common::{client::DEADLINE, ports::ReservedPort},
    contract::noise,
    server::{BUCKET, Fault, KEY, S3Server, SECRET, any},
};

async fn open(s3: &S3Server) -> Objects {
    Objects::bucket(BUCKET, "", &s3.config(), S3Server::credentials()).await.unwrap()
}

fn puts(parts: &Parts) -> bool {
    parts.method == Method::PUT
}

#[tokio::test]
async fn what_fails_now_and_then_is_tried_again() {
    let s3 = S3Server::start().await;
    let objects = open(&s3).await;
    let key = ObjectKey::Input(JobId::new());
    for fault in [Fault::Busy, Fault::CutUpload] {
        s3.spoil(fault, 2, puts);
        objects.put(key, noise(5000)).await.unwrap();
    }
    s3.spoil(Fault::Busy, 2, any);
    assert_eq!(objects.get(key).await.unwrap(), noise(5000));
    // An answer that breaks off goes on where it was, or begins anew where nothing of it had come.
    let asked = || s3.requests().iter().filter(|request| request.starts_with("GET /dreams/inputs/")).count();
    let before = asked();
    s3.spoil(Fault::CutDownload, 2, any);
    assert_eq!(objects.get(key).await.unwrap(), noise(5000));
    assert_eq!(asked() - before, 3, "{:?}", s3.requests());
    s3.spoil(Fault::Busy, 2, any);
    objects.delete_all(vec![key]).await.unwrap();
    assert!(s3.visible().is_empty());
}

#[tokio::test]
async fn what_goes_on_failing_is_given_up() {
    let s3 = S3Server::start().await;
    let objects = open(&s3).await;
    let key = ObjectKey::Input(JobId::new());
    objects.put(key, noise(10)).await.unwrap();
    for fault in [Fault::Busy, Fault::Stall] {
        s3.spoil(fault, usize::MAX, any);
        let began = Instant::now();
        for outcome in [
            objects.put(key, noise(10)).await,
            objects.get(key).await.map(drop),
            objects.delete(key).await,
            objects.delete_all(vec![key]).await,
        ] {
            let error = outcome.unwrap_err();
            assert!(error.is_down() && !error.is_full(), "{fault:?}: {error}");
        }
        // Each at most the time for tries, plus one wait and one time limit.
        assert!(began.elapsed() < Duration::from_secs(4 * 8), "{:?}", began.elapsed());
    }
    s3.spoil(Fault::Full, usize::MAX, puts);
    let error = objects.put(key, noise(10)).await.unwrap_err();
    assert!(error.is_full() && !error.is_down(), "{error}");
    s3.heal();
    assert_eq!(objects.get(key).await.unwrap(), noise(10));
}

#[tokio::test]
async fn half_an_upload_is_never_seen() {
    let s3 = S3Server::start().await;
    let objects = open(&s3).await;
    let key = ObjectKey::Result(JobId::new(), Uuid::new_v4());
    s3.spoil(Fault::CutUpload, usize::MAX, puts);
    assert!(objects.put(key, noise(1 << 20)).await.unwrap_err().is_down());
    // In parts: the first one that cannot be sent ends it. On a busy machine the time for tries may be over before that.
    let in_parts = |request: &String| request.contains("partNumber=");
    while !s3.requests().iter().any(in_parts) {
        assert!(objects.put(key, noise(20 << 20)).await.unwrap_err().is_down());
    }
    assert!(s3.visible().is_empty(), "{:?}", s3.visible());
    assert!(matches!(objects.get(key).await, Err(ObjectError::NotFound(_))));
    let tidied = |request: &String| request.starts_with("DELETE") && request.contains("uploadId=");
    assert!(s3.requests().iter().any(tidied), "{:?}", s3.requests());
    s3.heal();
    objects.put(key, noise(20 << 20)).await.unwrap();
    assert_eq!(s3.visible(), [key.to_string()]);
}

#[tokio::test]
async fn an_upload_that_changes_on_its_way_is_refused() {
    let s3 = S3Server::start().await;
    let objects = open(&s3).await;
    s3.spoil(Fault::Corrupt, usize::MAX, puts);
    let error = objects.put(ObjectKey::Input(JobId::new()), noise(5000)).await.unwrap_err();
    assert!(error.is_down(), "{error}");
}

#[tokio::test]
async fn a_mistake_in_the_settings_is_named_at_once() {
    let s3 = S3Server::start().await;
    let config = S3Config { start: Duration::from_secs(600), ..s3.config() };
    let credentials = |secret| AmazonS3Builder::new().with_access_key_id(KEY).with_secret_access_key(secret);
    let stranger = credentials(SECRET).with_access_key_id("stranger");
    for (bucket, credentials, reason) in [
        ("nightmares", credentials(SECRET), "NoSuchBucket"),
        (BUCKET, credentials("another-secret"), "SignatureDoesNotMatch"),
        (BUCKET, stranger, "NotSignedUp"),
    ] {
        let opened = timeout(DEADLINE, Objects::bucket(bucket, "", &config, credentials)).await.unwrap();
        let error = opened.unwrap_err();
        assert!(matches!(error, ObjectError::Refused { .. }), "{error}");
        let text = error.to_string();
        let named = [bucket, s3.url.as_str(), reason, "storage.objects", "AWS_ACCESS_KEY_ID"];
        assert!(named.iter().all(|part| text.contains(part)), "{text}");
        assert!(!text.contains(SECRET) && !text.contains("another-secret"), "{text}");
    }
}

#[tokio::test]
async fn a_store_that_is_not_there_yet_is_waited_for() {
    let s3 = S3Server::start().await;
    // Requests are not tried again here: each of these ends a try of the whole.
    s3.spoil(Fault::Busy, 4, any);
    let config = S3Config { start: DEADLINE, retry: Duration::ZERO, ..s3.config() };
    Objects::bucket(BUCKET, "", &config, S3Server::credentials()).await.unwrap();
    let refused = s3.requests().len();
    assert!(refused > 4, "{refused}");

    let nobody = ReservedPort::new();
    let config = S3Config { endpoint: nobody.url(), ..s3.config() };
    let error = Objects::bucket(BUCKET, "", &config, S3Server::credentials()).await.unwrap_err();
    assert!(matches!(error, ObjectError::Away { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&nobody.to_string()) && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn however_many_ask_the_store_is_asked_once() {
    let s3 = S3Server::start().await;
    let objects = open(&s3).await;
    let before = s3.requests().len();
    for answer in join_all((0..200).map(|_| objects.check())).await {
        answer.unwrap();
    }
    // A blob is stored and deleted.
    assert_eq!(s3.requests().len(), before + 2);
    // Good news is believed for some seconds, and bad news for one.
    s3.spoil(Fault::Busy, usize::MAX, any);
    let until = async |wanted: bool| {
        while objects.check().await.is_ok() != wanted {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(DEADLINE, until(false)).await.unwrap();
    let error = objects.check().await.unwrap_err();
    assert!(error.to_string().contains("SlowDown: not now"), "{error}");
    s3.heal();
    timeout(DEADLINE, until(true)).await.unwrap();
    s3.spoil(Fault::Stall, usize::MAX, any);
    timeout(DEADLINE, until(false)).await.unwrap();
}

#[tokio::test]
async fn pictures_without_a_job_are_swept() {
    let s3 = S3Server::start().await;
    let objects = open(&s3).await;
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::driven(Clock::system().now());
    let lease = Duration::from_secs(30);
    let options = QueueOptions {
        capacity: 10,
        lease,
        max_attempts: 3,
        clock: clock.clone(),
        tenants: Default::default(),
    };
    let queue = SqliteQueue::open(&folder.path().join("jobs"), options).await.unwrap();
    let queue: std::sync::Arc<dyn JobQueue> = std::sync::Arc::new(queue);
    for _ in 0..3 {
        objects.put(ObjectKey::Input(JobId::new()), noise(10)).await.unwrap();
    }
    let retention = Retention::new(queue, objects, RetentionConfig::default(), clock.clone());
    assert_eq!(retention.orphans().await.unwrap(), 0);
    clock.advance(Duration::from_secs(25 * 3600));
    let before = s3.requests().len();
    assert_eq!(retention.orphans().await.unwrap(), 3);
    assert!(s3.visible().is_empty());
    let requests = &s3.requests()[before..];
    let deletes = requests.iter().filter(|request| request.starts_with("POST")).count();
    assert_eq!(deletes, 1, "{requests:?}");
}
