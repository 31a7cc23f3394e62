//! The contract: OpenAPI 3.1, made from the routes and types of this module's neighbours. `openapi.yaml` at the
//! root of the repository is its output (`reverie openapi`), and a test compares the two.

mod responses;
mod schemas;

use axum::{Router, http::header, response::IntoResponse, routing::get};
use serde_json::{Value, json};
use utoipa::{
    OpenApi,
    openapi::{OpenApi as OpenApiDocument, RefOr, Required, path::ParameterIn},
};
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::{Config, SwaggerUi};

pub use responses::*;
pub use schemas::*;

use super::{error::ApiError, events, health, jobs, list, models, preview, result, submit};
use crate::http::state::AppState;

/// A small picture for the examples, as a data URI.
pub const EXAMPLE_IMAGE: &str = include_str!("example.txt");

/// A job for the examples: finished, so that every member that can have a value has one.
pub fn job_example() -> Value {
    json!({
        "id": "0198c0de-5a7e-7000-8000-00000000d0e5",
        "status": "succeeded",
        "spec": {
            "model": "efficientnet-lite0",
            "preset": "deepdream-lapnorm",
            "objectives": [{ "kind": "l2", "layer": "block2", "weight": 1.0 }],
            "octaves": 2,
            "octave_scale": 1.4,
            "octave_mode": "carry-detail",
            "iterations": 2,
            "step": 1.5,
            "normalization": "laplacian",
            "laplacian_levels": 4,
            "tile_size": 512,
            "tiling": "even",
            "jitter": true,
            "seed": 7,
            "precision": "auto",
            "blend": 0.0,
            "preserve_colors": false,
            "auto_contrast": false,
            "format": "png",
            "quality": 92,
            "lossless": false,
            "recipe": true,
        },
        "progress": {
            "fraction": 1.0, "octave": 2, "octaves": 2, "iteration": 2, "iterations": 2,
            "iterations_per_second": 3.5, "score": 0.83, "resumed_from": 0.0,
        },
        "priority": 0,
        "queue_position": null,
        "eta_seconds": null,
        "attempt": 1,
        "cancel_requested": false,
        "created_at": "2025-08-19T08:00:00.000Z",
        "started_at": "2025-08-19T08:00:00.012Z",
        "finished_at": "2025-08-19T08:00:00.512Z",
        "deadline_at": null,
        "error": null,
        "result": {
            "media_type": "image/png",
            "width": 64,
            "height": 64,
            "size": 7431,
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "score": 0.91,
        },
        "notes": ["2 of 4 octaves were dreamed: the image is too small for a coarser one"],
        "metrics": {
            "queue_seconds": 0.012, "render_seconds": 0.43, "megapixel_iterations": 0.012242,
            "predicted_seconds": 0.471, "predicted_memory_mb": 4.7,
        },
        "links": {
            "self": "/v1/jobs/0198c0de-5a7e-7000-8000-00000000d0e5",
            "result": "/v1/jobs/0198c0de-5a7e-7000-8000-00000000d0e5/result",
            "preview": null,
            "events": "/v1/jobs/0198c0de-5a7e-7000-8000-00000000d0e5/events",
            "cancel": null,
        },
    })
}

/// What the operations do not say themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Reverie",
        description = "A DeepDream rendering service: post a photo, follow the job, fetch the dream.\n\n\
            Every refusal is a problem document (RFC 9457) whose `errors` name each wrong field with a JSON \
            pointer. Timestamps are RFC 3339 in UTC. Every answer carries `X-Request-Id`: the client's, where that is \
            1 to 128 visible ASCII characters. What is no HTTP, or has too long a path or head, is answered with a bare \
            400, 414 or 431 before the service sees it. A request for a host that the service does not answer to gets 421, a \
            change that the page of another origin asks for 403, and what comes while too much is under way 503.",
        license(name = "MIT", identifier = "MIT"),
        contact(),
    ),
    servers((url = "/", description = "This service.")),
    tags(
        (name = "jobs", description = "Dreams, from the request to the result."),
        (name = "models", description = "What there is to dream with."),
        (name = "health", description = "For whatever keeps the service running."),
    ),
    components(responses(
        AlreadyFinished, BeyondEnd, Gone, Internal, Invalid, Malformed, NoResult, NotFound, QueueFull, StorageFull, TooLarge, TooSlow,
        Unavailable, UnsupportedType,
    ))
)]
struct Contract;

/// The operations, each with its description.
pub fn operations() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(Contract::openapi())
        .routes(routes!(list::list, submit::submit))
        .routes(routes!(jobs::status, jobs::erase))
        .routes(routes!(events::events))
        .routes(routes!(preview::preview))
        .routes(routes!(result::result))
        .routes(routes!(jobs::cancel))
        .routes(routes!(models::list))
        .routes(routes!(models::one))
        .routes(routes!(models::layers))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
}

/// The contract as a document.
pub fn document() -> OpenApiDocument {
    let mut document = operations().into_openapi();
    document.info.contact = None;
    let operations = document.paths.paths.values_mut().flat_map(|item| {
        [&mut item.get, &mut item.post, &mut item.delete].into_iter().filter_map(Option::as_mut)
    });
    // The macros take every parameter for a required one; here only those in paths are.
    for parameter in operations.flat_map(|operation| operation.parameters.iter_mut().flatten()) {
        if let RefOr::T(parameter) = parameter
            && parameter.parameter_in != ParameterIn::Path
        {
            parameter.required = Required::False;
        }
    }
    document
}

/// The contract as YAML.
///
/// # Errors
/// When it cannot be written, which would be a mistake in the code.
pub fn yaml() -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    // Descriptions come from comments, whose links lead nowhere outside the code.
    Ok(document().to_yaml()?.replace("[`", "`").replace("`]", "`"))
}

/// `/openapi.yaml`, and `/docs`: a page made of it whose scripts and styles come from this server.
pub fn pages() -> Router<AppState> {
    // The outside world is left alone: without this the page asks a validator on the internet.
    let config = Config::from("/openapi.yaml").validator_url("none").try_it_out_enabled(true);
    Router::new().route("/openapi.yaml", get(openapi_yaml)).merge(SwaggerUi::new("/docs").config(config))
}

async fn openapi_yaml() -> Result<impl IntoResponse, ApiError> {
    let text = yaml().map_err(ApiError::Internal)?;
    Ok(([(header::CONTENT_TYPE, "application/yaml"), (header::CACHE_CONTROL, "no-cache")], text))
}
