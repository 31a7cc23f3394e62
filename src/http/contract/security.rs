//! What each operation of the contract asks for: taken from the table that the server goes by (`http::auth`).

use axum::http::Method;
use utoipa::openapi::{
    Components, OpenApi, Ref, RefOr,
    path::Operation,
    security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

use crate::{
    http::auth::{Access, access},
    keys::Scope,
};

/// Name of the scheme in the document.
const SCHEME: &str = "key";

/// Describes the keys, and says of every operation which it needs and how it refuses others.
pub(super) fn attach(document: &mut OpenApi) {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("rvk_<id>_<secret>")
        .description(Some(
            "An API key, from the operator (`reverie keys create`) or from `POST /v1/keys`. Operations name the scope \
             that they need.",
        ))
        .build();
    let components = document.components.get_or_insert_with(Components::new);
    components.add_security_scheme(SCHEME, SecurityScheme::Http(scheme));
    for (path, item) in &mut document.paths.paths {
        let operations = [
            (Method::GET, &mut item.get),
            (Method::POST, &mut item.post),
            (Method::PUT, &mut item.put),
            (Method::PATCH, &mut item.patch),
            (Method::DELETE, &mut item.delete),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                require(operation, access(&method, Some(path.as_str())));
            }
        }
    }
}

fn require(operation: &mut Operation, access: Access) {
    let scopes = match access {
        Access::Open => return,
        Access::AnyKey => Vec::new(),
        Access::Scope(scope) => vec![scope.as_str()],
        Access::Operator => vec![Scope::Admin.as_str()],
    };
    let mut refusals = vec![("401", "Unauthorized")];
    if !scopes.is_empty() {
        refusals.push(("403", "Forbidden"));
    }
    operation.security = Some(vec![SecurityRequirement::new(SCHEME, scopes)]);
    for (status, name) in refusals {
        let reference = RefOr::Ref(Ref::from_response_name(name));
        operation.responses.responses.insert(status.to_owned(), reference);
    }
    let quota = RefOr::Ref(Ref::from_response_name("QuotaExceeded"));
    operation.responses.responses.entry("429".to_owned()).or_insert(quota);
}
