//! `/v1/operations`: what operators see and do, with the scope `admin`: the jobs of all tenants, what each tenant has in the store, and the
//! workers of all processes.

use axum::{
    Json,
    extract::{RawQuery, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tracing::{Instrument, info};
use utoipa::ToSchema;

use super::{
    contract::{
        AlreadyFinished, Gone, Internal, Invalid, NotFailed, NotFound, QueueFull, StorageFull, Unavailable,
    },
    error::ApiError,
    jobs::cancel_counted,
    path_ids::Named,
    query,
    state::AppState,
    submit::{Pictures, accept},
    view::{self, JobView, eta, view},
};
use crate::{
    clock::Timestamp,
    jobs::{Idempotency, Job, JobId, JobOptions, JobState, NewJob, TenantLoad, WorkerReport},
};
use reverie_dream::spec::Precision;
use reverie_fields::{FieldError, choices};

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 100;

/// What there is to do, for whom, and who does it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Operations {
    /// Jobs of all tenants by state.
    jobs: JobCounts,
    /// When the job was accepted that has waited longest; `null` where none waits.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    oldest_waiting_at: Option<Timestamp>,
    /// Predicted seconds that one worker would take for all that is queued or running.
    backlog_seconds: f64,
    /// The tenants that have unfinished jobs or files: those with most waiting jobs first, at most 100.
    tenants: Vec<TenantView>,
    /// The workers of each process that has some, as of the last seconds.
    workers: Vec<WorkerView>,
}

/// Jobs by state.
#[derive(Debug, Serialize, ToSchema)]
struct JobCounts {
    /// Waiting.
    queued: u64,
    /// At work.
    running: u64,
    /// Taken out of the queue by a client.
    paused: u64,
    /// Ended with a dream.
    succeeded: u64,
    /// Ended with an error.
    failed: u64,
    /// Ended by a client or an operator.
    canceled: u64,
    /// Not finished before their deadline.
    expired: u64,
}

/// What a tenant has in the store now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TenantLoad)]
struct TenantView {
    /// Its name.
    tenant: String,
    /// Jobs that wait.
    queued: u64,
    /// Jobs at work.
    running: u64,
    /// Jobs that are paused.
    paused: u64,
    /// Bytes that its files take.
    stored_bytes: u64,
}

impl From<TenantLoad> for TenantView {
    fn from(TenantLoad { tenant, queued, running, paused, stored_bytes }: TenantLoad) -> Self {
        Self { tenant, queued, running, paused, stored_bytes }
    }
}

/// The workers of one process.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WorkerReport)]
struct WorkerView {
    /// Workers that can take jobs.
    workers: usize,
    /// The device of each, such as `cpu` or `cuda:0`; empty from processes of the version before.
    devices: Vec<String>,
    /// Megabytes of memory that one job may take.
    memory_mb: u64,
    /// How fast the machine is with each model that it has rendered with.
    speeds: Vec<SpeedView>,
}

/// How fast a machine is with a model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WorkerSpeed)]
struct SpeedView {
    /// Id of the model.
    model: String,
    /// Precision of the renders.
    precision: Precision,
    /// How many times as long a dream takes as on the machine that predictions are made for.
    relative_time: f64,
}

impl From<WorkerReport> for WorkerView {
    fn from(report: WorkerReport) -> Self {
        let mut speeds: Vec<SpeedView> = report
            .throughput
            .into_iter()
            .map(|(model, precision, factor)| SpeedView {
                model,
                precision,
                relative_time: view::thousandths(factor),
            })
            .collect();
        speeds.sort_by(|one, other| one.model.cmp(&other.model));
        Self {
            workers: report.workers,
            devices: report.devices,
            memory_mb: report.memory / 1_000_000,
            speeds,
        }
    }
}

choices! {
    /// The states whose jobs are listed for operators.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    enum WatchedState {
        /// Waiting, in the order of their ranks.
        Queued = "queued",
        /// At work, oldest first.
        Running = "running",
        /// Paused, longest first.
        Paused = "paused",
        /// Failed, newest first.
        Failed = "failed",
    }
}

