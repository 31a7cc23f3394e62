//! Pictures that a submission gives by URL: fetched by this server, through the guard of `egress`, within the limits of
//! an upload. And those that were sent ahead: fetched from the store.
//!
//! A URL stands where the file would: in a JSON body instead of a data URI, in a form instead of the file. An upload stands there as a
//! URN. No picture file begins like these, so nothing else tells them apart.

use bytes::Bytes;

use super::{
    error::ApiError,
    state::AppState,
    uploads::{NoRoom, Share},
};
use crate::{
    egress::EgressError,
    jobs::UploadId,
    keys::Tenant,
    objects::{ObjectError, ObjectKey},
};
use reverie_fields::{FieldError, note};

/// The URL that stands in place of a file.
pub(super) fn url_of(file: &[u8]) -> Option<&str> {
    let begins = |scheme: &str| {
        file.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
    };
    if !begins("https://") && !begins("http://") {
        return None;
    }
    std::str::from_utf8(file).ok().map(str::trim_ascii)
}

/// How an upload is named in place of a file; its id follows.
const UPLOAD: &str = "urn:reverie:upload:";

/// What stands in place of a file that was sent ahead.
pub(super) fn mark_upload(id: UploadId) -> Bytes {
    format!("{UPLOAD}{id}").into()
}

/// The upload that stands in place of a file.
fn upload_of(file: &[u8]) -> Option<UploadId> {
    std::str::from_utf8(file.strip_prefix(UPLOAD.as_bytes())?).ok()?.trim_ascii().parse().ok()
}

/// Whether a file is to be fetched: by URL, or from the store.
pub(super) fn is_elsewhere(file: Option<&Bytes>) -> bool {
    file.is_some_and(|file| url_of(file).is_some() || upload_of(file).is_some())
}

/// Reads an upload into memory that `share` takes. A mistake is noted, and leaves no file.
async fn read_upload(
    state: &AppState,
    tenant: &Tenant,
    (pointer, id): (&str, UploadId),
    share: &mut Option<Share>,
    errors: &mut Vec<FieldError>,
) -> Result<Option<Bytes>, ApiError> {
    let upload = state.queue.find_upload(tenant, id).await?;
    let key = ObjectKey::Upload(id);
    let size = match state.objects.size(key).await {
        Ok(size) if size > 0 => size,
        Ok(_) | Err(ObjectError::NotFound(_)) => {
            note(errors, FieldError::new(pointer, "nothing was sent to this upload yet"));
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    // A bucket takes what it is sent.
    if size > upload.bytes {
        let problem = format!("the upload has {size} bytes; {} were announced", upload.bytes);
        note(errors, FieldError::new(pointer, problem));
        return Ok(None);
    }
    let share = share.get_or_insert_with(|| state.uploads.share(None));
    share.grow(size as usize).map_err(|NoRoom| ApiError::TooManyUploads)?;
    // Not more than that: it may be replaced by a longer one in this moment.
    match state.objects.get_range(key, 0..size).await {
        Ok(file) => Ok(Some(file)),
        Err(ObjectError::NotFound(_)) => {
            note(errors, FieldError::new(pointer, "the upload expired in this moment"));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Fetches the file that is given by URL or as an upload of the tenant, at `pointer`, and puts it in place; another file stays. `share` takes the
/// memory. A mistake is noted, and leaves no file.
///
/// # Errors
/// [`ApiError::TooManyUploads`] if there is no memory for it; [`ApiError::NotFound`] if the tenant has no such upload.
pub(super) async fn resolve(
    state: &AppState,
    tenant: &Tenant,
    pointer: &str,
    file: &mut Option<Bytes>,
    share: &mut Option<Share>,
    errors: &mut Vec<FieldError>,
) -> Result<(), ApiError> {
    let Some(given) = file.take() else { return Ok(()) };
    if let Some(id) = upload_of(&given) {
        *file = read_upload(state, tenant, (pointer, id), share, errors).await?;
        return Ok(());
    }
    let Some(text) = url_of(&given) else {
        *file = Some(given);
        return Ok(());
    };
    if !state.config.egress.fetch_images {
        let problem = "this server fetches no pictures; send the file, or a data URI such as \
                       data:image/png;base64,… (egress.fetch_images)";
        note(errors, FieldError::new(pointer, problem));
        return Ok(());
    }
    let most = state.config.limits.max_body_bytes;
    let fetched = match state.egress.read_url(text) {
        Ok(url) => {
            let share = share.get_or_insert_with(|| state.uploads.share(None));
            state.egress.fetch(url, most, |more| share.grow(more).is_ok()).await
        }
        Err(refusal) => Err(refusal),
    };
    match fetched {
        Ok(bytes) => *file = Some(bytes),
        Err(EgressError::NoRoom) => return Err(ApiError::TooManyUploads),
        Err(problem) => {
            note(errors, FieldError::new(pointer, format!("cannot be fetched: {problem}")));
        }
    }
    Ok(())
}

/// Takes out a file that is to be fetched, where it will not be.
pub(super) fn leave_out(file: &mut Option<Bytes>) {
    if is_elsewhere(file.as_ref()) {
        *file = None;
    }
}

#[cfg(test)]
mod tests {
    use super::{UploadId, mark_upload, upload_of, url_of};

    #[test]
    fn uploads_are_told_from_files() {
        let id = UploadId::new();
        assert_eq!(upload_of(&mark_upload(id)), Some(id));
        for file in [&b""[..], b"urn:reverie:upload:", b"urn:reverie:upload:7", b"\x89PNG\r\n"] {
            assert_eq!(upload_of(file), None, "{file:?}");
        }
    }

    #[test]
    fn urls_are_told_from_files() {
        assert_eq!(url_of(b" https://example.org"), None);
        assert_eq!(url_of(b"https://example.org/a\n"), Some("https://example.org/a"));
        assert_eq!(url_of(b"HTTP://x"), Some("HTTP://x"));
        for file in [&b""[..], b"http", b"https:/x", b"\x89PNG\r\n", b"RIFF1234WEBP", b"https://\xff"] {
            assert_eq!(url_of(file), None, "{file:?}");
        }
    }
}
