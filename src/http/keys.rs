//! `/v1/keys`: making, listing and revoking API keys, for operators.

use std::time::Duration;

use axum::{
    Json,
    extract::{RawQuery, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;
use tracing::info;
use utoipa::ToSchema;

use super::{
    contract::{
        Internal, Invalid, KeyRequest, Malformed, NotFound, TooLarge, TooSlow, Unavailable, UnsupportedType,
    },
    error::ApiError,
    json_body,
    path_ids::Named,
    query,
    state::AppState,
};
use crate::{
    clock::Timestamp,
    keys::{ApiKey, LONGEST_LIFETIME, NewKey, PRIORITY_BOUNDS, Scope, Scopes, Tenant, Token},
};
use reverie_fields::{FieldError, Fields};

/// An API key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub struct KeyView {
    /// The part between the underscores; it is no secret.
    id: String,
    /// Whose jobs it opens.
    tenant: String,
    /// What it allows.
    #[schema(value_type = Vec<Scope>)]
    scopes: Scopes,
    /// Largest priority of its jobs; `null` if they may have any.
    #[schema(required = true, minimum = 0, maximum = 10)]
    max_priority: Option<i8>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it stops working by itself.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    last_used_at: Option<Timestamp>,
}

/// A key that was just made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreatedKey)]
pub struct CreatedKey {
    /// The whole key. Only this answer shows it.
    key: String,
    /// The part between the underscores; it is no secret.
    id: String,
    /// Whose jobs it opens.
    tenant: String,
    /// What it allows.
    #[schema(value_type = Vec<Scope>)]
    scopes: Scopes,
    /// Largest priority of its jobs; `null` if they may have any.
    #[schema(required = true, minimum = 0, maximum = 10)]
    max_priority: Option<i8>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it stops working by itself.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    expires_at: Option<Timestamp>,
}

/// API keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyList)]
pub struct KeyList {
    /// Newest first, at most 1000.
    keys: Vec<KeyView>,
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            tenant: key.tenant.to_string(),
            scopes: key.scopes,
            max_priority: key.max_priority,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: key.last_used_at,
        }
    }
}

/// Make a key
///
/// The answer shows the key once; the server keeps only a digest of its secret. A tenant may have several keys:
/// to replace one, make the next, use it, then revoke the old one. A tenant exists as soon as it has a key.
#[utoipa::path(
    post,
    path = "/v1/keys",
    operation_id = "createKey",
    tag = "keys",
    request_body(content((KeyRequest = "application/json", example = json!({
        "tenant": "lab", "scopes": ["jobs:read", "jobs:write"], "expires_in_seconds": 7_776_000,
    })))),
    responses(
        (status = 201, description = "The key.", body = CreatedKey, headers(
            ("Cache-Control" = String, description = "`no-store`."),
        )),
        (status = 400, response = Malformed),
        (status = 408, response = TooSlow),
        (status = 413, response = TooLarge),
        (status = 415, response = UnsupportedType),
        (status = 422, response = Invalid),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn create(State(state): State<AppState>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let asked = read_request(json_body::read(&parts.headers, body).await?).map_err(ApiError::Invalid)?;
    let token = Token::generate().map_err(ApiError::internal)?;
    let Asked { tenant, scopes, lifetime, max_priority } = asked;
    let new = NewKey { lifetime, max_priority, ..NewKey::new(&token, tenant, scopes) };
    let key = state.queue.add_key(&new).await?;
    info!(made = %key.id, of = %key.tenant, scopes = %key.scopes, "key made");
    let created = CreatedKey {
        key: token.reveal(),
        id: key.id.to_string(),
        tenant: key.tenant.to_string(),
        scopes: key.scopes,
        max_priority: key.max_priority,
        created_at: key.created_at,
        expires_at: key.expires_at,
    };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(created)).into_response())
}

/// List keys
///
/// Newest first, at most 1000; also those that have expired or were revoked.
#[utoipa::path(
    get,
    path = "/v1/keys",
    operation_id = "listKeys",
    tag = "keys",
    params(("tenant" = String, Query, description = "Only keys of this tenant.", example = "lab")),
    responses(
        (status = 200, description = "The keys.", body = KeyList),
        (status = 422, response = Invalid),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn list(State(state): State<AppState>, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let tenant = read_query(query.as_deref().unwrap_or_default()).map_err(ApiError::Invalid)?;
    let keys = state.queue.list_keys(tenant.as_ref()).await?;
    let list = KeyList { keys: keys.into_iter().map(KeyView::from).collect() };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(list)).into_response())
}

