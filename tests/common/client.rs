//! A client of the API.

use std::time::Duration;

use reqwest::{
    Method, Response,
    multipart::{Form, Part},
};
use serde_json::Value;
use tokio::time::{interval, timeout};

/// Nothing that a test waits for takes this long, even on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Talks to one server.
#[derive(Clone)]
pub struct Client {
    pub http: reqwest::Client,
    pub url: String,
}

/// The dream that takes about a second: a shallow layer, few steps.
pub fn quick() -> Value {
    serde_json::json!({
        "objectives": [{ "kind": "l2", "layer": "block2" }],
        "octaves": 2, "iterations": 2, "seed": 1,
    })
}

/// A form with an image and a spec.
pub fn form(image: Vec<u8>, spec: &Value) -> Form {
    let image = Part::bytes(image).file_name("picture.png");
    Form::new().text("spec", spec.to_string()).part("image", image)
}

impl Client {
    pub fn new(url: String) -> Self {
        Self { http: reqwest::Client::new(), url }
    }

    /// The same server, asked with a key.
    pub fn with_key(&self, token: &str) -> Self {
        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        let http = reqwest::Client::builder().default_headers(headers).build().unwrap();
        Self { http, url: self.url.clone() }
    }

    pub async fn get(&self, path: &str) -> Response {
        self.http.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    pub async fn get_unless(&self, path: &str, etag: &str) -> Response {
        let request = self.http.get(format!("{}{path}", self.url)).header("if-none-match", etag);
        request.send().await.unwrap()
    }

    pub async fn request(&self, method: Method, path: &str) -> Response {
        self.http.request(method, format!("{}{path}", self.url)).send().await.unwrap()
    }

    pub async fn post(&self, path: &str) -> Response {
        self.request(Method::POST, path).await
    }

    pub async fn post_form(&self, form: Form) -> Response {
        let request = self.http.post(format!("{}/v1/jobs", self.url)).multipart(form);
        request.send().await.unwrap()
    }

    pub async fn post_bytes(&self, content_type: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.http.post(format!("{}/v1/jobs", self.url)).header("content-type", content_type);
        request.body(body).send().await.unwrap()
    }

    /// Posts a job that must be accepted; its id.
    pub async fn submit(&self, image: Vec<u8>, spec: &Value) -> String {
        let response = self.post_form(form(image, spec)).await;
        let status = response.status();
        let job: Value = response.json().await.unwrap();
        assert_eq!(status, 202, "{job}");
        job["id"].as_str().unwrap().to_owned()
    }

    /// `spec` with as many steps as take about `seconds` here (at most 1000), found by dreaming it once as it is: so that what
    /// a test does to a job at work meets it at work, however fast the machine is.
    pub async fn lasting(&self, image: Vec<u8>, mut spec: Value, seconds: f64) -> Value {
        let id = self.submit(image, &spec).await;
        self.dream(&id).await;
        let took = self.job(&id).await["metrics"]["render_seconds"].as_f64().unwrap();
        let steps = spec["iterations"].as_f64().unwrap() * seconds / took;
        spec["iterations"] = (steps.clamp(1.0, 1000.0) as u32).into();
        spec
    }

    /// The job as it stands.
    pub async fn job(&self, id: &str) -> Value {
        let response = self.get(&format!("/v1/jobs/{id}")).await;
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    }

    /// Looks at the job until it is as wanted.
    pub async fn job_until(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let waiting = async {
            let mut looks = interval(Duration::from_millis(20));
            loop {
                looks.tick().await;
                last = self.job(id).await;
                if wanted(&last) {
                    return;
                }
            }
        };
        let waited = timeout(DEADLINE, waiting).await;
        assert!(waited.is_ok(), "waited in vain; the job stands at {last}");
        last
    }

    /// Asks for something until it is there.
    pub async fn until_found(&self, path: &str) -> Response {
        let waiting = async {
            let mut looks = interval(Duration::from_millis(20));
            loop {
                looks.tick().await;
                let response = self.get(path).await;
                if response.status() == 200 {
                    return response;
                }
            }
        };
        timeout(DEADLINE, waiting).await.expect("it is never there")
    }

    /// Looks at `/readyz` until the server says that it is not ready.
    pub async fn until_not_ready(&self) {
        let waiting = async {
            let mut looks = interval(Duration::from_millis(20));
            while self.get("/readyz").await.status() != 503 {
                looks.tick().await;
            }
        };
        timeout(DEADLINE, waiting).await.expect("the server stays ready");
    }

    /// Waits for the dream and fetches it.
    pub async fn dream(&self, id: &str) -> Vec<u8> {
        let ended = |job: &Value| job["finished_at"].is_string();
        let job = self.job_until(id, ended).await;
        assert_eq!(job["status"], "succeeded", "{job}");
        let response = self.get(&format!("/v1/jobs/{id}/result")).await;
        assert_eq!(response.status(), 200);
        response.bytes().await.unwrap().to_vec()
    }
}

/// A response that must be a problem document of this status; the document.
pub async fn problem(response: Response, status: u16) -> Value {
    let (found, headers) = (response.status(), response.headers().clone());
    let problem: Value = response.json().await.unwrap();
    assert_eq!(found, status, "{problem}");
    assert_eq!(headers["content-type"], "application/problem+json", "{problem}");
    assert_eq!(problem["status"], status, "{problem}");
    assert!(problem["type"].as_str().unwrap().starts_with("urn:reverie:problem:"), "{problem}");
    for member in ["title", "detail", "instance"] {
        assert!(problem[member].is_string(), "{member} is missing in {problem}");
    }
    problem
}

/// The pointers of a problem's mistakes.
pub fn pointers(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().unwrap();
    errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect()
}
