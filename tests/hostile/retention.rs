//! Erased is erased: a picture that cannot be deleted is deleted later, and what is on its way into the store while its
//! job is erased does not stay there.

use std::{
    fs,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use reqwest::Method;
use reverie::clock::Clock;
use reverie_engine::{CancelFlag, FinishedOctave, RenderError, RenderRequest, Renderer, Unencoded};
use serde_json::json;

use crate::common::{
    client::{problem, quick},
    picture,
    server::{Setup, renderer},
    until,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test]
async fn what_cannot_be_deleted_is_deleted_later() {
    let clock = Clock::driven(Clock::system().now());
    let setup = Setup::new().await;
    let server = Setup { clock: clock.clone(), ..setup }.start().await;
    let (stuck, other) = (
        server.client.submit(picture(64, 64), &quick()).await,
        server.client.submit(picture(64, 64), &quick()).await,
    );
    server.client.dream(&stuck).await;
    server.client.dream(&other).await;
    // A folder in its place cannot be deleted as a file.
    let place = server.state.config.storage.dir.join("inputs").join(&stuck);
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    clock.advance(DAY * 8);
    server.app.retention.round().await.unwrap_err();
    assert_eq!(server.blobs("inputs"), [stuck.as_str()], "one blob keeps the others");
    problem(server.client.get(&format!("/v1/jobs/{stuck}/result")).await, 410).await;
    fs::remove_dir(&place).unwrap();
    fs::write(&place, "picture").unwrap();
    clock.advance(Duration::from_secs(60));
    assert_eq!(server.app.retention.round().await.unwrap().pictures, 1);
    assert!(server.blobs("inputs").is_empty(), "it stays until the job is forgotten");
    assert_eq!(server.app.retention.round().await.unwrap().pictures, 0, "once is enough");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_its_way_does_not_outlive_its_job() {
    let real = renderer();
    let (go_on, told) = mpsc::channel::<()>();
    let told = Arc::new(Mutex::new(told));
    let renderer = Renderer::start_with("cpu".into(), 1, move || {
        let (real, told) = (real.clone(), Arc::clone(&told));
        move |mut request: RenderRequest| -> Result<Unencoded, RenderError> {
            match request.on_octave.take() {
                // A render that is deaf to being canceled for a while, and finishes an octave then; or the whole dream.
                Some(mut on_octave) if matches!(request.spec.seed, 13 | 14) => {
                    told.lock().unwrap().recv().unwrap();
                    let (checkpoint, preview) = (vec![1; 1000], vec![2; 1000]);
                    on_octave(FinishedOctave { octave: 1, octaves: 2, checkpoint, preview });
                    if request.spec.seed == 13 {
                        return Err(RenderError::Canceled);
                    }
                    (request.cancel, request.on_progress) = (CancelFlag::default(), Box::new(|_| {}));
                    real.submit(request)?.blocking_recv().unwrap_or(Err(RenderError::Stopped))
                }
                on_octave => {
                    request.on_octave = on_octave;
                    real.submit(request)?.blocking_recv().unwrap_or(Err(RenderError::Stopped))
                }
            }
        }
    })
    .unwrap();
    let mut setup = Setup::new().await;
    // Beats would find out too, and sooner or later by chance.
    setup.config.queue.lease = Duration::from_secs(3600);
    let server = Setup { renderer: Some(renderer), ..setup }.start().await;
    let mut kept = Vec::new();
    for seed in [13, 14] {
        let mut spec = quick();
        spec["seed"] = json!(seed);
        let id = server.client.submit(picture(64, 64), &spec).await;
        server.client.job_until(&id, |job| job["status"] == "running").await;
        // The worker does not let go in time.
        let erased = server.client.request(Method::DELETE, &format!("/v1/jobs/{id}")).await;
        assert_eq!(erased.status(), 204);
        go_on.send(()).unwrap();
        // The worker is done with it when it does the next one.
        let next = server.client.submit(picture(64, 64), &quick()).await;
        server.client.dream(&next).await;
        kept.push(next);
        // What is stored in a task of its own may be deleted a moment later.
        for (folder, left) in
            [("checkpoints", 0), ("previews", 0), ("inputs", kept.len()), ("results", kept.len())]
        {
            let what = format!("nothing of an erased job is in {folder}");
            until(&what, async || server.blobs(folder).len() == left).await;
        }
    }
}
