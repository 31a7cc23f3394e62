//! The audit log: a line for each request that changes something, or that its key did not open. Who (key and tenant), from
//! where, what (method and route, path, job), and what came of it. Its target is `reverie::audit`, so that a filter can
//! send it elsewhere. A query is not part of it: it may hold what opens something.

use axum::{
    extract::MatchedPath,
    http::{StatusCode, header, request::Parts},
    response::Response,
};
use tracing::info;

use super::{auth::shown_path, client_address::ClientAddress};
use crate::auth::Caller;

/// A request, as it is noted before its answer is known.
pub(super) struct Entry {
    action: String,
    path: String,
    client: Option<String>,
    changes: bool,
}

impl Entry {
    /// Notes a request.
    pub fn of(request: &Parts) -> Self {
        let route = request.extensions.get::<MatchedPath>().map_or("(no route)", MatchedPath::as_str);
        let client = request.extensions.get::<ClientAddress>();
        Self {
            action: format!("{} {route}", request.method),
            path: shown_path(&request.uri).to_owned(),
            client: client.map(|ClientAddress(address)| address.to_string()),
            // A dry run is asked for whenever a slider moves.
            changes: !request.method.is_safe() && route != "/v1/dry-run",
        }
    }

    /// Writes the line, where there is something to tell. `caller` is `None` for a request that was not let in.
    pub fn write(self, caller: Option<&Caller>, response: &Response) {
        let status = response.status();
        if !self.changes && !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return;
        }
        // A submission makes the job that its answer leads to.
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let job = location.and_then(|location| location.rsplit('/').next());
        let key = caller.and_then(|caller| caller.key.as_ref()).map(ToString::to_string);
        let tenant = caller.map(|caller| caller.tenant.to_string());
        info!(
            target: "reverie::audit",
            action = self.action,
            path = self.path,
            job,
            key,
            tenant,
            client = self.client,
            status = status.as_u16(),
            "asked"
        );
    }
}
