//! What workers of a GPU do while nobody wants anything. The renderer says that it has a GPU's memory, and is a CPU.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use common::{
    client::quick,
    picture,
    server::{Setup, TestServer, catalogue, renderer},
    until,
};
use reverie_dream::{
    plan::{Grid, Plan},
    spec::{self, Count, DreamSpec, InputKind, Noise},
};
use reverie_engine::{RenderError, RenderRequest, Renderer, Unencoded};
use serde_json::json;

/// Whether a dream is none of anybody: neither a job, nor what is measured at the start.
fn is_practice(spec: &DreamSpec) -> bool {
    spec.noise.is_some() && !spec.recipe && spec.iterations == Count::Of(2)
}

/// A server with one worker, whose renderer hands `practise` what is practised, with a way to really render.
async fn server(
    practise: impl Fn(RenderRequest, &Renderer) -> Result<Unencoded, RenderError> + Clone + Send + 'static,
) -> TestServer {
    server_with(Arc::default(), practise).await
}

/// The same, where all else fails as long as it is `broken`.
async fn server_with(
    broken: Arc<AtomicBool>,
    practise: impl Fn(RenderRequest, &Renderer) -> Result<Unencoded, RenderError> + Clone + Send + 'static,
) -> TestServer {
    let real = renderer();
    let renderer = Renderer::start_with("cpu".into(), 1, move || {
        let (real, practise, broken) = (real.clone(), practise.clone(), Arc::clone(&broken));
        move |request: RenderRequest| -> Result<Unencoded, RenderError> {
            if broken.load(Ordering::SeqCst) {
                return Err(RenderError::Engine(
                    "CUDA error: an illegal memory access was encountered".into(),
                ));
            }
            if is_practice(&request.spec) { practise(request, &real) } else { rendered(request, &real) }
        }
    });
    let renderer = renderer.unwrap().with_memory(Some(80 << 30));
    Setup { renderer: Some(renderer), ..Setup::new().await }.start().await
}

fn rendered(request: RenderRequest, real: &Renderer) -> Result<Unencoded, RenderError> {
    real.submit(request)?.blocking_recv().unwrap_or(Err(RenderError::Stopped))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_passes_of_most_pictures_have_been_before_the_pictures_come() {
    let practised = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&practised);
    let server = server(move |mut request, real| {
        seen.lock().unwrap().push(request.spec.clone());
        // As it is, it is work for a GPU.
        request.spec.noise = Some(Noise { width: 32, height: 32 });
        rendered(request, real)
    })
    .await;
    let count = || practised.lock().unwrap().len();
    until("64 kinds of pass have been practised", async || count() == 64).await;
    // Then there is an end to it.
    for _ in 0..2 {
        let id = server.client.submit(picture(64, 64), &quick()).await;
        server.client.dream(&id).await;
    }
    assert_eq!(count(), 64);

    let catalogue = catalogue().await;
    let model = catalogue.get(catalogue.default_id()).unwrap();
    let usual = spec::resolve("", json!({}), &catalogue, InputKind::Image).unwrap();
    let layer = model.network.find(&usual.objectives[0].layer).unwrap();
    let grid = Grid::of(&usual, model.network.stride(&[layer]) as i64).uniform_for(&usual, true);
    let kinds = |height, width| grid.windows(height, width);
    let practised = practised.lock().unwrap();
    for spec in &*practised {
        assert_eq!((&spec.model, &spec.objectives), (&usual.model, &usual.objectives));
        assert_eq!((spec.tile_size, spec.precision), (usual.tile_size, usual.precision));
        assert_eq!(spec.octaves, Count::Of(1));
    }
    let noises = practised.iter().filter_map(|spec| spec.noise);
    let known: HashSet<_> = noises.flat_map(|noise| kinds(noise.height.into(), noise.width.into())).collect();
    assert_eq!(known.len(), 64, "each is a kind of its own");
    let (mut all, mut new) = (0, 0);
    // Of some of these sizes nobody has thought.
    let sizes = [(1024, 1024), (768, 1024), (600, 800), (1080, 1920), (1333, 1000), (723, 911), (487, 650)];
    for size in sizes {
        for (height, width) in Plan::of(&usual, &model.network, size, u64::MAX).unwrap().octaves {
            all += 1;
            new += usize::from(!kinds(height, width).into_iter().all(|kind| known.contains(&kind)));
        }
    }
    assert!(all >= 4 * sizes.len() && new * 8 <= all, "{new} of {all} octaves are new");
}

/// What is practised fails once, and so does what the worker then tries, to find out what is to blame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_fails_in_practice_is_sick_and_practises_again_when_it_is_well() {
    let tries = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&tries);
    let broken = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&broken);
    let server = server_with(Arc::clone(&broken), move |mut request, real| {
        let mut seen = seen.lock().unwrap();
        seen.push(request.spec.noise.unwrap());
        if seen.len() == 3 {
            switch.store(true, Ordering::SeqCst);
            return Err(RenderError::Engine("CUDA error: an illegal memory access was encountered".into()));
        }
        request.spec.noise = Some(Noise { width: 32, height: 32 });
        rendered(request, real)
    })
    .await;
    server.client.until_not_ready().await;
    broken.store(false, Ordering::SeqCst);
    until("64 kinds of pass have been practised", async || tries.lock().unwrap().len() == 65).await;
    let [third, fourth] = [2, 3].map(|index| tries.lock().unwrap()[index]);
    assert_eq!(third, fourth, "it goes on where it was");
    assert_eq!(server.client.get("/readyz").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_does_not_wait_for_practice() {
    let (begun, begins) = mpsc::channel();
    // Practice that ends for nothing but a job.
    let server = server(move |request, _| {
        begun.send(request.spec.noise).unwrap();
        while !request.cancel.is_canceled() {
            std::thread::yield_now();
        }
        Err(RenderError::Canceled)
    })
    .await;
    let begins = Arc::new(Mutex::new(begins));
    let begins = async || {
        let begins = Arc::clone(&begins);
        tokio::task::spawn_blocking(move || begins.lock().unwrap().recv().unwrap()).await.unwrap()
    };
    let first = begins().await;
    let id = server.client.submit(picture(64, 64), &quick()).await;
    server.client.dream(&id).await;
    assert_eq!(server.client.job(&id).await["attempt"], 1);
    // It goes on where it was, and the server does not wait for it to stop.
    assert_eq!(begins().await, first);
    drop(server.stop().await);
}
