//! A worker whose device is broken, and jobs that only look so: behind the seam between workers and the renderer, the
//! real renderer works until it is told not to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use reverie_engine::{RenderError, RenderRequest, Renderer, Unencoded};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::{
    client::{DEADLINE, quick},
    server::{Setup, TestServer, renderer},
};

/// The seed of jobs that no device can do.
const POISON: u64 = 666;

/// The seed of jobs for which no device has the memory.
const HUGE: u64 = 667;

/// The seed of jobs in the middle of which the device breaks once, after the first octave.
const CUT: u64 = 669;

/// The seed of jobs after which no device is well for a while.
const INFECTIOUS: u64 = 668;

/// Breaks the device, the thread with it, or fills its memory.
#[derive(Clone, Default)]
struct Switch {
    broken: Arc<AtomicBool>,
    /// For one render.
    infected: Arc<AtomicBool>,
    dead: Arc<AtomicBool>,
    /// Whether it breaks in the middle of the next job that is cut.
    cuts: Arc<AtomicBool>,
    /// Whether the last job went on from a checkpoint.
    resumed: Arc<AtomicBool>,
    /// As what it is known, if not as a CPU.
    name: Option<&'static str>,
    /// Its memory is taken by other programs.
    full: Arc<AtomicBool>,
}

impl Switch {
    /// A renderer that fails as long as it is broken.
    fn renderer(&self) -> Renderer {
        let real = renderer();
        let switch = self.clone();
        Renderer::start_with(self.name.unwrap_or("cpu").into(), 1, move || {
            assert!(!switch.dead.load(Ordering::SeqCst), "the device is gone");
            let (real, switch) = (real.clone(), switch.clone());
            move |mut request: RenderRequest| -> Result<Unencoded, RenderError> {
                assert!(!switch.dead.load(Ordering::SeqCst), "the device is gone");
                let infected = switch.infected.swap(request.spec.seed == INFECTIOUS, Ordering::SeqCst);
                let sick = infected || switch.broken.load(Ordering::SeqCst);
                if sick || matches!(request.spec.seed, POISON | INFECTIOUS) {
                    return Err(RenderError::Engine(
                        "CUDA error: an illegal memory access was encountered".into(),
                    ));
                }
                if request.spec.seed == HUGE || switch.full.load(Ordering::SeqCst) {
                    return Err(RenderError::OutOfMemory(
                        "CUDA out of memory. Tried to allocate 90.00 GiB.".into(),
                    ));
                }
                let is_job = request.on_begin.is_some();
                if is_job {
                    switch.resumed.store(request.resume.is_some(), Ordering::SeqCst);
                }
                let cut = is_job && request.spec.seed == CUT && switch.cuts.swap(false, Ordering::SeqCst);
                if cut {
                    switch.infected.store(true, Ordering::SeqCst);
                    cut_after_an_octave(&mut request);
                }
                let rendered = real.submit(request)?.blocking_recv().unwrap_or(Err(RenderError::Stopped));
                match rendered {
                    Err(RenderError::Canceled) if cut => {
                        Err(RenderError::Engine("CUDA error: GPU has fallen off the bus".into()))
                    }
                    rendered => rendered,
                }
            }
        })
        .unwrap()
    }

    async fn server(&self) -> TestServer {
        let setup = Setup::new().await;
        Setup { renderer: Some(self.renderer()), ..setup }.start().await
    }
}

/// Cancels the render once its first octave has been told of; until then it does not get on.
fn cut_after_an_octave(request: &mut RenderRequest) {
    let Some(mut on_octave) = request.on_octave.take() else { return };
    let (cancel, (tell, told)) = (request.cancel.clone(), mpsc::channel());
    request.on_octave = Some(Box::new(move |finished| {
        on_octave(finished);
        cancel.cancel();
        tell.send(()).unwrap_or_default();
    }));
    let mut on_progress = std::mem::replace(&mut request.on_progress, Box::new(|_| {}));
    let mut waits = true;
    request.on_progress = Box::new(move |now| {
        if now.octave > 1 && std::mem::take(&mut waits) {
            told.recv_timeout(DEADLINE).unwrap();
        }
        on_progress(now);
    });
}

