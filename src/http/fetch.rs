//! Pictures that a submission gives by URL: fetched by this server, through the guard of `egress`, within the limits of
//! an upload.
//!
//! A URL stands where the file would: in a JSON body instead of a data URI, in a form instead of the file. No picture
//! file begins like a URL, so nothing else tells them apart.

use bytes::Bytes;

use super::{error::ApiError, state::AppState, uploads::Share};
use crate::egress::EgressError;
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

/// Whether a file is given by URL.
pub(super) fn is_url(file: Option<&Bytes>) -> bool {
    file.is_some_and(|file| url_of(file).is_some())
}

/// Fetches the file that is given by URL, at `pointer`, and puts it in place; another file stays. `share` takes the
/// memory. A mistake is noted, and leaves no file.
///
/// # Errors
/// [`ApiError::TooManyUploads`] if there is no memory for it.
pub(super) async fn resolve(
    state: &AppState,
    pointer: &str,
    file: &mut Option<Bytes>,
    share: &mut Option<Share>,
    errors: &mut Vec<FieldError>,
) -> Result<(), ApiError> {
    let Some(given) = file.take() else { return Ok(()) };
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

/// Takes out a file that is given by URL, where it will not be fetched.
pub(super) fn leave_out(file: &mut Option<Bytes>) {
    if is_url(file.as_ref()) {
        *file = None;
    }
}

#[cfg(test)]
mod tests {
    use super::url_of;

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
