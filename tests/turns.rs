//! What the two workers of a GPU do at the same time. The renderer says that it has a GPU's memory, and is a CPU.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use common::{
    client::{DEADLINE, quick},
    picture,
    server::{Setup, TestServer, renderer},
};
use reqwest::Method;
use reverie_dream::progress::Progress;
use reverie_engine::{RenderError, RenderRequest, Renderer, Unencoded};
use serde_json::{Value, json};

/// The seed of the job that meets a device that breaks.
const BREAKS: u64 = 7;

/// Longer than any test.
const LEASE: Duration = Duration::from_secs(3600);

/// The seed of jobs that stay on the device, nearly done, until they are told to go on.
const STAYS: u64 = 8;

/// A server whose renderer hands `render` every job, with a way to really render. It practises nothing.
async fn server(
    lease: Duration,
    render: impl Fn(RenderRequest, &Renderer) -> Result<Unencoded, RenderError> + Clone + Send + 'static,
) -> TestServer {
    let real = renderer();
    let renderer = Renderer::start_with("cpu".into(), 1, move || {
        let (real, render) = (real.clone(), render.clone());
        move |request: RenderRequest| render(request, &real)
    });
    let renderer = renderer.unwrap().with_memory(Some(80 << 30));
    let mut setup = Setup { renderer: Some(renderer), ..Setup::new().await };
    setup.config.worker.practice = false;
    setup.config.queue.lease = lease;
    setup.start().await
}

fn rendered(request: RenderRequest, real: &Renderer) -> Result<Unencoded, RenderError> {
    real.submit(request)?.blocking_recv().unwrap_or(Err(RenderError::Stopped))
}

fn is_job(request: &RenderRequest) -> bool {
    request.on_begin.is_some()
}

async fn submit(server: &TestServer, seed: u64) -> String {
    let mut spec = quick();
    spec["seed"] = seed.into();
    server.client.submit(picture(64, 64), &spec).await
}

