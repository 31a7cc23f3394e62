//! Signed links: URLs of one job's pictures that work for some time without a key, for `<img>` and for others; and the URL that an upload
//! is sent to.
//!
//! A link is `?expires=&key=&signature=`, an HMAC-SHA-256 by a secret of the server over method, path, time and key. It
//! allows what its key allows, so it ends with the key.

use axum::{
    Json,
    extract::{Request, State},
    http::{Method, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tracing::info;
use utoipa::ToSchema;

use super::{
    contract::{
        Forbidden, Internal, Invalid, LinkRequest, Malformed, NotFound, TooLarge, TooSlow, Unavailable,
        UnsupportedType,
    },
    error::ApiError,
    json_body,
    path_ids::Named,
    state::AppState,
    view,
};
use crate::{
    auth::Caller,
    clock::Timestamp,
    keys::{KeyId, Link, LinkSecret, Scope},
};
use reverie_fields::Fields;

/// Seconds that a link works for: by default, and at most.
const USUAL: u64 = 3600;
const LONGEST: u64 = 7 * 24 * 3600;

/// The routes that links lead to.
const LINKED: [&str; 2] = ["/v1/jobs/{id}/result", "/v1/jobs/{id}/preview"];

/// Links that work without a key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SignedLinks)]
pub struct SignedLinks {
    /// Until when they work, if the key is not revoked before.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// The result, once it exists.
    result: String,
    /// The preview, while the job runs.
    preview: String,
}

/// Sign links to a job's pictures
///
/// The links work without a key, for whoever has them: in an `<img>`, or handed on. They end at their time, or when the key
/// that asked for them is revoked. The body may be left out.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/links",
    operation_id = "signLinks",
    tag = "jobs",
    params(("id" = String, Path, format = Uuid, description = "Id of the job.", example = "0198c0de-5a7e-7000-8000-00000000d0e5")),
    request_body(content((LinkRequest = "application/json", example = json!({ "expires_in_seconds": 600 })))),
    responses(
        (status = 200, description = "The links.", body = SignedLinks, headers(
            ("Cache-Control" = String, description = "`no-store`."),
        )),
        (status = 400, response = Malformed),
        (status = 403, response = Forbidden),
        (status = 404, response = NotFound),
        (status = 408, response = TooSlow),
        (status = 413, response = TooLarge),
        (status = 415, response = UnsupportedType),
        (status = 422, response = Invalid),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn sign(
    State(state): State<AppState>,
    Caller { tenant, key, .. }: Caller,
    named: Named,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let id = named.job()?;
    state.queue.get(&tenant, id).await?;
    let seconds = if parts.headers.contains_key(header::CONTENT_TYPE) {
        read_seconds(json_body::read(&parts.headers, body).await?)?
    } else {
        USUAL
    };
    let (Some(key), Some(secret)) = (key, state.config.auth.link_secrets.first()) else {
        return Err(ApiError::NoLinks);
    };
    let expires = state.clock.now().as_millis().div_euclid(1000) + seconds as i64;
    let link = |part: &str| {
        let path = format!("{}/{part}", view::path(id));
        signed(&state, secret, Link { method: "GET", path: &path, expires, key: &key })
    };
    let links = SignedLinks {
        expires_at: Timestamp::from_millis(expires * 1000),
        result: link("result"),
        preview: link("preview"),
    };
    info!(job = %id, seconds, "links signed");
    Ok((StatusCode::OK, [(header::CACHE_CONTROL, "no-store")], Json(links)).into_response())
}

/// The URL of a link.
fn signed(state: &AppState, secret: &LinkSecret, link: Link<'_>) -> String {
    let (Link { path, expires, key, .. }, signature) = (link, secret.sign(link));
    format!("{}{path}?expires={expires}&key={key}&signature={signature}", state.public_url())
}

/// The URL that an upload is sent to until `end`: signed where links are, and else one that needs the key.
pub(super) fn upload_url(state: &AppState, key: Option<&KeyId>, path: &str, end: Timestamp) -> String {
    let expires = end.as_millis().div_euclid(1000);
    match (key, state.config.auth.link_secrets.first()) {
        (Some(key), Some(secret)) => signed(state, secret, Link { method: "PUT", path, expires, key }),
        // A path: by whichever name the client knows the server, it knows that its key is for it.
        _ => path.to_owned(),
    }
}

/// Reads how long the links shall work.
fn read_seconds(body: serde_json::Value) -> Result<u64, ApiError> {
    let mut fields = Fields::new("", body);
    let seconds = fields.number("expires_in_seconds", 1, LONGEST);
    let errors = fields.finish();
    if errors.is_empty() { Ok(seconds.unwrap_or(USUAL)) } else { Err(ApiError::Invalid(errors)) }
}

/// Who asks by a signed link: its key's tenant, who may do only that. `None` for a request that is no such link.
///
/// # Errors
/// [`ApiError::KeyRefused`] for a link that has expired, was changed, or whose key opens nothing any more.
pub(super) async fn caller(
    state: &AppState,
    request: &Parts,
    route: Option<&str>,
) -> Result<Option<Caller>, ApiError> {
    let (method, allowed) = match (&request.method, route) {
        (&Method::GET | &Method::HEAD, Some(route)) if LINKED.contains(&route) => ("GET", Scope::JobsRead),
        (&Method::PUT, Some("/v1/uploads/{id}")) => ("PUT", Scope::JobsWrite),
        _ => return Ok(None),
    };
    let Some(Query { expires, key, signature }) = Query::of(&request.uri) else { return Ok(None) };
    let refused = |why: String| ApiError::KeyRefused(why);
    let link = Link { method, path: request.uri.path(), expires, key: &key };
    if !state.config.auth.link_secrets.iter().any(|secret| secret.has_signed(link, &signature)) {
        return Err(refused("the link is not one of this server, or was changed".into()));
    }
    let end = Timestamp::from_millis(expires.saturating_mul(1000));
    if end <= state.clock.now() {
        return Err(refused(format!("the link expired at {end}")));
    }
    let caller = state.auth.caller(&key).await?;
    let scopes = [allowed].into_iter().filter(|scope| caller.scopes.has(*scope)).collect();
    Ok(Some(Caller { scopes, ..caller }))
}

/// The query of a signed link.
struct Query {
    expires: i64,
    key: KeyId,
    signature: String,
}

impl Query {
    /// Reads it; `None` where anything is missing, double or malformed: then the request needs a key like any other.
    fn of(uri: &Uri) -> Option<Self> {
        let pairs = form_urlencoded::parse(uri.query()?.as_bytes());
        let (mut expires, mut key, mut signature) = (None, None, None);
        for (name, value) in pairs {
            let place = match &*name {
                "expires" => &mut expires,
                "key" => &mut key,
                "signature" => &mut signature,
                _ => return None,
            };
            if place.replace(value.into_owned()).is_some() {
                return None;
            }
        }
        Some(Self { expires: expires?.parse().ok()?, key: key?.parse().ok()?, signature: signature? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_a_link_or_none() {
        let of = |query: &str| Query::of(&format!("/v1/jobs/1/result?{query}").parse().unwrap());
        let query = of("signature=a-_b&expires=17&key=0123456789abcdef").unwrap();
        assert_eq!((query.expires, query.key.as_str(), &*query.signature), (17, "0123456789abcdef", "a-_b"));
        for query in [
            "",
            "expires=17&key=0123456789abcdef",
            "expires=17&key=0123456789abcdef&signature=a&signature=a",
            "expires=17&key=0123456789abcdef&signature=a&more=1",
            "expires=soon&key=0123456789abcdef&signature=a",
            "expires=17&key=0123&signature=a",
        ] {
            assert!(of(query).is_none(), "{query}");
        }
    }
}
