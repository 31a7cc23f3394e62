//! Wanted tiles: bounded, rendered by one worker at a time, given back, forgotten.

use super::*;
use reverie::{
    jobs::{MOST_WANTED, Wanted},
    tile::Tile,
};

fn tile(channel: u32) -> Tile {
    Tile { model: "a".into(), layer: "block1".into(), channel: Some(channel) }
}

fn models() -> [String; 1] {
    ["a".to_owned()]
}

pub async fn tiles_are_wanted_once_and_within_a_bound(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let queue = &bench.queue;
    for _ in 0..2 {
        assert_eq!(queue.want_tile(&tile(0)).await.unwrap(), Wanted::Waiting);
    }
    assert_eq!(queue.tiles_wanted().await.unwrap(), 1);
    for channel in 1..MOST_WANTED {
        assert_eq!(queue.want_tile(&tile(channel)).await.unwrap(), Wanted::Waiting);
    }
    assert_eq!(queue.want_tile(&tile(MOST_WANTED)).await.unwrap(), Wanted::Full);
    assert_eq!(queue.want_tile(&tile(3)).await.unwrap(), Wanted::Waiting);
    assert_eq!(queue.tiles_wanted().await.unwrap(), u64::from(MOST_WANTED));
    // One that is rendered makes room, and whoever waits for it hears of that.
    let claimed = queue.claim_tile(&models()).await.unwrap().unwrap();
    let mut changes = queue.signals().follow_tile(claimed.id());
    queue.tile_rendered(claimed.id()).await.unwrap();
    changes.changed().await;
    assert_eq!(queue.want_tile(&tile(MOST_WANTED)).await.unwrap(), Wanted::Waiting);
    // Jobs have a queue of their own.
    bench.add().await;
    bench.claim().await;
}

pub async fn a_tile_is_rendered_by_one_worker_at_a_time(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let queue = &bench.queue;
    let whole = Tile { channel: None, ..tile(0) };
    queue.want_tile(&whole).await.unwrap();
    bench.pass(Duration::from_millis(1));
    queue.want_tile(&tile(7)).await.unwrap();
    // The first one first; none of a model that the worker does not have.
    assert_eq!(queue.claim_tile(&["b".to_owned()]).await.unwrap(), None);
    assert_eq!(queue.claim_tile(&models()).await.unwrap(), Some(whole.clone()));
    assert_eq!(queue.claim_tile(&models()).await.unwrap(), Some(tile(7)));
    assert_eq!(queue.claim_tile(&models()).await.unwrap(), None);
    // Given up for a job any number of times, it is still wanted.
    for _ in 0..5 {
        queue.release_tile(whole.id(), false).await.unwrap();
        assert_eq!(queue.claim_tile(&models()).await.unwrap(), Some(whole.clone()));
    }
    // A worker that is lost keeps its tile for a while only.
    bench.pass(Duration::from_secs(61));
    assert_eq!(queue.claim_tile(&models()).await.unwrap(), Some(whole.clone()));
    // The lost attempt counted, and so do two that fail.
    queue.release_tile(whole.id(), true).await.unwrap();
    assert_eq!(queue.want_tile(&whole).await.unwrap(), Wanted::Waiting);
    assert_eq!(queue.claim_tile(&models()).await.unwrap(), Some(whole.clone()));
    queue.release_tile(whole.id(), true).await.unwrap();
    assert_eq!(queue.want_tile(&whole).await.unwrap(), Wanted::Failed);
    assert_eq!(queue.claim_tile(&models()).await.unwrap(), Some(tile(7)));
    queue.tile_rendered(tile(7).id()).await.unwrap();
    assert_eq!(queue.claim_tile(&models()).await.unwrap(), None);
    // An hour later it may be tried anew.
    bench.pass(Duration::from_secs(60 * 60));
    queue.want_tile(&tile(9)).await.unwrap();
    assert_eq!(queue.want_tile(&whole).await.unwrap(), Wanted::Waiting);
    assert_eq!(queue.tiles_wanted().await.unwrap(), 2);
}
