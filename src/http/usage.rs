//! `GET /v1/usage`: what the caller's tenant has used, by day.

use axum::{
    Json,
    extract::{RawQuery, State},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    contract::{Internal, Invalid, Unavailable},
    error::ApiError,
    query,
    state::AppState,
};
use crate::{
    auth::Caller,
    clock::Timestamp,
    jobs::{DAY, DailyUsage},
};
use reverie_fields::FieldError;

/// Days that are shown: by default, and at most.
const USUAL_DAYS: u32 = 31;
const MOST_DAYS: u32 = 366;

/// What a tenant has used.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Usage)]
pub struct UsageView {
    /// The tenant of the key.
    tenant: String,
    /// Bytes that the tenant's files take now: inputs, checkpoints, previews and results until they are deleted, and uploads until they expire.
    stored_bytes: u64,
    /// The most bytes that they may take; `null` for no limit.
    #[schema(required = true)]
    max_stored_bytes: Option<u64>,
    /// Newest first; days on which no job ended are left out.
    days: Vec<DayView>,
}

/// What a tenant has used on one day. A job counts on the day on which it ended.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageOfDay)]
struct DayView {
    /// The day, in UTC.
    #[schema(format = Date)]
    day: String,
    /// Jobs that ended.
    jobs: u64,
    /// Those of them with a dream.
    succeeded: u64,
    /// Pixels × gradient steps of the dreams, in millions.
    megapixel_iterations: f64,
    /// Seconds of pure rendering.
    render_seconds: f64,
    /// Length of the dreams' files in bytes.
    result_bytes: u64,
}

impl From<DailyUsage> for DayView {
    fn from(used: DailyUsage) -> Self {
        let midnight = Timestamp::from_millis(used.day.saturating_mul(DAY)).to_string();
        Self {
            day: midnight.split('T').next().unwrap_or_default().to_owned(),
            jobs: used.jobs,
            succeeded: used.succeeded,
            megapixel_iterations: used.megapixel_iterations,
            render_seconds: used.render_seconds,
            result_bytes: used.result_bytes,
        }
    }
}

/// Show usage
///
/// What the tenant of the key has used, by day, and what its files take now. Jobs count when they end, and stay counted when they
/// are erased.
#[utoipa::path(
    get,
    path = "/v1/usage",
    operation_id = "getUsage",
    tag = "jobs",
    params(
        ("days" = u32, Query, minimum = 1, maximum = 366, description = "Today and the days before it: so many, 31 if absent.", example = 7),
    ),
    responses(
        (status = 200, description = "The usage.", body = UsageView),
        (status = 422, response = Invalid),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn usage(
    State(state): State<AppState>,
    Caller { tenant, .. }: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<UsageView>, ApiError> {
    let days = read_days(query.as_deref().unwrap_or_default()).map_err(ApiError::Invalid)?;
    let today = state.clock.now().as_millis().div_euclid(DAY);
    let used = state.queue.usage(&tenant, today - i64::from(days) + 1).await?;
    let stored_bytes = state.queue.stored_bytes(&tenant).await?;
    let max_stored_bytes = state.config.quotas.max_stored_bytes();
    let days = used.into_iter().map(DayView::from).collect();
    Ok(Json(UsageView { tenant: tenant.to_string(), stored_bytes, max_stored_bytes, days }))
}

/// Reads the query.
fn read_days(query: &str) -> Result<u32, Vec<FieldError>> {
    // Queries have no numbers, only text that may look like one.
    let mut fields =
        query::fields(query, |text| text.parse::<i64>().map_or_else(|_| text.into(), Value::from));
    let days = fields.number("days", 1, MOST_DAYS);
    let errors = fields.finish();
    if errors.is_empty() { Ok(days.unwrap_or(USUAL_DAYS)) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read() {
        assert_eq!([read_days("").unwrap(), read_days("days=7").unwrap()], [31, 7]);
        for query in ["days=0", "days=367", "days=x", "days=1&days=2", "tenant=a"] {
            assert_eq!(read_days(query).unwrap_err().len(), 1, "{query}");
        }
    }
}
