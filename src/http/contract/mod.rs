//! The OpenAPI 3.1 document, generated from the routes and types of the neighbouring modules. `openapi.yaml`
//! at the root of the repository is its output (`reverie openapi`); a test compares the two.

mod examples;
mod examples_of_operations;
mod page;
mod responses;
mod schemas;
mod security;

use axum::{Router, http::header, response::IntoResponse, routing::get};
use utoipa::{
    OpenApi,
    openapi::{OpenApi as OpenApiDocument, RefOr, Required, path::ParameterIn},
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use examples::EXAMPLE_IMAGE;
pub use responses::*;
pub use schemas::*;

use super::{
    deliveries, dry_run, error::ApiError, events, formats, health, input, jobs, keys, links, list, looks,
    models, operations as operators, pauses, preview, result, steer, submit, thumbnail, tiles, upload_ahead,
    usage,
};
use crate::http::state::AppState;

/// The general part of the document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Reverie",
        description = "A DeepDream rendering service: post a photo, follow the job, fetch the dream.\n\n\
            Every refusal is a problem document (RFC 9457) whose `errors` name each wrong field with a JSON \
            pointer. Timestamps are RFC 3339 in UTC. Every answer carries `X-Request-Id`: the client's, where that is \
            1 to 128 visible ASCII characters. A request that is not valid HTTP, or whose path or head is \
            too long, gets a bare 400, 414 or 431 without a problem document. A request for a host that the \
            server does not accept gets 421, a change from a web page of another origin 403, and a request \
            beyond the limits for connections or uploads 503.\n\n\
            Requests need a key, but where the operator has set `auth.mode = \"off\"`. A key belongs to a tenant: \
            the jobs of others do not exist for it. A key in a URL is refused with 400.",
        license(name = "MIT", identifier = "MIT"),
        contact(),
    ),
    servers((url = "/", description = "This server.")),
    tags(
        (name = "jobs", description = "Dreams, from submission to result."),
        (name = "models", description = "The models and their layers."),
        (name = "keys", description = "API keys, for operators."),
        (name = "operations", description = "The jobs of all tenants and the workers, for operators."),
        (name = "health", description = "Liveness, readiness and metrics."),
    ),
    components(responses(
        AlreadyFinished, BeyondEnd, Forbidden, Gone, Internal, Invalid, Malformed, NoResult, NotFailed, NotFound, NothingLeft, QueueFull, QuotaExceeded, StorageFull, TooLarge, TooSlow,
        Unauthorized, Unavailable, UnsupportedType,
    ))
)]
struct Contract;

/// The operations with their descriptions.
pub fn operations() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(Contract::openapi())
        .routes(routes!(list::list, submit::submit))
        .routes(routes!(jobs::status, jobs::erase, steer::steer))
        .routes(routes!(events::events))
        .routes(routes!(input::input))
        .routes(routes!(preview::preview))
        .routes(routes!(result::result))
        .routes(routes!(thumbnail::thumbnail))
        .routes(routes!(dry_run::dry_run))
        .routes(routes!(upload_ahead::create))
        .routes(routes!(upload_ahead::send))
        .routes(routes!(jobs::cancel))
        .routes(routes!(pauses::pause))
        .routes(routes!(pauses::resume))
        .routes(routes!(deliveries::list, deliveries::replay))
        .routes(routes!(links::sign))
        .routes(routes!(models::list))
        .routes(routes!(models::one))
        .routes(routes!(models::layers))
        .routes(routes!(models::classes))
        .routes(routes!(tiles::layer))
        .routes(routes!(tiles::channel))
        .routes(routes!(looks::list))
        .routes(routes!(formats::list))
        .routes(routes!(keys::create, keys::list))
        .routes(routes!(keys::revoke))
        .routes(routes!(usage::usage))
        .routes(routes!(operators::overview))
        .routes(routes!(operators::jobs))
        .routes(routes!(operators::cancel))
        .routes(routes!(operators::retry))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
}

/// The OpenAPI document.
pub fn document() -> OpenApiDocument {
    let mut document = operations().into_openapi();
    document.info.contact = None;
    let operations = document.paths.paths.values_mut().flat_map(|item| {
        [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete]
            .into_iter()
            .filter_map(Option::as_mut)
    });
    // The macros mark every parameter as required; only path parameters are.
    for parameter in operations.flat_map(|operation| operation.parameters.iter_mut().flatten()) {
        if let RefOr::T(parameter) = parameter
            && parameter.parameter_in != ParameterIn::Path
        {
            parameter.required = Required::False;
        }
    }
    security::attach(&mut document);
    examples::attach(&mut document);
    document
}

/// The OpenAPI document as YAML.
///
/// # Errors
/// If serialisation fails, which would be a bug.
pub fn yaml() -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    // Descriptions come from doc comments; their links are useless outside the code.
    Ok(document().to_yaml()?.replace("[`", "`").replace("`]", "`"))
}

/// Serves `/openapi.yaml`, and `/docs`: a page for it whose scripts and styles come from this server.
pub fn pages() -> Router<AppState> {
    Router::new().route("/openapi.yaml", get(openapi_yaml)).merge(page::routes())
}

async fn openapi_yaml() -> Result<impl IntoResponse, ApiError> {
    let text = yaml().map_err(ApiError::Internal)?;
    Ok(([(header::CONTENT_TYPE, "application/yaml"), (header::CACHE_CONTROL, "no-cache")], text))
}
