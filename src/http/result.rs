//! `GET /v1/jobs/{id}/result`: the dream, or a range of its bytes.

use std::{num::NonZeroUsize, ops::Range, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_range_header::{SyntacticallyCorrectRange, parse_range_header_with_max_ranges};

use super::{
    contract::{BeyondEnd, Gone, ImageFile, Internal, NoResult, NotFound, Unavailable},
    digests,
    error::ApiError,
    none_match,
    path_ids::Named,
    state::AppState,
    view::{eta, poll_after},
};
use crate::{
    auth::Caller,
    jobs::{Job, JobResult, JobState},
    objects::{ObjectError, ObjectKey},
};

/// How long client caches may keep a result: it never changes, but it may be erased.
const RESULT_CACHE_CONTROL: &str = "private, max-age=86400, immutable";

/// Lifetime of a signed URL: long enough to start a download, which continues after it.
const URL_LIFETIME: Duration = Duration::from_secs(300);

/// Get the result
///
/// The whole file, or a part of it. If the server keeps its results in a store that clients can reach, it may
/// answer a request for the whole file with a URL of the file in that store. The URL needs no further
/// permission and is valid for some minutes. Follow it without the headers that you would send to this
/// server; entity tags there are the store's own.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/result",
    operation_id = "getResult",
    tag = "jobs",
    params(
        ("id" = String, Path, format = Uuid, description = "Id of the job.", example = "0198c0de-5a7e-7000-8000-00000000d0e5"),
        ("If-None-Match" = String, Header, description = "Entity tags that the client has.", example = "\"9f86d081884c7d65\""),
        ("Range" = String, Header, description = "A single range of bytes; for several ranges the response is the whole file.", example = "bytes=0-99"),
        ("If-Range" = String, Header, description = "The entity tag that the range belongs to.", example = "\"9f86d081884c7d65\""),
    ),
    responses(
        (status = 200, description = "The file.",
            content((ImageFile = "image/png"), (ImageFile = "image/jpeg"), (ImageFile = "image/webp"), (ImageFile = "image/gif"), (ImageFile = "video/mp4"), (ImageFile = "video/webm")),
            headers(
                ("ETag" = String, description = "Entity tag: the digest of the file."),
                ("Accept-Ranges" = String, description = "`bytes`."),
                ("Cache-Control" = String, description = "A result never changes."),
                ("Content-Disposition" = String, description = "A file name with the model and the layer."),
                ("Repr-Digest" = String, description = "SHA-256 of the file (RFC 9530)."),
            )
        ),
        (status = 206, description = "The requested part.",
            content((ImageFile = "image/png"), (ImageFile = "image/jpeg"), (ImageFile = "image/webp"), (ImageFile = "image/gif"), (ImageFile = "video/mp4"), (ImageFile = "video/webm")),
            headers(
                ("ETag" = String, description = "Entity tag of the whole file."),
                ("Repr-Digest" = String, description = "SHA-256 of the whole file (RFC 9530)."),
                ("Content-Range" = String, description = "Position of the part and length of the file, such as `bytes 0-99/1234`."),
            )
        ),
        (status = 303, description = "The file is at another URL: fetch it there.", headers(
            ("Location" = String, description = "URL of the file, valid for five minutes. Anyone who knows it can fetch the file."),
            ("Cache-Control" = String, description = "`no-store`."),
        )),
        (status = 304, description = "The client already has the file.", headers(
            ("ETag" = String, description = "Entity tag of the file."),
        )),
        (status = 404, response = NotFound),
        (status = 409, response = NoResult),
        (status = 410, response = Gone),
        (status = 416, response = BeyondEnd),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
    )
)]
pub async fn result(
    State(state): State<AppState>,
    Caller { tenant, .. }: Caller,
    named: Named,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = state.queue.get(&tenant, named.job()?).await?;
    if let (JobState::Succeeded, Some(erased_at)) = (job.state, job.erased_at) {
        return Err(ApiError::Gone(erased_at));
    }
    let (Some(result), Some(key)) = (&job.result, ObjectKey::result_of(&job)) else {
        return Err(no_result(&job, eta(&state, &job)));
    };
    let etag = format!("\"{}\"", result.sha256);
    let described = [
        (header::ETAG, etag.clone()),
        (header::ACCEPT_RANGES, "bytes".into()),
        (header::CONTENT_TYPE, result.media_type.clone()),
        (header::CONTENT_DISPOSITION, disposition(&job)),
        (header::CACHE_CONTROL, RESULT_CACHE_CONTROL.into()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".into()),
    ];
    let mut response = if none_match(&headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else if let Some(range) = requested_range(&method, &headers, &etag, result.size)? {
        open(&state, &job, key, Some(range), result.size).await?
    } else if method == Method::HEAD {
        match state.objects.size(key).await {
            Ok(size) => [(header::CONTENT_LENGTH, size.to_string())].into_response(),
            Err(error) => return Err(missing(&state, &job, error).await),
        }
    } else if let Some(address) = redirect_to_store(&state, key, &job, result).await? {
        return Ok(address);
    } else {
        open(&state, &job, key, None, result.size).await?
    };
    for (name, value) in described {
        let value = HeaderValue::from_str(&value).map_err(ApiError::internal)?;
        response.headers_mut().insert(name, value);
    }
    // Of the whole file, in an answer with a part of it too.
    if let Some(value) = digests::of_result(&result.sha256).and_then(|text| HeaderValue::from_str(&text).ok())
    {
        response.headers_mut().insert("repr-digest", value);
    }
    Ok(response)
}

/// If clients may fetch the file from the store directly: the redirect to it. The store repeats the headers
/// that this server would send.
async fn redirect_to_store(
    state: &AppState,
    key: ObjectKey,
    job: &Job,
    result: &JobResult,
) -> Result<Option<Response>, ApiError> {
    if !state.config.storage.redirect_results {
        return Ok(None);
    }
    let answer = [
        ("response-content-type", result.media_type.as_str()),
        ("response-content-disposition", &disposition(job)),
        ("response-cache-control", RESULT_CACHE_CONTROL),
    ];
    let Some(address) = state.objects.signed_address(key, URL_LIFETIME, &answer).await? else {
        return Ok(None);
    };
    // The URL grants access for a while, so no cache should keep it.
    let headers = [(header::LOCATION, address), (header::CACHE_CONTROL, "no-store".into())];
    Ok(Some((StatusCode::SEE_OTHER, headers).into_response()))
}

/// The `Content-Disposition` with the file name.
fn disposition(job: &Job) -> String {
    format!("inline; filename=\"{}\"", file_name(job))
}

/// The file or a part of it, and the headers that depend on its length.
async fn open(
    state: &AppState,
    job: &Job,
    key: ObjectKey,
    range: Option<Range<u64>>,
    size: u64,
) -> Result<Response, ApiError> {
    let opened = match &range {
        Some(range) => state.objects.open_range(key, range.clone()).await,
        None => state.objects.open(key).await,
    };
    let object = match opened {
        Ok(object) => object,
        Err(error) => return Err(missing(state, job, error).await),
    };
    let mut response = Body::from_stream(object.stream).into_response();
    if let Some(range) = range {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let content_range = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        let content_range = HeaderValue::from_str(&content_range).map_err(ApiError::internal)?;
        response.headers_mut().insert(header::CONTENT_RANGE, content_range);
    }
    response.headers_mut().insert(header::CONTENT_LENGTH, object.size.into());
    Ok(response)
}

/// Why a picture is missing. A job that is being erased loses its picture a moment before its row, and an
/// expired one a moment after it is marked, so the row decides. If the row still promises the picture, it is
/// lost.
pub(super) async fn missing(state: &AppState, job: &Job, error: ObjectError) -> ApiError {
    let ObjectError::NotFound(key) = error else { return error.into() };
    match state.queue.get(&job.tenant, job.id).await.map(|job| job.erased_at) {
        Ok(Some(erased_at)) => ApiError::Gone(erased_at),
        Ok(None) => ApiError::ResultLost(key),
        Err(error) => error.into(),
    }
}

/// The range that the client requests, or `None` for the whole file (RFC 9110, section 14). `If-Range` with
/// another entity tag, more than one range, or an invalid range select the whole file.
///
/// # Errors
/// [`ApiError::BeyondEnd`].
fn requested_range(
    method: &Method,
    headers: &HeaderMap,
    etag: &str,
    size: u64,
) -> Result<Option<Range<u64>>, ApiError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let outdated = headers.contains_key(header::IF_RANGE) && text(header::IF_RANGE) != Some(etag);
    match text(header::RANGE) {
        Some(range) if method == Method::GET && !outdated => match parse_range(range, size) {
            Some(range) if range.is_empty() => Err(ApiError::BeyondEnd { size }),
            range => Ok(range),
        },
        _ => Ok(None),
    }
}

/// Parses a single byte range; empty if it starts after the end, `None` if it must be ignored.
fn parse_range(text: &str, size: u64) -> Option<Range<u64>> {
    let parsed = parse_range_header_with_max_ranges(text, NonZeroUsize::MIN).ok()?.into_ranges();
    match *parsed.first()? {
        SyntacticallyCorrectRange::FromStart(first) => Some(first.min(size)..size),
        SyntacticallyCorrectRange::FromLast(length) => Some(size.saturating_sub(length)..size),
        SyntacticallyCorrectRange::Indexed(first, last) => {
            Some(first.min(size)..last.saturating_add(1).min(size))
        }
    }
}

/// Why there is no result.
fn no_result(job: &Job, eta: Option<f64>) -> ApiError {
    let why = match job.state {
        JobState::Queued | JobState::Running | JobState::Paused => "there is no result yet",
        JobState::Failed => "there is no result; the job's error says why",
        _ => "there is no result",
    };
    ApiError::NoResult {
        detail: format!("the job is {}: {why}", job.state),
        retry_after: poll_after(job, eta),
    }
}

/// A file name from the model, the layer, and the end of the id, where ids differ most.
fn file_name(job: &Job) -> String {
    let layer = job.spec.objectives.first().map_or("dream", |objective| &objective.layer);
    let id = job.id.to_string();
    let (_, short) = id.split_at(id.len() - 8);
    let plain = |text: &str| -> String {
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        text.chars().map(|letter| if allowed(letter) { letter } else { '-' }).collect()
    };
    let extension = job.spec.format.extension();
    format!("dream-{}-{}-{short}.{extension}", plain(&job.spec.model), plain(layer))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use reverie_fields::arbitrary::quick;

    #[test]
    fn ranges_are_read() {
        for (text, expected) in [
            ("bytes=0-0", Some(0..1)),
            ("bytes=2-5", Some(2..6)),
            ("bytes=7-", Some(7..10)),
            ("bytes= 7-", Some(7..10)),
            // No blank may stand there (RFC 9110, section 14.1.1).
            ("bytes = 7-", None),
            ("Bytes=0-99999999999999999999999", Some(0..10)),
            ("bytes=-3", Some(7..10)),
            ("bytes=-30", Some(0..10)),
            ("bytes=10-", Some(10..10)),
            ("bytes=-0", Some(10..10)),
            ("bytes=5-4", None),
            ("bytes=1-2,4-5", None),
            ("bytes=-", None),
            ("bytes=+1-2", None),
            ("pages=1-2", None),
            ("1-2", None),
        ] {
            assert_eq!(parse_range(text, 10), expected, "{text}");
        }
    }

    proptest! {
        #![proptest_config(quick())]

        #[test]
        fn a_range_of_a_file_is_that_range(first in any::<u64>(), length in 0..u64::MAX, size in any::<u64>()) {
            let last = first.saturating_add(length);
            let found = parse_range(&format!("bytes={first}-{last}"), size).unwrap();
            prop_assert_eq!(found.clone(), first.min(size)..last.saturating_add(1).min(size));
            prop_assert_eq!(found.is_empty(), first >= size);
            let open = parse_range(&format!("bytes={first}-"), size).unwrap();
            prop_assert_eq!(open, first.min(size)..size);
            let suffix = parse_range(&format!("bytes=-{length}"), size).unwrap();
            prop_assert_eq!(suffix, size.saturating_sub(length)..size);
            let backwards = parse_range(&format!("bytes={last}-{}", last - length), size);
            prop_assert_eq!(backwards.is_some(), length == 0);
        }

        #[test]
        fn any_text_is_a_range_within_the_file_or_none(
            text in "(bytes ?= *)?[0-9]{0,22} *-? *[0-9]{0,22}|[ -~]{0,30}",
            size in any::<u64>(),
        ) {
            if let Some(range) = parse_range(&text, size) {
                prop_assert!(range.start <= range.end && range.end <= size);
            }
        }
    }
}
