//! Endpoints for tiles: what a layer or a channel dreams, as a small picture to choose by ([`crate::tile`]).
//!
//! The first request for a tile notes that it is wanted; a worker without a job renders it, and from then on it is there for
//! everybody. Nobody is charged: a tile is no job of a tenant, and the number of those that are wanted is bounded.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout_at};
use utoipa::ToSchema;

use super::{
    contract::{ImageFile, Internal, Invalid, NotFound, Unavailable},
    error::ApiError,
    models::find,
    query, revalidated,
    state::AppState,
    wait::{Preference, mark_applied},
};
use crate::{jobs::Wanted, objects::ObjectKey, tile::Tile};
use reverie_dream::{digest, model::Model};
use reverie_fields::FieldError;

/// How often a request that waits looks without a notification.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Seconds after which to ask again for a tile that is not rendered yet.
const ASK_AGAIN: u64 = 2;

/// The answer to who names the model's digest: under it the picture becomes another one only where a version renders tiles otherwise.
const FOR_A_WEEK: &str = "private, max-age=604800";

/// The answer to who does not: under the same id there may be another model tomorrow.
const FOR_A_DAY: &str = "private, max-age=86400";

/// A tile that is not rendered yet. It is as soon as a worker has no job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TilePending)]
pub struct PendingView {
    /// Where it stands in words.
    detail: &'static str,
    /// Number of tiles that are wanted, of all models.
    wanted: u64,
}

