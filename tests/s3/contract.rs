//! What every blob store must do, as one list of cases that runs on each of them.

use bytes::Bytes;
use futures::TryStreamExt;
use reverie::{
    clock::Clock,
    jobs::JobId,
    objects::{ObjectError, ObjectKey, Objects},
};
use std::{collections::HashSet, time::Duration};
use uuid::Uuid;

use crate::server::{BUCKET, S3Server};

/// Bytes of which no part looks like another.
pub fn noise(length: usize) -> Bytes {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn is_missing<T>(outcome: Result<T, ObjectError>) -> bool {
    matches!(outcome, Err(ObjectError::NotFound(_)))
}

async fn read(object: reverie::objects::Object) -> Vec<u8> {
    object.stream.try_collect::<Vec<_>>().await.unwrap().concat()
}

async fn blobs_come_back_as_they_went(objects: &Objects) {
    let key = ObjectKey::Input(JobId::new());
    for size in [0, 1, 100_000] {
        let bytes = noise(size);
        objects.put(key, bytes.clone()).await.unwrap();
        assert_eq!(objects.get(key).await.unwrap(), bytes);
        assert_eq!(objects.size(key).await.unwrap(), size as u64);
        let opened = objects.open(key).await.unwrap();
        assert_eq!(opened.size, size as u64);
        assert_eq!(read(opened).await, bytes);
    }
}

async fn large_blobs_come_back_as_they_went(objects: &Objects) {
    let key = ObjectKey::Result(JobId::new(), Uuid::new_v4());
    // More than goes in one piece, and no multiple of a part.
    let bytes = noise((20 << 20) + 12_345);
    objects.put(key, bytes.clone()).await.unwrap();
    assert!(objects.get(key).await.unwrap() == bytes, "it is another");
    let part = objects.open_range(key, 8_388_600..8_388_620).await.unwrap();
    assert_eq!(read(part).await, bytes[8_388_600..8_388_620]);
}

async fn parts_are_what_was_asked_for(objects: &Objects) {
    let key = ObjectKey::Result(JobId::new(), Uuid::new_v4());
    let bytes = noise(10_000);
    objects.put(key, bytes.clone()).await.unwrap();
    for range in [0..1, 0..10_000, 9_999..10_000, 1234..5678] {
        let part = objects.open_range(key, range.start as u64..range.end as u64).await.unwrap();
        assert_eq!(part.size, range.len() as u64);
        assert_eq!(read(part).await, bytes[range]);
    }
}

async fn what_is_not_there_is_missing(objects: &Objects) {
    let key = ObjectKey::Preview(JobId::new());
    assert!(is_missing(objects.get(key).await));
    assert!(is_missing(objects.open(key).await));
    assert!(is_missing(objects.open_range(key, 0..1).await));
    assert!(is_missing(objects.size(key).await));
    objects.delete(key).await.unwrap();
    objects.put(key, noise(10)).await.unwrap();
    objects.delete(key).await.unwrap();
    objects.delete(key).await.unwrap();
    assert!(is_missing(objects.get(key).await));
}

async fn the_last_one_wins(objects: &Objects) {
    let job = JobId::new();
    let (key, other) = (ObjectKey::Checkpoint(job), ObjectKey::Preview(job));
    objects.put(other, noise(3)).await.unwrap();
    objects.put(key, noise(5000)).await.unwrap();
    objects.put(key, noise(20)).await.unwrap();
    assert_eq!(objects.get(key).await.unwrap(), noise(20));
    assert_eq!(objects.get(other).await.unwrap(), noise(3));
}

async fn many_go_at_once(objects: &Objects) {
    let mut keys = Vec::new();
    for _ in 0..5 {
        let job = JobId::new();
        objects.put(ObjectKey::Input(job), noise(10)).await.unwrap();
        // The second was never there.
        keys.extend([ObjectKey::Input(job), ObjectKey::Mask(job)]);
    }
    let kept = keys.pop().map(|_| keys.pop().unwrap()).unwrap();
    objects.delete_all(keys.clone()).await.unwrap();
    for key in keys {
        assert!(is_missing(objects.get(key).await), "{key}");
    }
    assert_eq!(objects.get(kept).await.unwrap(), noise(10));
    objects.delete_all(Vec::new()).await.unwrap();
}

async fn old_ones_are_found(objects: &Objects) {
    let job = JobId::new();
    let all = [
        ObjectKey::Input(job),
        ObjectKey::Mask(job),
        ObjectKey::Result(job, Uuid::new_v4()),
        ObjectKey::Checkpoint(job),
        ObjectKey::Preview(job),
    ];
    for key in all {
        objects.put(key, noise(1)).await.unwrap();
    }
    let now = Clock::system().now();
    let hour = Duration::from_secs(3600);
    let found: HashSet<ObjectKey> = objects.older_than(now + hour).try_collect().await.unwrap();
    assert!(all.iter().all(|key| found.contains(key)), "{found:?}");
    let found: Vec<ObjectKey> = objects.older_than(now - hour).try_collect().await.unwrap();
    assert!(found.is_empty(), "{found:?}");
}

async fn every_case(objects: &Objects) {
    objects.check().await.unwrap();
    blobs_come_back_as_they_went(objects).await;
    large_blobs_come_back_as_they_went(objects).await;
    parts_are_what_was_asked_for(objects).await;
    what_is_not_there_is_missing(objects).await;
    the_last_one_wins(objects).await;
    many_go_at_once(objects).await;
    old_ones_are_found(objects).await;
}

#[tokio::test]
async fn a_disk_does_all_that() {
    let folder = tempfile::tempdir().unwrap();
    every_case(&Objects::local(folder.path()).unwrap()).await;
}

#[tokio::test]
async fn a_bucket_does_all_that() {
    let s3 = S3Server::start().await;
    let (config, credentials) = (s3.config(), S3Server::credentials());
    let objects = Objects::bucket(BUCKET, "", &config, credentials.clone()).await.unwrap();
    every_case(&objects).await;
    let seen = s3.visible();
    // A store below a prefix sees nothing of the others, and they nothing of it.
    let below = Objects::bucket(BUCKET, "team/a", &config, credentials).await.unwrap();
    every_case(&below).await;
    let added: Vec<String> = s3.visible().into_iter().filter(|name| !seen.contains(name)).collect();
    assert!(!added.is_empty() && added.iter().all(|name| name.starts_with("team/a/")), "{added:?}");
}