async fn add(server: &TestServer, seed: u64) -> String {
    let mut spec = quick();
    spec["noise"] = json!({ "width": 64, "height": 64 });
    spec["seed"] = seed.into();
    let body = json!({ "spec": spec }).to_string();
    let job: Value = server.client.post_bytes("application/json", body).await.json().await.unwrap();
    job["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_fails_for_a_sick_worker() {
    let switch = Switch::default();
    let server = switch.server().await;
    switch.broken.store(true, Ordering::SeqCst);
    let mut ids = Vec::new();
    for seed in 0..5 {
        ids.push(add(&server, seed).await);
    }
    server.client.until_not_ready().await;
    let ready: Value = server.client.get("/readyz").await.json().await.unwrap();
    assert_eq!(
        (&ready["checks"]["workers"], &ready["checks"]["store"]),
        (&json!(0), &json!(true)),
        "{ready}"
    );
    for id in &ids {
        let job = server.client.job_until(id, |job| job["status"] == "queued").await;
        assert_eq!((&job["attempt"], &job["error"]), (&json!(0), &Value::Null), "{job}");
    }
    switch.broken.store(false, Ordering::SeqCst);
    for id in &ids {
        server.client.dream(id).await;
        assert_eq!(server.client.job(id).await["attempt"], 1);
    }
    assert_eq!(server.client.get("/readyz").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_no_device_can_do_fails_alone() {
    let switch = Switch::default();
    let server = switch.server().await;
    let (poison, good) = (add(&server, POISON).await, add(&server, 1).await);
    server.client.dream(&good).await;
    let job = server.client.job_until(&poison, |job| job["finished_at"].is_string()).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("failed"), &json!(3)), "{job}");
    assert_eq!(server.client.get("/readyz").await.status(), 200, "the worker was well all the while");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_makes_every_worker_sick_fails_in_the_end() {
    let switch = Switch::default();
    let server = switch.server().await;
    let infectious = add(&server, INFECTIOUS).await;
    // Three times the worker is to blame, which was well before; then the job is.
    let job = server.client.job_until(&infectious, |job| job["finished_at"].is_string()).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("failed"), &json!(3)), "{job}");
    let good = add(&server, 1).await;
    server.client.dream(&good).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_without_a_store_takes_no_jobs() {
    let mut setup = Setup::new().await;
    // As long as a worker waits for the store by itself.
    setup.config.queue.lease = Duration::from_secs(3);
    let server = setup.start().await;
    let results = server.state.config.storage.dir.join("results");
    let away = results.with_extension("away");
    std::fs::rename(&results, &away).unwrap();
    std::fs::write(&results, "").unwrap();
    let id = add(&server, 1).await;
    let none_left = async {
        while server.state.workers_alive() > 0 {
            server.client.job(&id).await;
        }
    };
    timeout(DEADLINE, none_left).await.expect("the worker goes on");
    let job = server.client.job_until(&id, |job| job["status"] == "queued").await;
    assert_eq!((&job["attempt"], &job["error"]), (&json!(0), &Value::Null), "{job}");
    std::fs::remove_file(&results).unwrap();
    std::fs::rename(&away, &results).unwrap();
    server.client.dream(&id).await;
    assert_eq!(
        (server.client.job(&id).await["attempt"].clone(), server.state.workers_alive()),
        (json!(1), 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_too_large_for_the_device_fails_at_once_and_says_so() {
    let switch = Switch::default();
    let server = switch.server().await;
    let (huge, good) = (add(&server, HUGE).await, add(&server, 1).await);
    server.client.dream(&good).await;
    let job = server.client.job_until(&huge, |job| job["finished_at"].is_string()).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("failed"), &json!(1)), "{job}");
    let detail = job["error"]["detail"].as_str().unwrap();
    assert!(detail.contains("too little memory") && detail.contains("smaller image"), "{job}");
    // Where other programs have taken the memory, no job is to blame.
    switch.full.store(true, Ordering::SeqCst);
    let waits = add(&server, 2).await;
    server.client.until_not_ready().await;
    let job = server.client.job_until(&waits, |job| job["status"] == "queued").await;
    assert_eq!((&job["attempt"], &job["error"]), (&json!(0), &Value::Null), "{job}");
    switch.full.store(false, Ordering::SeqCst);
    server.client.dream(&waits).await;
    assert_eq!(server.client.job(&waits).await["attempt"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_thread_is_gone_ends_the_process_and_keeps_the_job() {
    let switch = Switch::default();
    let server = switch.server().await;
    let ended = server.app.sick();
    switch.dead.store(true, Ordering::SeqCst);
    let id = add(&server, 1).await;
    timeout(DEADLINE, ended).await.expect("nobody is told that the worker is gone");
    let job = server.client.job(&id).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("queued"), &json!(0)), "{job}");
    assert_eq!(server.client.get("/readyz").await.status(), 503);
    // A process that is started anew does it.
    let folder = timeout(Duration::from_secs(30), server.stop()).await.unwrap();
    let setup = Setup::new().await;
    let mut config = setup.config.clone();
    config.storage.dir = folder.path().join("data");
    let server = Setup { config, ..setup }.start().await;
    server.client.dream(&id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_in_the_middle_of_which_the_device_breaks_goes_on_to_the_same_bytes() {
    let switch = Switch::default();
    let server = switch.server().await;
    let undisturbed = add(&server, CUT).await;
    let expected = server.client.dream(&undisturbed).await;
    switch.cuts.store(true, Ordering::SeqCst);
    let id = add(&server, CUT).await;
    assert!(server.client.dream(&id).await == expected, "it is another dream");
    // The device was to blame, and what had been dreamed was not dreamed again.
    assert_eq!(server.client.job(&id).await["attempt"], 1);
    assert!(!switch.cuts.load(Ordering::SeqCst) && switch.resumed.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gpu_that_goes_on_to_report_an_error_ends_the_process_and_keeps_the_jobs() {
    let switch = Switch { name: Some("cuda:0"), ..Switch::default() };
    let server = switch.server().await;
    let ended = server.app.sick();
    switch.broken.store(true, Ordering::SeqCst);
    let ids = [add(&server, 1).await, add(&server, 2).await];
    // It is not waited for as long as for one whose memory others have taken.
    timeout(DEADLINE, ended).await.expect("nobody is told that the GPU is gone");
    for id in &ids {
        let job = server.client.job(id).await;
        assert_eq!((&job["status"], &job["attempt"]), (&json!("queued"), &json!(0)), "{job}");
    }
}