/// Jobs of all tenants in one state.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OperationsJobs)]
struct JobsView<'a> {
    /// At most as many as were asked for.
    jobs: Vec<TenantJob<'a>>,
}

/// A job, and whose it is.
#[derive(Debug, Serialize, ToSchema)]
struct TenantJob<'a> {
    /// The tenant that it belongs to.
    tenant: &'a str,
    /// The job. Its links need a key of its tenant.
    job: JobView<'a>,
}

impl<'a> TenantJob<'a> {
    fn of(state: &AppState, job: &'a Job) -> Self {
        Self { tenant: job.tenant.as_str(), job: view(job, eta(state, job), state.public_url()) }
    }
}

/// Show operations
///
/// The queue by state and tenant, the job that has waited longest, what is stored, and the workers with their devices and speeds.
#[utoipa::path(
    get,
    path = "/v1/operations",
    operation_id = "getOperations",
    tag = "operations",
    responses(
        (status = 200, description = "What there is to do, for whom, and who does it.", body = Operations),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn overview(State(state): State<AppState>) -> Result<Response, ApiError> {
    let counts = state.queue.counts().await?;
    let jobs = JobCounts {
        queued: counts.queued,
        running: counts.running,
        paused: counts.paused,
        succeeded: counts.succeeded,
        failed: counts.failed,
        canceled: counts.canceled,
        expired: counts.expired,
    };
    let overview = Operations {
        jobs,
        oldest_waiting_at: state.queue.oldest_queued().await?,
        backlog_seconds: view::thousandths(state.queue.backlog_seconds().await?),
        tenants: state.queue.tenant_loads().await?.into_iter().map(TenantView::from).collect(),
        workers: state.cluster.reports().into_iter().map(WorkerView::from).collect(),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(overview)).into_response())
}

/// List the jobs of all tenants
///
/// Those in one state: the queued ones as their ranks have it, the running and the paused ones oldest first, the failed ones newest first. `GET
/// /v1/jobs` has pages of one tenant's.
#[utoipa::path(
    get,
    path = "/v1/operations/jobs",
    operation_id = "listAllJobs",
    tag = "operations",
    params(
        ("status" = inline(WatchedState), Query, description = "The state; `failed` if absent.", example = "failed"),
        ("limit" = u32, Query, minimum = 1, maximum = 100, description = "Most jobs; 50 if absent.", example = 10),
    ),
    responses(
        (status = 200, description = "The first jobs in this state.", body = JobsView),
        (status = 422, response = Invalid),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn jobs(State(state): State<AppState>, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let (status, limit) = read(query.as_deref().unwrap_or_default()).map_err(ApiError::Invalid)?;
    let jobs = state.queue.jobs_of_all(status, limit).await?;
    let jobs = jobs.iter().map(|job| TenantJob::of(&state, job)).collect();
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(JobsView { jobs })).into_response())
}

/// Reads the query; each error names its parameter.
fn read(query: &str) -> Result<(JobState, u32), Vec<FieldError>> {
    let mut fields =
        query::fields(query, |text| text.parse::<u64>().map_or_else(|_| text.into(), Into::into));
    let status = match fields.choice::<WatchedState>("status").unwrap_or(WatchedState::Failed) {
        WatchedState::Queued => JobState::Queued,
        WatchedState::Running => JobState::Running,
        WatchedState::Paused => JobState::Paused,
        WatchedState::Failed => JobState::Failed,
    };
    let limit = fields.number("limit", 1, MAX_LIMIT).unwrap_or(DEFAULT_LIMIT);
    let errors = fields.finish();
    if errors.is_empty() { Ok((status, limit)) } else { Err(errors) }
}