/// Revoke a key
///
/// The key stops working at once on the server that answers, and within 30 seconds on every other that shares its
/// database. Revoking twice is fine.
#[utoipa::path(
    delete,
    path = "/v1/keys/{id}",
    operation_id = "revokeKey",
    tag = "keys",
    params(("id" = String, Path, description = "Id of the key.", example = "0123456789abcdef")),
    responses(
        (status = 204, description = "The key opens nothing any more."),
        (status = 404, response = NotFound),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn revoke(State(state): State<AppState>, named: Named) -> Result<StatusCode, ApiError> {
    let id = named.key()?;
    let key = state.queue.revoke_key(&id).await?;
    state.auth.forget(&id);
    info!(revoked = %key.id, of = %key.tenant, "key revoked");
    Ok(StatusCode::NO_CONTENT)
}

/// A request for a key, as far as it is right.
struct Asked {
    tenant: Tenant,
    scopes: Scopes,
    lifetime: Option<Duration>,
    max_priority: Option<i8>,
}

/// Reads the body; each error names its member.
fn read_request(body: Value) -> Result<Asked, Vec<FieldError>> {
    let mut fields = Fields::new("", body);
    let tenant = read_tenant(&mut fields);
    let scopes = read_scopes(&mut fields);
    let seconds = fields.number("expires_in_seconds", 1, LONGEST_LIFETIME.as_secs());
    let max_priority = fields.number("max_priority", *PRIORITY_BOUNDS.start(), *PRIORITY_BOUNDS.end());
    for (name, missing) in [("tenant", matches!(tenant, Ok(None))), ("scopes", matches!(scopes, Ok(None)))] {
        if missing {
            fields.error(name, "is required");
        }
    }
    let errors = fields.finish();
    match (tenant, scopes) {
        (Ok(Some(tenant)), Ok(Some(scopes))) if errors.is_empty() => {
            Ok(Asked { tenant, scopes, lifetime: seconds.map(Duration::from_secs), max_priority })
        }
        _ => Err(errors),
    }
}

/// A member was given, and is wrong; the error is noted.
struct Wrong;

fn read_tenant(fields: &mut Fields) -> Result<Option<Tenant>, Wrong> {
    let Some(value) = fields.raw("tenant") else { return Ok(None) };
    match value.as_str().unwrap_or_default().parse() {
        Ok(tenant) => Ok(Some(tenant)),
        Err(error) => {
            fields.error("tenant", error.to_string());
            Err(Wrong)
        }
    }
}

fn read_scopes(fields: &mut Fields) -> Result<Option<Scopes>, Wrong> {
    let Some(value) = fields.raw("scopes") else { return Ok(None) };
    let names = value.as_array().filter(|names| !names.is_empty());
    let scopes: Option<Option<Scopes>> =
        names.map(|names| names.iter().map(|name| name.as_str()?.parse::<Scope>().ok()).collect());
    match scopes.flatten() {
        Some(scopes) => Ok(Some(scopes)),
        None => {
            fields.error("scopes", "give a list of one or more of jobs:read, jobs:write, admin");
            Err(Wrong)
        }
    }
}

/// Reads the query: a tenant, or nothing.
fn read_query(query: &str) -> Result<Option<Tenant>, Vec<FieldError>> {
    let mut fields = query::fields(query, |text| text.into());
    let tenant = read_tenant(&mut fields).unwrap_or_default();
    let errors = fields.finish();
    if errors.is_empty() { Ok(tenant) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pointers(errors: Vec<FieldError>) -> Vec<String> {
        errors.into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn a_request_is_read_and_every_mistake_told() {
        let asked = read_request(
            json!({ "tenant": "lab", "scopes": ["admin", "admin"], "expires_in_seconds": 60, "max_priority": 3 }),
        );
        let asked = asked.ok().unwrap();
        assert_eq!(asked.max_priority, Some(3));
        assert_eq!((asked.tenant.as_str(), asked.scopes.to_string()), ("lab", "admin".to_owned()));
        assert_eq!(asked.lifetime, Some(Duration::from_secs(60)));
        for (body, expected) in [
            (json!({}), vec!["/tenant", "/scopes"]),
            (json!({ "tenant": "A", "scopes": [] }), vec!["/tenant", "/scopes"]),
            (json!({ "tenant": 7, "scopes": "admin" }), vec!["/tenant", "/scopes"]),
            (json!({ "tenant": "a", "scopes": ["root"] }), vec!["/scopes"]),
            (
                json!({ "tenant": "a", "scopes": ["admin"], "expires_in_seconds": 0 }),
                vec!["/expires_in_seconds"],
            ),
            (json!({ "tenant": "a", "scopes": ["admin"], "secret": "x" }), vec!["/secret"]),
            (json!({ "tenant": "a", "scopes": ["admin"], "max_priority": -1 }), vec!["/max_priority"]),
            (json!([]), vec!["", "/tenant", "/scopes"]),
        ] {
            assert_eq!(pointers(read_request(body.clone()).err().unwrap()), expected, "{body}");
        }
    }

    #[test]
    fn a_query_is_read() {
        assert_eq!(read_query("").unwrap(), None);
        assert_eq!(read_query("tenant=lab").unwrap().unwrap().as_str(), "lab");
        for (query, expected) in [
            ("tenant=A", vec!["/tenant"]),
            ("tenant=a&tenant=b", vec!["/tenant"]),
            ("limit=1", vec!["/limit"]),
        ] {
            assert_eq!(pointers(read_query(query).unwrap_err()), expected, "{query}");
        }
    }
}
