//! Checks a submission, and predicts what it costs.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tracing::info;

use super::{
    super::{
        error::ApiError,
        extract::SubmitRequest,
        fetch,
        pictures::size_of,
        request_headers::{self, JobHeaders},
        state::AppState,
    },
    accept::Pictures,
    fork,
};
use crate::{
    auth::Caller,
    jobs::{Forecast, Idempotency, Job, JobId, JobOptions, NewJob, Webhook},
};
use reverie_dream::spec::{self, DreamSpec, GuideSent, InputKind};
use reverie_fields::{FieldError, note, note_all};
use reverie_picture as picture;

/// A request that is right.
pub(in crate::http) enum Checked {
    /// It is to be accepted.
    New(Pictures, Box<NewJob>),
    /// It came before: what it gives by URL need not be fetched again, and may be gone.
    Repeated(Box<Job>),
}

/// Validates the spec and the images, and reports all errors together. Pictures by URL are fetched where all else is right.
pub(super) async fn check(
    state: &AppState,
    caller: Caller,
    mut request: SubmitRequest,
    request_headers: JobHeaders,
) -> Result<Checked, ApiError> {
    // The earlier of two deadlines counts.
    let deadline = request.options.deadline.into_iter().chain(request_headers.deadline).min();
    let options = JobOptions { deadline, ..request.options };
    if let Some(bound) = caller.max_priority.filter(|bound| options.priority > *bound) {
        let problem = format!("must be at most {bound}, the largest priority of this key");
        note(&mut request.errors, FieldError::new("/priority", problem));
    }
    let webhook = std::mem::take(&mut request.webhook).check(state, &caller.tenant, &mut request.errors);
    let terms = Terms { caller, options, webhook, idempotency_key: request_headers.idempotency_key };
    match request.from.take() {
        Some(from) => fork::check(state, from, request, terms).await,
        None => check_pictures(state, request, terms).await,
    }
}

/// What goes for any submission, whatever is dreamed.
pub(super) struct Terms {
    pub caller: Caller,
    pub options: JobOptions,
    pub webhook: Option<Webhook>,
    pub idempotency_key: Option<String>,
}

/// Checks a dream of what was sent with it.
async fn check_pictures(state: &AppState, request: SubmitRequest, terms: Terms) -> Result<Checked, ApiError> {
    let SubmitRequest { mut image, mut mask, mut guide, spec, mut errors, mut share, .. } = request;
    let Terms { caller: Caller { tenant, .. }, options, webhook, idempotency_key } = terms;
    let given = [image.clone(), mask.clone(), guide.clone()];
    // A file that could not be unpacked has its own error, and does not count as missing.
    let sent =
        |file: &Option<Bytes>, pointer| file.is_some() || errors.iter().any(|error| error.pointer == pointer);
    let start = match (sent(&image, "/image"), sent(&mask, "/mask")) {
        (true, false) => InputKind::Image,
        (true, true) => InputKind::Masked,
        (false, _) => InputKind::Nothing { image: "/image" },
    };
    let guide_sent = GuideSent { pointer: "/guide", sent: sent(&guide, "/guide") };
    let sent_spec = idempotency_key.as_ref().map(|_| spec.clone());
    let catalogue = Arc::clone(&state.catalogue);
    let resolve = move || spec::resolve_with_guide("/spec", spec, &catalogue, start, Some(guide_sent));
    let resolving = tokio::task::spawn_blocking(resolve);
    let spec = resolving.await.map_err(ApiError::internal)?;
    let spec = spec.map_err(|wrong| note_all(&mut errors, wrong));
    let mut idempotency = None;
    if given.iter().any(|file| fetch::is_elsewhere(file.as_ref())) {
        if let Ok(spec) = &spec
            && errors.is_empty()
        {
            if let Some(idempotency_key) = &idempotency_key {
                let same =
                    fingerprints(idempotency_key, &given, sent_spec.clone(), spec, options, webhook.clone())
                        .await?;
                if let Some(job) = state.queue.repeated(&tenant, &same).await? {
                    info!(job = %job.id, "a request was repeated");
                    return Ok(Checked::Repeated(Box::new(job)));
                }
                idempotency = Some(same);
            }
            for (pointer, file) in [("/image", &mut image), ("/mask", &mut mask), ("/guide", &mut guide)] {
                fetch::resolve(state, &tenant, pointer, file, &mut share, &mut errors).await?;
            }
        }
        [&mut image, &mut mask, &mut guide].into_iter().for_each(fetch::leave_out);
    }
    let mut unknown = Vec::new();
    let size = size_of(state, "/image", image.as_ref(), &mut errors, &mut unknown).await?;
    let mask_size = size_of(state, "/mask", mask.as_ref(), &mut errors, &mut unknown).await?;
    let guide_size = size_of(state, "/guide", guide.as_ref(), &mut errors, &mut unknown).await?;
    match (size, mask_size) {
        (Some((height, width)), Some((mask_height, mask_width))) => {
            let covers = picture::check_mask((mask_width, mask_height), (width, height));
            if let Err(error) = covers {
                note(&mut errors, FieldError::new("/mask", error.to_string()));
            }
        }
        (None, Some(_)) if given[0].is_none() => {
            note(&mut errors, FieldError::new("/mask", "needs an image of the same size; none was sent"));
        }
        _ => {}
    }
    let spec = match spec {
        Ok(spec) if errors.is_empty() && unknown.is_empty() => spec,
        Ok(_) if errors.is_empty() => return Err(ApiError::UnknownFormat(unknown)),
        _ => {
            note_all(&mut errors, unknown);
            return Err(ApiError::Invalid(errors));
        }
    };
    check_encoder(&spec).await?;
    let size = size.or(spec.noise.map(|noise| (noise.height, noise.width)));
    let size = size.ok_or_else(|| ApiError::internal("the spec has neither an image nor a noise size"))?;
    let forecast = match &idempotency_key {
        // It was admitted when it was first sent.
        Some(key) if state.queue.with_idempotency_key(&tenant, key).await?.is_some() => None,
        _ => Some(predict(state, &spec, size, guide_size).await?),
    };
    let pictures = Pictures::sent([image, mask, guide], share);
    let input_bytes = pictures.bytes();
    let mut job =
        NewJob { tenant, options, forecast, webhook, input_bytes, ..NewJob::new(JobId::new(), spec) };
    job.idempotency = match (idempotency, &idempotency_key) {
        (None, Some(key)) => {
            Some(fingerprints(key, &given, sent_spec, &job.spec, options, job.webhook.clone()).await?)
        }
        (known, _) => known,
    };
    Ok(Checked::New(pictures, Box::new(job)))
}