/// Get a layer's tile
///
/// What the whole layer dreams from noise, as a WebP of 128 × 128 pixels. Tiles are rendered when they are first asked for, by workers
/// that have no job, and kept.
#[utoipa::path(
    get,
    path = "/v1/models/{id}/layers/{layer}/tile",
    operation_id = "getLayerTile",
    tag = "models",
    params(
        ("id" = String, Path, description = "Id of the model.", example = "efficientnet-lite0"),
        ("layer" = String, Path, description = "Name of the layer.", example = "block3"),
        ("sha256" = String, Query, description = "Digest of the model. Where it is the model's, the tile may be kept for a week, otherwise for a day.", example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
        ("Prefer" = String, Header, description = "`wait=n`: answer when the tile is rendered, or after `n` seconds (at most 60).", example = "wait=10"),
        ("If-None-Match" = String, Header, description = "Entity tags that the client has.", example = "\"9f86d081884c7d65\""),
    ),
    responses(
        (status = 200, description = "The tile.", content((ImageFile = "image/webp")), headers(
            ("ETag" = String, description = "Entity tag: the digest of the picture."),
            ("Cache-Control" = String, description = "How long it may be kept."),
        )),
        (status = 202, description = "The tile is not rendered yet.", body = PendingView, headers(
            ("Retry-After" = u64, description = "Seconds after which to ask again."),
        )),
        (status = 304, description = "The client already has the tile.", headers(
            ("ETag" = String, description = "Entity tag of the picture."),
        )),
        (status = 404, response = NotFound),
        (status = 422, response = Invalid),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn layer(
    State(state): State<AppState>,
    names: Result<Path<(String, String)>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Path((id, layer)) = names.map_err(|_| ApiError::NoSuchPath)?;
    let model = find(&state, &id)?;
    answer(&state, model, &layer, None, query.as_deref(), &headers).await
}

/// Get a channel's tile
///
/// What one channel of the layer dreams from noise; otherwise as the layer's tile.
#[utoipa::path(
    get,
    path = "/v1/models/{id}/layers/{layer}/channels/{channel}/tile",
    operation_id = "getChannelTile",
    tag = "models",
    params(
        ("id" = String, Path, description = "Id of the model.", example = "efficientnet-lite0"),
        ("layer" = String, Path, description = "Name of the layer.", example = "block3"),
        ("channel" = String, Path, description = "Number of the channel, from 0.", example = "7"),
        ("sha256" = String, Query, description = "Digest of the model. Where it is the model's, the tile may be kept for a week, otherwise for a day.", example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
        ("Prefer" = String, Header, description = "`wait=n`: answer when the tile is rendered, or after `n` seconds (at most 60).", example = "wait=10"),
        ("If-None-Match" = String, Header, description = "Entity tags that the client has.", example = "\"9f86d081884c7d65\""),
    ),
    responses(
        (status = 200, description = "The tile.", content((ImageFile = "image/webp")), headers(
            ("ETag" = String, description = "Entity tag: the digest of the picture."),
            ("Cache-Control" = String, description = "How long it may be kept."),
        )),
        (status = 202, description = "The tile is not rendered yet.", body = PendingView, headers(
            ("Retry-After" = u64, description = "Seconds after which to ask again."),
        )),
        (status = 304, description = "The client already has the tile.", headers(
            ("ETag" = String, description = "Entity tag of the picture."),
        )),
        (status = 404, response = NotFound),
        (status = 422, response = Invalid),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn channel(
    State(state): State<AppState>,
    names: Result<Path<(String, String, String)>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Path((id, layer, channel)) = names.map_err(|_| ApiError::NoSuchPath)?;
    let model = find(&state, &id)?;
    answer(&state, model, &layer, Some(&channel), query.as_deref(), &headers).await
}

async fn answer(
    state: &AppState,
    model: &Model,
    layer: &str,
    channel: Option<&str>,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let tile = tile(model, layer, channel)?;
    let mut fields = query::fields(query.unwrap_or_default(), |text| text.into());
    let known = fields.name("sha256");
    let errors = fields.finish();
    if !errors.is_empty() {
        return Err(ApiError::Invalid(errors));
    }
    // One that cannot be dreamed of is refused at once, not by a worker after a while.
    let spec = tile.spec(model, &state.catalogue);
    spec.map_err(|errors| ApiError::NoTile(errors.into_iter().next().map_or_else(String::new, told)))?;
    let preference = Preference::of(headers);
    let mut response = match rendered(state, &tile, preference).await? {
        Some(picture) => {
            let etag = format!("\"{}\"", digest::sha256(&picture));
            let mut response =
                revalidated(headers, &etag, ([(header::CONTENT_TYPE, "image/webp")], picture))?;
            let kept = if known.as_ref() == Some(&model.sha256) { FOR_A_WEEK } else { FOR_A_DAY };
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
            response
        }
        None => {
            let detail = "the tile is not rendered yet; workers render tiles while they have no job";
            let pending = PendingView { detail, wanted: state.queue.tiles_wanted().await? };
            let fields =
                [(header::RETRY_AFTER, ASK_AGAIN.to_string()), (header::CACHE_CONTROL, "no-store".into())];
            (StatusCode::ACCEPTED, fields, Json(pending)).into_response()
        }
    };
    mark_applied(&mut response, preference);
    Ok(response)
}

fn told(error: FieldError) -> String {
    error.detail
}

/// The tile of these names.
fn tile(model: &Model, layer: &str, channel: Option<&str>) -> Result<Tile, ApiError> {
    let network = &model.network;
    let node = network.find(layer).map_err(|unknown| ApiError::NoTile(unknown.to_string()))?;
    let name = network.node(node).name.clone();
    let channel = match channel {
        None => None,
        Some(text) => {
            let channels = network.channels(node);
            let channel = text.parse::<u32>().ok().filter(|channel| (*channel as usize) < channels);
            let none = || format!("layer \"{name}\" has the channels 0 to {}", channels.saturating_sub(1));
            Some(channel.ok_or_else(|| ApiError::NoTile(none()))?)
        }
    };
    Ok(Tile { model: model.sha256.clone(), layer: name, channel })
}

/// The picture, if it is there now or within the wait that the client prefers.
async fn rendered(
    state: &AppState,
    tile: &Tile,
    preference: Option<Preference>,
) -> Result<Option<Bytes>, ApiError> {
    let end = Instant::now() + preference.map_or(Duration::ZERO, Preference::time);
    // Before the first look, so that nothing is missed.
    let mut changes = state.queue.signals().follow_tile(tile.id());
    loop {
        if let Some(picture) = state.objects.find(ObjectKey::Tile(tile.id())).await? {
            return Ok(Some(picture));
        }
        if state.queue.want_tile(tile).await? == Wanted::Failed {
            return Err(ApiError::internal("the tile could not be rendered; an earlier line has the cause"));
        }
        let next = async {
            tokio::select! {
                biased;
                () = state.draining() => false,
                () = changes.changed() => true,
                () = sleep(POLL_INTERVAL) => true,
            }
        };
        if !matches!(timeout_at(end, next).await, Ok(true)) {
            return Ok(None);
        }
    }
}
