//! The page at `/docs`, and the contract as it has it.
//!
//! Swagger UI fills every control of a form with an example, or with what it makes up from the schema: the smallest number, the first
//! choice. Sent like that, a photo is refused, or expires after a second. So here the optional controls are empty, and the spec
//! is one that suits any photo. `openapi.yaml`, which other programs read, stays as it is.
//!
//! The page itself and what it needs on a phone are ours (`page.html`, `page.css`); scripts and the other styles are Swagger UI's.

use std::sync::Arc;

use axum::{
    Json, Router,
    http::{HeaderValue, Uri, header},
    middleware::map_response,
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use serde_json::{Value, json};
use utoipa_swagger_ui::Config;

use crate::http::{
    error::{self, ApiError},
    path_ids::Named,
    state::AppState,
};

/// Where the page finds the document.
const URL: &str = "/docs/openapi.json";

/// `/docs` and what is below it.
pub fn routes() -> Router<AppState> {
    // No external requests: without this the page would call a validator on the internet.
    let config = Arc::new(Config::from(URL).validator_url("none").try_it_out_enabled(true));
    let document = Arc::new(document());
    Router::new()
        .route("/docs", get(|| async { Redirect::to("/docs/") }))
        .route("/docs/", get(index))
        .route("/docs/index.html", get(index))
        .route("/docs/page.css", get(style))
        .route(URL, get(|| async { Json(document) }))
        .route("/docs/{*name}", get(|Named(name), uri| file(name, uri, config)))
        .layer(map_response(guarded))
}

/// The page takes a key: no other page may show it in a frame, nor have its files taken for something else.
async fn guarded(mut response: Response) -> Response {
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'none'"));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    fields.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

async fn index() -> Html<&'static str> {
    Html(include_str!("page.html"))
}

async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("page.css"))
}

/// A file of Swagger UI.
async fn file(name: String, uri: Uri, config: Arc<Config<'static>>) -> Result<Response, ApiError> {
    let found = utoipa_swagger_ui::serve(&name, config)
        .map_err(|failure| ApiError::Internal(failure.to_string().into()))?;
    let Some(file) = found else { return Err(error::no_such_path(uri).await) };
    Ok(([(header::CONTENT_TYPE, file.content_type)], file.bytes).into_response())
}

/// The document.
fn document() -> Value {
    let mut document = serde_json::to_value(super::document()).unwrap_or_default();
    for path in ["/v1/jobs", "/v1/dry-run"] {
        let operation = &mut document["paths"][path]["post"];
        for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
            parameter.as_object_mut().map(|parameter| parameter.remove("example"));
        }
        let form = &mut operation["requestBody"]["content"]["multipart/form-data"];
        form.as_object_mut().map(|form| form.remove("example"));
    }
    let fields = &mut document["components"]["schemas"]["SubmitForm"]["properties"];
    for (name, field) in fields.as_object_mut().into_iter().flatten() {
        let description = field["description"].take();
        *field = match name.as_str() {
            "image" | "mask" | "guide" => json!({ "type": "string", "format": "binary" }),
            "spec" => json!({ "type": "object", "example": { "octaves": "auto", "iterations": "auto" } }),
            _ => json!({ "type": "string", "example": "" }),
        };
        field["description"] = description;
    }
    document
}