/// Waits for what a render tells, without a thread of the server's.
async fn told<T: Send + 'static>(told: &Arc<Mutex<mpsc::Receiver<T>>>) -> T {
    let told = Arc::clone(told);
    tokio::task::spawn_blocking(move || told.lock().unwrap().recv_timeout(DEADLINE).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_on_the_device_while_the_one_before_is_stored() {
    let (tell, begun) = mpsc::channel();
    let begun = Arc::new(Mutex::new(begun));
    let server = server(LEASE, move |request, real| {
        if is_job(&request) {
            // Decoded by its worker, not by the renderer.
            tell.send((request.spec.seed, request.decoded.is_some() && request.input.is_none())).unwrap();
        }
        rendered(request, real)
    })
    .await;
    assert_eq!(server.state.workers_alive(), 1, "it is one renderer");
    // Nothing can be stored, and each worker tries for the time of a lease.
    let results = server.state.config.storage.dir.join("results");
    let away = results.with_extension("away");
    std::fs::rename(&results, &away).unwrap();
    std::fs::write(&results, "").unwrap();
    let ids = [submit(&server, 1).await, submit(&server, 2).await];
    assert_eq!(told(&begun).await, (1, true));
    assert_eq!(told(&begun).await, (2, true));
    for id in &ids {
        assert_eq!(server.client.job(id).await["status"], "running");
    }
    std::fs::remove_file(&results).unwrap();
    std::fs::rename(&away, &results).unwrap();
    let dreams = [server.client.dream(&ids[0]).await, server.client.dream(&ids[1]).await];
    for id in &ids {
        assert_eq!(server.client.job(id).await["attempt"], 1);
    }
    // As they are from workers that do one after the other.
    let alone = TestServer::start().await;
    for (seed, dream) in [(1, &dreams[0]), (2, &dreams[1])] {
        let id = submit(&alone, seed).await;
        assert!(alone.client.dream(&id).await == *dream, "seed {seed} gives another dream");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_waits_for_a_device_that_breaks_goes_back_unharmed() {
    let broken = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&broken);
    let met_it = Arc::new(Mutex::new(Vec::<u64>::new()));
    let met = Arc::clone(&met_it);
    let (tell, begun) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let (begun, gate) = (Arc::new(Mutex::new(begun)), Arc::new(Mutex::new(gate)));
    let server = server(LEASE, move |mut request, real| {
        let failure = || RenderError::Engine("CUDA error: an illegal memory access was encountered".into());
        if is_job(&request) && request.spec.seed == BREAKS && !switch.load(Ordering::SeqCst) {
            let mut tell_progress =
                |fraction| (request.on_progress)(Progress { fraction, ..Progress::default() });
            tell_progress(0.5);
            // Nearly done: the other worker looks for a job.
            tell_progress(1.0);
            tell.send(()).unwrap();
            if gate.lock().unwrap().recv_timeout(DEADLINE).is_ok() {
                switch.store(true, Ordering::SeqCst);
                return Err(failure());
            }
        }
        if switch.load(Ordering::SeqCst) {
            if is_job(&request) {
                met.lock().unwrap().push(request.spec.seed);
            }
            return Err(failure());
        }
        rendered(request, real)
    })
    .await;
    let breaks = submit(&server, BREAKS).await;
    told(&begun).await;
    let waits = submit(&server, 1).await;
    server.client.job_until(&waits, |job| job["status"] == "running").await;
    go.send(()).unwrap();
    server.client.until_not_ready().await;
    for id in [&breaks, &waits] {
        let job = server.client.job_until(id, |job| job["status"] == "queued").await;
        assert_eq!((&job["attempt"], &job["error"]), (&json!(0), &Value::Null), "{job}");
    }
    assert!(met_it.lock().unwrap().is_empty(), "a job came to a device that was known to be sick");
    // From now on the device is well.
    drop(go);
    broken.store(false, Ordering::SeqCst);
    for id in [&breaks, &waits] {
        server.client.dream(id).await;
        assert_eq!(server.client.job(id).await["attempt"], 1);
    }
    assert_eq!(
        (server.client.get("/readyz").await.status().as_u16(), server.state.workers_alive()),
        (200, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_lasts_as_long_as_the_render_whatever_becomes_of_its_job() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let order = Arc::clone(&seen);
    let (tell, begun) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let (begun, gate) = (Arc::new(Mutex::new(begun)), Arc::new(Mutex::new(gate)));
    // With beats every two seconds, its worker soon knows what became of a job.
    let server = server(Duration::from_secs(6), move |mut request, real| {
        if is_job(&request) {
            order.lock().unwrap().push(request.spec.seed);
        }
        if request.spec.seed == STAYS {
            for fraction in [0.5, 1.0] {
                (request.on_progress)(Progress { fraction, ..Progress::default() });
            }
            tell.send(()).unwrap();
            gate.lock().unwrap().recv_timeout(DEADLINE).unwrap();
            return Err(RenderError::Canceled);
        }
        rendered(request, real)
    })
    .await;
    let stays = submit(&server, STAYS).await;
    told(&begun).await;
    let waits = submit(&server, 1).await;
    server.client.job_until(&waits, |job| job["status"] == "running").await;
    // The worker that has it on the device does not let go of it in time.
    let erased = server.client.request(Method::DELETE, &format!("/v1/jobs/{stays}")).await;
    assert_eq!(erased.status(), 204);
    // The other one does not wait for its turn to be told.
    let canceled = server.client.request(Method::POST, &format!("/v1/jobs/{waits}/cancel")).await;
    assert!(canceled.status().is_success(), "{canceled:?}");
    server.client.job_until(&waits, |job| job["status"] == "canceled").await;
    let next = submit(&server, 2).await;
    server.client.job_until(&next, |job| job["status"] == "running").await;
    assert_eq!(server.state.workers_alive(), 1);
    go.send(()).unwrap();
    server.client.dream(&next).await;
    assert_eq!(server.client.job(&next).await["attempt"], 1);
    assert_eq!(*seen.lock().unwrap(), [STAYS, 2], "what came to the device");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_come_to_the_device_in_the_order_in_which_they_wait() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let order = Arc::clone(&seen);
    let server = server(LEASE, move |request, real| {
        if is_job(&request) {
            order.lock().unwrap().push(request.spec.seed);
        }
        rendered(request, real)
    })
    .await;
    let mut ids = Vec::new();
    for seed in 0..20 {
        ids.push(submit(&server, seed).await);
    }
    for id in &ids {
        server.client.dream(id).await;
        assert_eq!(server.client.job(id).await["attempt"], 1);
    }
    assert_eq!(*seen.lock().unwrap(), (0..20).collect::<Vec<u64>>());
    drop(server.stop().await);
}
