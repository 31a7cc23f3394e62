//! Asks every request for its key, before anything else is done with it.
//!
//! One table says what each route needs. A new route below `/v1/jobs/` asks for a scope to read or to write, one below
//! `/v1/models/` for any key; one that the table does not name is for administrators only. The contract takes its
//! security requirements from the same table.

use std::time::Duration;

use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, Uri, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::{Span, field::display};

use super::{audit, error::ApiError, extract, links, state::AppState};
use crate::{
    auth::{Allowance, AuthError, Caller},
    config::AuthMode,
    keys::{Scope, Token},
};

/// What a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: health, the contract with its page, and the Studio.
    Open,
    /// Any valid key.
    AnyKey,
    /// A key with this scope.
    Scope(Scope),
    /// A key with the scope `admin`. Without keys there is one tenant, with whose jobs everyone may do what operators do.
    Operator,
}

/// What a method on a route asks for; `None` is no route.
pub fn access(method: &Method, route: Option<&str>) -> Access {
    let Some(route) = route else { return Access::Open };
    match route {
        "/healthz" | "/readyz" | "/openapi.yaml" => Access::Open,
        // The page asks for a key itself.
        "/" | "/studio/{*name}" => Access::Open,
        docs if docs == "/docs" || docs.starts_with("/docs/") => Access::Open,
        "/v1/looks" | "/v1/formats" => Access::AnyKey,
        models if models == "/v1/models" || models.starts_with("/v1/models/") => Access::AnyKey,
        // A link shows no more than its key may read.
        "/v1/jobs/{id}/links" => Access::Scope(Scope::JobsRead),
        jobs if jobs == "/v1/jobs" || jobs.starts_with("/v1/jobs/") => {
            let reads = matches!(*method, Method::GET | Method::HEAD);
            Access::Scope(if reads { Scope::JobsRead } else { Scope::JobsWrite })
        }
        "/v1/dry-run" | "/v1/uploads" | "/v1/uploads/{id}" => Access::Scope(Scope::JobsWrite),
        "/v1/usage" => Access::AnyKey,
        operations if operations == "/v1/operations" || operations.starts_with("/v1/operations/") => {
            Access::Operator
        }
        _ => Access::Scope(Scope::Admin),
    }
}

/// Middleware: refuses a request without a fitting key, and tells the handlers whose the others are.
pub async fn guard(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let entry = audit::Entry::of(&parts);
    let admitted = admit(&state, &parts).await;
    let counted = match &admitted {
        Ok(Some(caller)) => state.rates.count(&caller.tenant),
        _ => Ok(None),
    };
    let (refusal, allowance) = match (admitted, counted) {
        (Ok(caller), Ok(allowance)) => {
            if let Some(caller) = caller.clone() {
                parts.extensions.insert(caller);
            }
            let mut response = next.run(Request::from_parts(parts, body)).await;
            entry.write(caller.as_ref(), &response);
            tell(allowance, response.headers_mut());
            return response;
        }
        (Ok(_), Err(used_up)) => (too_many(used_up), Some(used_up)),
        (Err(refusal), _) => (refusal, None),
    };
    extract::discard(&parts.headers, body, state.config.limits.max_body_bytes);
    let mut response = refusal.into_response();
    entry.write(None, &response);
    tell(allowance, response.headers_mut());
    response
}

/// The refusal of a request that comes too early.
fn too_many(used_up: Allowance) -> ApiError {
    ApiError::QuotaExceeded {
        detail: format!("this tenant may send {} requests per second", used_up.limit),
        retry_after: seconds(used_up.wait),
    }
}

/// Whole seconds, at least one.
fn seconds(wait: Duration) -> u64 {
    (wait.as_secs_f64().ceil() as u64).max(1)
}

/// Tells the limit and what is left of it (draft-ietf-httpapi-ratelimit-headers).
fn tell(allowance: Option<Allowance>, headers: &mut HeaderMap) {
    let Some(Allowance { limit, remaining, wait }) = allowance else { return };
    let values = [
        ("ratelimit-policy", format!("\"requests\";q={limit};w=1")),
        ("ratelimit", format!("\"requests\";r={remaining};t={}", seconds(wait))),
    ];
    for (name, value) in values {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}

/// Who asks; `None` where the route is open.
async fn admit(state: &AppState, request: &Parts) -> Result<Option<Caller>, ApiError> {
    if holds_key(&request.uri) {
        return Err(ApiError::KeyInUrl);
    }
    let route = request.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    let access = access(&request.method, route);
    if access == Access::Open {
        return Ok(None);
    }
    let caller = match state.config.auth.mode {
        AuthMode::Off => Caller::anonymous(),
        AuthMode::Keys if request.headers.contains_key(header::AUTHORIZATION) => {
            state.auth.check(&token(&request.headers)?).await?
        }
        AuthMode::Keys => links::caller(state, request, route).await?.ok_or(ApiError::KeyMissing)?,
    };
    let span = Span::current();
    span.record("tenant", display(&caller.tenant));
    if let Some(key) = &caller.key {
        span.record("key", display(key));
    }
    match access {
        Access::Scope(scope) if !caller.scopes.has(scope) => match caller.key {
            Some(_) => Err(ApiError::MissingScope(scope)),
            None => Err(ApiError::NoKeys),
        },
        Access::Operator if caller.key.is_some() && !caller.scopes.has(Scope::Admin) => {
            Err(ApiError::MissingScope(Scope::Admin))
        }
        _ => Ok(Some(caller)),
    }
}

/// The token that a request carries.
fn token(headers: &HeaderMap) -> Result<Token, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(ApiError::KeyMissing)?;
    if values.next().is_some() {
        return Err(ApiError::KeyRefused("the Authorization header was sent more than once".into()));
    }
    let text = value.to_str().unwrap_or_default().trim();
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(ApiError::KeyRefused("the Authorization header must be \"Bearer rvk_…\"".into()));
    }
    token.trim().parse::<Token>().map_err(|error| ApiError::KeyRefused(error.to_string()))
}