/// The key of a request with the hashes of what it asks for. A picture by URL counts as its URL.
async fn fingerprints(
    idempotency_key: &str,
    given: &[Option<Bytes>; 3],
    sent: Option<Value>,
    spec: &DreamSpec,
    options: JobOptions,
    webhook: Option<Webhook>,
) -> Result<Idempotency, ApiError> {
    let (files, spec) = (given.clone(), spec.clone());
    let hashing = tokio::task::spawn_blocking(move || {
        let request = request_headers::fingerprint(&files, &sent, &options, webhook.as_ref())?;
        let resolved = request_headers::fingerprint(&files, &spec, &options, webhook.as_ref())?;
        Ok::<_, ApiError>((resolved, request))
    });
    let (fingerprint, request) = hashing.await.map_err(ApiError::internal)??;
    Ok(Idempotency { key: idempotency_key.to_owned(), fingerprint, request })
}

/// Refuses a video where this machine cannot write one.
pub(super) async fn check_encoder(spec: &DreamSpec) -> Result<(), ApiError> {
    if spec.format.is_video() {
        // The first time it asks the program what it can.
        let format = spec.format;
        let looking = tokio::task::spawn_blocking(move || picture::can_write(format));
        let found = looking.await.map_err(ApiError::internal)?;
        found.map_err(|error| ApiError::from_picture("/spec/format", error))?;
    }
    Ok(())
}

/// Predicts the cost of a dream, and refuses one that would fail or take too much.
pub(in crate::http) async fn predict(
    state: &AppState,
    spec: &DreamSpec,
    size: (u32, u32),
    guide: Option<(u32, u32)>,
) -> Result<Forecast, ApiError> {
    let model = state.catalogue.get(&spec.model).cloned();
    let model = model.ok_or_else(|| ApiError::internal(format!("model {} is gone", spec.model)))?;
    let (admission, throughput, spec) = (state.admission(), Arc::clone(&state.throughput), spec.clone());
    let check = move || admission.check(&throughput, &model, &spec, size, guide);
    let checking = tokio::task::spawn_blocking(check);
    Ok(checking.await.map_err(ApiError::internal)??)
}
