//! The submitted jobs and their expected results: the dreams of one undisturbed server.

use std::{collections::HashMap, sync::OnceLock};

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::common::{
    client::{Client, form},
    picture,
    process::ServerProcess,
};

/// How many different small workload there are, and long ones.
const SMALL: usize = 5;
const LONG: usize = 2;

/// Seconds that a long order takes about, so that what happens to it happens while it is at work.
const LONG_SECONDS: f64 = 1.0;

/// Gradient steps of a long order on this machine: found before the first fleet starts.
static LONG_STEPS: OnceLock<u32> = OnceLock::new();

/// A dream to ask for.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Equal workload have equal names.
    pub name: String,
    pub spec: Value,
    /// The picture to start from; noise without.
    pub image: Option<Vec<u8>>,
    /// Seconds after which nobody wants it any more.
    pub deadline: Option<u32>,
}

impl Workload {
    /// One that is done in a moment: from a picture, or from noise.
    pub fn small(number: usize) -> Self {
        let kind = number % SMALL;
        let mut order = Self::of(format!("small-{kind}"), 1 + kind as u32 % 2, kind);
        if kind % 2 == 1 {
            order.spec["noise"] = json!({ "width": 64, "height": 48 });
            order.image = None;
        }
        order
    }

    /// One that takes a while.
    pub fn long(number: usize) -> Self {
        let kind = number % LONG;
        let steps = LONG_STEPS.get().expect("fleets start after the dreams of one server");
        Self { image: Some(picture(128, 96)), ..Self::of(format!("long-{kind}"), *steps, kind) }
    }

    /// One that outlasts every test.
    pub fn endless() -> Self {
        let mut order = Self::of("endless".into(), 1000, 0);
        order.spec["objectives"] = json!([{ "layer": "block10" }]);
        order.image = Some(picture(256, 256));
        order
    }

    fn of(name: String, steps: u32, seed: usize) -> Self {
        let spec = json!({
            "objectives": [{ "kind": "l2", "layer": "block2" }],
            "octaves": 1, "iterations": steps, "seed": seed,
            // What `auto` means is measured in each process, and every process must make the same dream.
            "precision": "fp32",
            // It names the version, and fleets are of two at times.
            "recipe": false,
        });
        Self { name, spec, image: Some(picture(64, 48)), deadline: None }
    }

    /// The request that asks for it.
    pub fn request(&self, client: &Client) -> reqwest::RequestBuilder {
        let mut request = client.http.post(format!("{}/v1/jobs", client.url));
        if let Some(seconds) = self.deadline {
            request = request.header("cancel-after", format!("{seconds}s"));
        }
        match &self.image {
            Some(image) => request.multipart(form(image.clone(), &self.spec)),
            None => request.json(&json!({ "spec": self.spec })),
        }
    }
}

static DREAMS: OnceCell<HashMap<String, Vec<u8>>> = OnceCell::const_new();

/// What must come of each order, by name.
pub async fn dreams() -> &'static HashMap<String, Vec<u8>> {
    let make = async || {
        let folder = tempfile::tempdir().unwrap();
        let alone = ServerProcess::start(folder.path(), &[]).await;
        let sample = Workload::of("sample".into(), 50, 0);
        let long = alone.client.lasting(picture(128, 96), sample.spec, LONG_SECONDS).await;
        let steps = long["iterations"].as_u64().unwrap();
        LONG_STEPS.set(steps as u32).unwrap();
        let mut dreams = HashMap::new();
        for order in (0..SMALL).map(Workload::small).chain((0..LONG).map(Workload::long)) {
            let answer = order.request(&alone.client).send().await.unwrap();
            assert_eq!(answer.status(), 202);
            let job: Value = answer.json().await.unwrap();
            let dream = alone.client.dream(job["id"].as_str().unwrap()).await;
            assert!(dreams.values().all(|other| *other != dream), "two workload with one dream prove little");
            dreams.insert(order.name, dream);
        }
        dreams
    };
    DREAMS.get_or_init(make).await
}