/// Whether a URL holds a key, escaped or not: it may have come through logs, histories and referrers already.
fn holds_key(uri: &Uri) -> bool {
    let text = uri.path_and_query().map_or(uri.path(), |whole| whole.as_str());
    let mut parts = form_urlencoded::parse(text.as_bytes());
    parts.any(|(name, value)| Token::is_in(&name) || Token::is_in(&value))
}

/// A path as it may stand in logs and answers: a key does not.
pub fn shown_path(uri: &Uri) -> &str {
    if holds_key(uri) { "(a path with a key in it)" } else { uri.path() }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| ApiError::internal("a handler asks for the caller of an open route"))
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Store(error) => error.into(),
            refused => Self::KeyRefused(refused.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_is_not_named_is_for_administrators() {
        for (method, route, expected) in [
            (Method::GET, None, Access::Open),
            (Method::GET, Some("/healthz"), Access::Open),
            (Method::GET, Some("/docs/{*rest}"), Access::Open),
            (Method::GET, Some("/docsx"), Access::Scope(Scope::Admin)),
            (Method::GET, Some("/v1/models"), Access::AnyKey),
            (Method::HEAD, Some("/v1/jobs/{id}"), Access::Scope(Scope::JobsRead)),
            (Method::POST, Some("/v1/jobs"), Access::Scope(Scope::JobsWrite)),
            (Method::DELETE, Some("/v1/jobs/{id}"), Access::Scope(Scope::JobsWrite)),
            (Method::PATCH, Some("/v1/jobs/{id}"), Access::Scope(Scope::JobsWrite)),
            (Method::POST, Some("/v1/jobs/{id}/links"), Access::Scope(Scope::JobsRead)),
            (Method::GET, Some("/v1/keys"), Access::Scope(Scope::Admin)),
            (Method::POST, Some("/v1/operations/jobs/{id}/retry"), Access::Operator),
            (Method::GET, Some("/v1/operationsx"), Access::Scope(Scope::Admin)),
            (Method::GET, Some("/v2/anything"), Access::Scope(Scope::Admin)),
        ] {
            assert_eq!(access(&method, route), expected, "{method} {route:?}");
        }
    }

    #[test]
    fn a_token_is_read_from_one_header() {
        let good = Token::generate().unwrap().reveal();
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            token(&headers)
        };
        for value in [format!("Bearer {good}"), format!("bearer  {good} ")] {
            assert_eq!(read(&[&value]).unwrap().reveal(), good);
        }
        assert!(matches!(read(&[]), Err(ApiError::KeyMissing)));
        let bearer = format!("Bearer {good}");
        for wrong in [&["Basic cnZrOg=="][..], &["Bearer"], &["Bearer x"], &[&*good], &[&*bearer, &*bearer]] {
            let refused = read(wrong);
            let Err(ApiError::KeyRefused(detail)) = refused else { panic!("{refused:?}") };
            assert!(!detail.contains(&good), "{detail}");
        }
    }

    #[test]
    fn keys_in_urls_are_found_and_not_shown() {
        let key = Token::generate().unwrap().reveal();
        let escaped = key.replace("rvk_", "%72vk%5F");
        for url in [
            format!("/v1/jobs?key={key}"),
            format!("/v1/jobs?{key}"),
            format!("/v1/jobs/{key}/result"),
            format!("/v1/jobs/{escaped}"),
            format!("http://host/v1/jobs?limit=1&access_token={escaped}"),
        ] {
            let uri: Uri = url.parse().unwrap();
            assert!(holds_key(&uri), "{url}");
            assert!(!shown_path(&uri).contains(&key[4..]), "{url}");
        }
        let plain: Uri = "/v1/jobs?limit=1&status=queued".parse().unwrap();
        assert!(!holds_key(&plain));
        assert_eq!(shown_path(&plain), "/v1/jobs");
    }
}
