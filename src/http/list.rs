//! `GET /v1/jobs`: the jobs, newest first, in pages.
//!
//! A cursor names the last job of the previous page, so jobs that are added or removed meanwhile neither
//! repeat nor hide others.

use axum::{
    Json,
    extract::{RawQuery, State},
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    contract::{Internal, Invalid, Unavailable},
    error::ApiError,
    query,
    state::AppState,
    view::{JobView, eta, view},
};
use crate::{
    auth::Caller,
    clock::Timestamp,
    jobs::{JobState, PageStart},
};
use reverie_fields::FieldError;

const DEFAULT_LIMIT: u32 = 20;
const MAX_LIMIT: u32 = 100;

/// A page of jobs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobList)]
pub struct JobList<'a> {
    /// Newest first.
    jobs: Vec<JobView<'a>>,
    /// Links to other pages.
    links: PageLinks,
}

/// Links to neighbouring pages.
#[derive(Debug, Serialize, ToSchema)]
struct PageLinks {
    /// The next page, with older jobs; `null` on the last.
    #[schema(required = true)]
    next: Option<String>,
}

/// The parsed query.
#[derive(Debug, PartialEq, Eq)]
struct Query {
    status: Option<JobState>,
    limit: u32,
    start: Option<PageStart>,
}

/// List jobs
///
/// Newest first. A page holds at most `limit` jobs; `links.next` leads to the next page. Jobs that are added
/// or removed meanwhile neither repeat nor hide others.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    operation_id = "listJobs",
    tag = "jobs",
    params(
        ("status" = inline(JobState), Query, description = "Only jobs in this state.", example = "succeeded"),
        ("limit" = u32, Query, minimum = 1, maximum = 100, description = "Jobs per page; 20 if absent.", example = 10),
        ("cursor" = String, Query, description = "Start of the page, taken from `links.next`.", example = "c198c0de5a7e.0198c0de-5a7e-7000-8000-00000000d0e5"),
    ),
    responses(
        (status = 200, description = "A page of jobs.", body = JobList),
        (status = 422, response = Invalid),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn list(
    State(state): State<AppState>,
    Caller { tenant, .. }: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query = read(query.as_deref().unwrap_or_default()).map_err(ApiError::Invalid)?;
    let page = state.queue.list(&tenant, query.status, query.start, query.limit).await?;
    let next = page.next.map(|start| {
        let status = query.status.map(|status| format!("status={status}&")).unwrap_or_default();
        format!("{}/v1/jobs?{status}limit={}&cursor={}", state.public_url(), query.limit, write_cursor(start))
    });
    let jobs = page.jobs.iter().map(|job| view(job, eta(&state, job), state.public_url())).collect();
    let list = JobList { jobs, links: PageLinks { next } };
    Ok(([(header::CACHE_CONTROL, "no-cache")], Json(list)).into_response())
}

/// Parses the query; each error names its parameter.
fn read(query: &str) -> Result<Query, Vec<FieldError>> {
    // Digits become a number, as in a JSON body; everything else is text.
    let mut fields =
        query::fields(query, |text| text.parse::<u64>().map_or_else(|_| text.into(), Value::from));
    let status = fields.choice::<JobState>("status");
    let limit = fields.number("limit", 1, MAX_LIMIT).unwrap_or(DEFAULT_LIMIT);
    let start = fields.raw("cursor").and_then(|cursor| {
        let start = cursor.as_str().and_then(read_cursor);
        if start.is_none() {
            fields.error("cursor", "unknown cursor; use the value of links.next");
        }
        start
    });
    let errors = fields.finish();
    if errors.is_empty() { Ok(Query { status, limit, start }) } else { Err(errors) }
}

/// A cursor: creation time and id, opaque to clients.
fn write_cursor(start: PageStart) -> String {
    format!("c{:x}.{}", start.created_at.as_millis(), start.id)
}

fn read_cursor(text: &str) -> Option<PageStart> {
    let (age, id) = text.strip_prefix('c')?.split_once('.')?;
    // The number parser also accepts signs, which no cursor has.
    let age = Some(age).filter(|age| age.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    let created_at = Timestamp::from_millis(i64::from_str_radix(age, 16).ok()?);
    Some(PageStart { created_at, id: id.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::jobs::JobId;
    use reverie_fields::arbitrary::quick;

    #[test]
    fn a_query_is_read() {
        assert_eq!(read(""), Ok(Query { status: None, limit: 20, start: None }));
        let start = PageStart { created_at: Timestamp::from_millis(1_700_000_000_000), id: JobId::new() };
        let query = format!("limit=100&status=failed&cursor={}", write_cursor(start));
        let expected = Query { status: Some(JobState::Failed), limit: 100, start: Some(start) };
        assert_eq!(read(&query), Ok(expected));
    }

    #[test]
    fn every_mistake_in_a_query_is_reported() {
        let errors = read("limit=101&status=lost&cursor=17&page=2&limit=0").unwrap_err();
        let mut pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/cursor", "/limit", "/limit", "/page", "/status"]);
        for query in ["limit=0", "limit=-1", "limit=", "limit=ten", "status=", "cursor=", "cursor=cz.1"] {
            assert_eq!(read(query).unwrap_err().len(), 1, "{query}");
        }
    }

    proptest! {
        #![proptest_config(quick())]

        #[test]
        fn every_cursor_leads_back_to_its_job(millis in any::<i64>(), id in any::<u128>(), limit in 1..=MAX_LIMIT) {
            // No job was created before 1970; any id is allowed.
            let id = uuid::Uuid::from_u128(id).to_string().parse();
            prop_assume!(id.is_ok());
            let start = PageStart { created_at: Timestamp::from_millis(millis.max(0)), id: id.unwrap() };
            prop_assert_eq!(read_cursor(&write_cursor(start)), Some(start));
            let query = format!("limit={limit}&cursor={}", write_cursor(start));
            prop_assert_eq!(read(&query), Ok(Query { status: None, limit, start: Some(start) }));
        }

        #[test]
        fn any_query_is_read_or_told_what_is_wrong(query in "((status|limit|cursor|[a-c%+]{1,3})=?[ -~]{0,12}&?){0,5}|.{0,40}") {
            if let Err(errors) = read(&query) {
                prop_assert!((1..=1 + query.len()).contains(&errors.len()));
            }
        }

        #[test]
        fn any_text_is_a_cursor_or_none(text in "c?[0-9a-fA-F+-]{0,20}[.]?[0-9a-f-]{0,40}|.{0,60}") {
            // A cursor that was read can be written again, and means the same.
            if let Some(start) = read_cursor(&text) {
                prop_assert_eq!(read_cursor(&write_cursor(start)), Some(start));
            }
        }
    }
}
