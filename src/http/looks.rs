//! Endpoint for the looks: parts of specs that have a name.

use axum::{
    Json,
    extract::{RawQuery, State},
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{contract::Invalid, error::ApiError, query, state::AppState, studio};
use reverie_dream::{look::Look, model::Model, spec::SpecRequest};

/// A look of a model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Look)]
pub struct LookView {
    /// Id of the model that it belongs to.
    model: String,
    /// Value for `spec.look`.
    id: &'static str,
    /// What it is called.
    title: &'static str,
    /// What is seen in its dreams.
    description: &'static str,
    /// What it stands for: each of these members that a request does not have itself.
    #[schema(value_type = SpecRequest)]
    spec: Map<String, Value>,
    /// A small picture that shows it; `null` without the Studio.
    #[schema(required = true)]
    picture: Option<String>,
}

/// The looks of the models.
#[derive(Debug, Serialize, ToSchema)]
pub struct LookList {
    /// Sorted by model; the usual look of each first.
    looks: Vec<LookView>,
}

/// List the looks
///
/// A look is a part of a spec that has a name. A request names one in `spec.look`, and its own members win over the look's;
/// the job holds what came of it. Models that are not known have none.
#[utoipa::path(
    get,
    path = "/v1/looks",
    operation_id = "listLooks",
    tag = "models",
    params(("model" = String, Query, description = "Only looks of the model with this id.", example = "efficientnet-lite0")),
    responses(
        (status = 200, description = "The looks.", body = LookList),
        (status = 422, response = Invalid),
    )
)]
pub async fn list(
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Json<LookList>, ApiError> {
    let wanted = read(query.as_deref().unwrap_or_default(), &state)?;
    let models = state.catalogue.iter().filter(|model| wanted.as_ref().is_none_or(|id| *id == model.id));
    let looks = models.flat_map(|model| model.looks.iter().map(|look| view(&state, model, look))).collect();
    Ok(Json(LookList { looks }))
}

fn view(state: &AppState, model: &Model, look: &Look) -> LookView {
    LookView {
        model: model.id.clone(),
        id: look.id,
        title: look.title,
        description: look.description,
        spec: look.spec.clone(),
        picture: studio::path_of(state, &format!("looks/{}.webp", look.picture))
            .map(|path| format!("{}{path}", state.public_url())),
    }
}

/// The model of the query, if it names one.
fn read(query: &str, state: &AppState) -> Result<Option<String>, ApiError> {
    let mut fields = query::fields(query, |text| text.into());
    let model = fields.name("model");
    if let Some(id) = model.as_ref().filter(|id| state.catalogue.get(id).is_none()) {
        let available = state.catalogue.ids().join(", ");
        fields.error("model", format!("there is no model \"{id}\"; available are {available}"));
    }
    let errors = fields.finish();
    if errors.is_empty() { Ok(model) } else { Err(ApiError::Invalid(errors)) }
}
