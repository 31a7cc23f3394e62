//! What there is to dream with: the models and their layers.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;

use super::error::ApiError;
use crate::{app::AppState, graph::LayerInfo, models::Model};

/// A model as the API shows it.
#[derive(Debug, Serialize)]
pub struct ModelView {
    id: String,
    description: String,
    /// Whether it is used by specs that name no model.
    default: bool,
    sha256: String,
    default_layer: String,
    class_layer: Option<String>,
    layers: usize,
    links: ModelLinks,
}

#[derive(Debug, Serialize)]
struct ModelLinks {
    #[serde(rename = "self")]
    this: String,
    layers: String,
}

/// All models.
#[derive(Debug, Serialize)]
pub struct ModelList {
    models: Vec<ModelView>,
}

/// The layers of one model, from the image to the end.
#[derive(Debug, Serialize)]
pub struct LayerList {
    model: String,
    layers: Vec<LayerInfo>,
}

fn view(state: &AppState, model: &Model) -> ModelView {
    let this = format!("/v1/models/{}", model.id);
    ModelView {
        id: model.id.clone(),
        description: model.description.clone(),
        default: state.catalogue.default_id() == model.id,
        sha256: model.sha256.clone(),
        default_layer: model.default_layer.clone(),
        class_layer: model.class_layer.clone(),
        layers: model.network.layers().len(),
        links: ModelLinks { layers: format!("{this}/layers"), this },
    }
}

fn find<'a>(state: &'a AppState, id: &str) -> Result<&'a Arc<Model>, ApiError> {
    state.catalogue.get(id).ok_or_else(|| ApiError::NotFound { kind: "model", name: id.to_owned() })
}

/// `GET /v1/models`
pub async fn list(State(state): State<AppState>) -> Json<ModelList> {
    let models = state.catalogue.iter().map(|model| view(&state, model)).collect();
    Json(ModelList { models })
}

/// `GET /v1/models/{id}`
pub async fn one(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<ModelView>, ApiError> {
    Ok(Json(view(&state, find(&state, &id)?)))
}

/// `GET /v1/models/{id}/layers`
pub async fn layers(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<LayerList>, ApiError> {
    let model = find(&state, &id)?;
    Ok(Json(LayerList { model: model.id.clone(), layers: model.network.layers() }))
}
