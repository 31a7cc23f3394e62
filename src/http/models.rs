//! Endpoints for the models and their layers.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::state::AppState;
use super::{contract::NotFound, error::ApiError, path_ids::Named};
use reverie_dream::model::{Model, Unreadable};
use reverie_graph::LayerInfo;

/// A network that dreams are made with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Model)]
pub struct ModelView {
    /// Value for `spec.model`.
    id: String,
    /// Description in words.
    description: String,
    /// Whether specs without a model use this one.
    default: bool,
    /// Digest of the model file.
    sha256: String,
    /// Terms of use in a few words, where they are known.
    #[schema(required = true)]
    licence: Option<String>,
    /// The layer that a spec without objectives maximises.
    default_layer: String,
    /// Layers that are worth a first look, from the image to the end of the network; twelve at most.
    featured_layers: Vec<String>,
    /// Layer of the logits of a classifier.
    #[schema(required = true)]
    class_layer: Option<String>,
    /// Number of layers.
    layers: usize,
    /// Share of the original's colours in this model's dreams, where a spec of the default preset does not say.
    preserve_colors: f64,
    /// Links to related resources.
    links: ModelLinks,
}

/// Paths, or absolute URLs if the server is configured so.
#[derive(Debug, Serialize, ToSchema)]
struct ModelLinks {
    /// The model.
    #[serde(rename = "self")]
    this: String,
    /// Its layers.
    layers: String,
    /// Its classes.
    classes: String,
    /// Its looks.
    looks: String,
}

/// All models.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelList {
    /// Sorted by id.
    models: Vec<ModelView>,
    /// Id of the model that specs without a model use.
    default: String,
    /// Files in the models folder that cannot be used.
    unreadable: Vec<UnreadableModel>,
}

/// A file in the models folder that cannot be used.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnreadableModel {
    /// Its name.
    file: String,
    /// What is wrong with it, in words.
    reason: String,
}

/// The layers of one model.
#[derive(Debug, Serialize, ToSchema)]
pub struct LayerList {
    /// Id of the model.
    model: String,
    /// From the image to the end of the network.
    layers: Vec<LayerInfo>,
}

/// The classes of one model.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClassList {
    /// Id of the model.
    model: String,
    /// In the order of the network.
    classes: Vec<ClassView>,
}

/// A class that a network knows.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Class)]
pub struct ClassView {
    /// Value for `class` in an objective.
    class: usize,
    /// What it is called, where that is known.
    #[schema(required = true)]
    name: Option<String>,
}

fn view(state: &AppState, model: &Model) -> ModelView {
    let this = format!("{}/v1/models/{}", state.public_url(), model.id);
    ModelView {
        id: model.id.clone(),
        description: model.description.clone(),
        default: state.catalogue.default_id() == model.id,
        sha256: model.sha256.clone(),
        licence: model.licence.clone(),
        default_layer: model.default_layer.clone(),
        featured_layers: model.featured.clone(),
        class_layer: model.class_layer.clone(),
        layers: model.network.layers().len(),
        preserve_colors: model.colors.0,
        links: ModelLinks {
            layers: format!("{this}/layers"),
            classes: format!("{this}/classes"),
            looks: format!("{}/v1/looks?model={}", state.public_url(), model.id),
            this,
        },
    }
}

pub(super) fn find<'a>(state: &'a AppState, id: &str) -> Result<&'a Arc<Model>, ApiError> {
    state.catalogue.get(id).ok_or_else(|| ApiError::NotFound { kind: "model", name: id.to_owned() })
}

/// List the models
///
/// A spec names its model by the id.
#[utoipa::path(
    get,
    path = "/v1/models",
    operation_id = "listModels",
    tag = "models",
    responses((status = 200, description = "All models, sorted by id.", body = ModelList))
)]
pub async fn list(State(state): State<AppState>) -> Json<ModelList> {
    let models = state.catalogue.iter().map(|model| view(&state, model)).collect();
    let unreadable = |Unreadable { file, reason }: Unreadable| UnreadableModel { file, reason };
    Json(ModelList {
        models,
        default: state.catalogue.default_id().to_owned(),
        unreadable: state.catalogue.unreadable().iter().cloned().map(unreadable).collect(),
    })
}

/// Get a model
///
/// What a model is, and the layers that it dreams of by default.
#[utoipa::path(
    get,
    path = "/v1/models/{id}",
    operation_id = "getModel",
    tag = "models",
    params(("id" = String, Path, description = "Id of the model.", example = "efficientnet-lite0")),
    responses(
        (status = 200, description = "The model.", body = ModelView),
        (status = 404, response = NotFound),
    )
)]
pub async fn one(State(state): State<AppState>, Named(id): Named) -> Result<Json<ModelView>, ApiError> {
    Ok(Json(view(&state, find(&state, &id)?)))
}

/// List a model's layers
///
/// An objective names its layer; `channels` says how many channels or classes there are to choose from.
#[utoipa::path(
    get,
    path = "/v1/models/{id}/layers",
    operation_id = "listLayers",
    tag = "models",
    params(("id" = String, Path, description = "Id of the model.", example = "efficientnet-lite0")),
    responses(
        (status = 200, description = "The layers, from the image to the end of the network.", body = LayerList),
        (status = 404, response = NotFound),
    )
)]
pub async fn layers(State(state): State<AppState>, Named(id): Named) -> Result<Json<LayerList>, ApiError> {
    let model = find(&state, &id)?;
    Ok(Json(LayerList { model: model.id.clone(), layers: model.network.layers() }))
}

/// List a model's classes
///
/// An objective of kind `class` or `probability` maximises one of them. A model that is no classifier has none.
#[utoipa::path(
    get,
    path = "/v1/models/{id}/classes",
    operation_id = "listClasses",
    tag = "models",
    params(("id" = String, Path, description = "Id of the model.", example = "efficientnet-lite0")),
    responses(
        (status = 200, description = "The classes, in the order of the network.", body = ClassList),
        (status = 404, response = NotFound),
    )
)]
pub async fn classes(State(state): State<AppState>, Named(id): Named) -> Result<Json<ClassList>, ApiError> {
    let model = find(&state, &id)?;
    let name = |class: usize| model.labels.as_ref().and_then(|labels| labels.get(class).cloned());
    let classes = (0..model.classes()).map(|class| ClassView { class, name: name(class) }).collect();
    Ok(Json(ClassList { model: model.id.clone(), classes }))
}