/// Cancel a job of any tenant
///
/// As its tenant could: at once if it waits, within one tile if it runs.
#[utoipa::path(
    post,
    path = "/v1/operations/jobs/{id}/cancel",
    operation_id = "cancelAnyJob",
    tag = "operations",
    params(("id" = String, Path, format = Uuid, description = "Id of the job.", example = "0198c0de-5a7e-7000-8000-00000000d0e5")),
    responses(
        (status = 200, description = "The job is canceled.", body = TenantJob),
        (status = 202, description = "The job will stop.", body = TenantJob),
        (status = 404, response = NotFound),
        (status = 409, response = AlreadyFinished),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn cancel(State(state): State<AppState>, named: Named) -> Result<Response, ApiError> {
    let found = state.queue.job_of_any(named.job()?).await?;
    let job = cancel_counted(&state, &found.tenant, found.id).await?;
    info!(job = %job.id, tenant = %job.tenant, "an operator cancels a job");
    let status = if job.state.is_finished() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(show(&state, status, &job))
}

/// Retry a failed job of any tenant
///
/// A failed job stays as it is. A new one of the same tenant is accepted with the same spec, pictures and priority, as long as the
/// pictures are kept; the tenant's quotas apply. It has no deadline, its end is told to no webhook, and a change that still waited is left out. Retried
/// again, the answer is the job that the first retry made.
#[utoipa::path(
    post,
    path = "/v1/operations/jobs/{id}/retry",
    operation_id = "retryJob",
    tag = "operations",
    params(("id" = String, Path, format = Uuid, description = "Id of the failed job.", example = "0198c0de-5a7e-7000-8000-00000000d0e5")),
    responses(
        (status = 202, description = "The new job.", body = TenantJob, headers(
            ("Location" = String, description = "Path of the job, for its tenant."),
        )),
        (status = 404, response = NotFound),
        (status = 409, response = NotFailed),
        (status = 410, response = Gone),
        (status = 429, response = QueueFull),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
        (status = 507, response = StorageFull),
    )
)]
pub async fn retry(State(state): State<AppState>, named: Named) -> Result<Response, ApiError> {
    let failed = state.queue.job_of_any(named.job()?).await?;
    if failed.state != JobState::Failed {
        return Err(ApiError::NotFailed(failed.state));
    }
    if let Some(erased_at) = failed.erased_at {
        return Err(ApiError::Gone(erased_at));
    }
    if state.is_draining() {
        return Err(ApiError::Unavailable("the server is stopping and accepts no new jobs"));
    }
    let pictures = Pictures::of(&state, &failed, &failed.spec).await?;
    let job = NewJob {
        tenant: failed.tenant.clone(),
        options: JobOptions { priority: failed.priority, deadline: None },
        forecast: failed.forecast,
        input_bytes: pictures.bytes(),
        idempotency: Some(Idempotency {
            key: format!("retry-{}", failed.id),
            fingerprint: failed.id.to_string(),
            request: failed.id.to_string(),
        }),
        ..NewJob::new(JobId::new(), failed.spec.clone())
    };
    // As with a submission: if the client disconnects now, no picture may stay behind without a job.
    let accepting = tokio::spawn(accept(state.clone(), pictures, job).in_current_span());
    let job = accepting.await.map_err(ApiError::internal)??.job;
    info!(job = %job.id, failed = %failed.id, tenant = %job.tenant, "an operator retries a job");
    let mut response = show(&state, StatusCode::ACCEPTED, &job);
    let location = format!("{}{}", state.public_url(), view::path(job.id));
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_str(&location).map_err(ApiError::internal)?);
    Ok(response)
}

fn show(state: &AppState, status: StatusCode, job: &Job) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(TenantJob::of(state, job))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_a_state_that_operators_watch() {
        assert_eq!(read(""), Ok((JobState::Failed, DEFAULT_LIMIT)));
        assert_eq!(read("status=running&limit=100"), Ok((JobState::Running, 100)));
        for (query, pointer) in [
            ("status=succeeded", "/status"),
            ("limit=0", "/limit"),
            ("limit=101", "/limit"),
            ("tenant=a", "/tenant"),
        ] {
            let errors = read(query).unwrap_err();
            assert_eq!((errors.len(), &*errors[0].pointer), (1, pointer), "{query}");
        }
    }
}
