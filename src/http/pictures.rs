//! Checks the pictures of a submission: as much of each as tells whether it can be decoded.

use bytes::Bytes;

use super::{error::ApiError, state::AppState};
use reverie_fields::{FieldError, note, note_all};
use reverie_picture::{self as picture, Header, Look, PictureError};

/// Height and width of a file. Records its errors in `errors`, or in `unknown` for an unsupported format,
/// which alone has a status of its own.
pub(super) async fn size_of(
    state: &AppState,
    pointer: &str,
    file: Option<&Bytes>,
    errors: &mut Vec<FieldError>,
    unknown: &mut Vec<FieldError>,
) -> Result<Option<(u32, u32)>, ApiError> {
    let Some(file) = file else { return Ok(None) };
    if file.is_empty() {
        let name = pointer.trim_start_matches('/');
        note(errors, FieldError::new(pointer, format!("the {name} is empty (0 bytes)")));
        return Ok(None);
    }
    match check_picture(state, file.clone()).await?.map_err(|error| ApiError::from_picture(pointer, error)) {
        Ok(header) => Ok(Some((header.height, header.width))),
        Err(ApiError::Invalid(wrong)) => {
            note_all(errors, wrong);
            Ok(None)
        }
        Err(ApiError::UnknownFormat(wrong)) => {
            unknown.extend(wrong);
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

/// Height and width of a picture that is stored, if there is one. It was checked when it came; if the operator has lowered the
/// limits since, it is refused at `pointer`, as it would be if it came now.
pub(super) async fn stored_size(
    state: &AppState,
    pointer: &str,
    file: Option<&Bytes>,
) -> Result<Option<(u32, u32)>, ApiError> {
    let (mut errors, mut unknown) = (Vec::new(), Vec::new());
    let size = size_of(state, pointer, file, &mut errors, &mut unknown).await?;
    note_all(&mut errors, unknown);
    if errors.is_empty() { Ok(size) } else { Err(ApiError::Invalid(errors)) }
}

/// Checks an image on a blocking thread. A JPEG with an end marker is judged by its segments; everything else is decoded
/// once there is memory for it.
async fn check_picture(state: &AppState, image: Bytes) -> Result<Result<Header, PictureError>, ApiError> {
    let max_pixels = state.config.limits.max_pixels;
    let file = image.clone();
    let looking = tokio::task::spawn_blocking(move || picture::look(&file, max_pixels));
    let bytes = match looking.await.map_err(ApiError::internal)? {
        Ok(Look::Enough(header)) => return Ok(Ok(header)),
        Ok(Look::Decode { bytes }) => bytes,
        Err(wrong) => return Ok(Err(wrong)),
    };
    let permit = state.decoders.reserve(bytes).await.map_err(ApiError::internal)?;
    let decoding = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        picture::verify(&image, max_pixels)
    });
    decoding.await.map_err(ApiError::internal)
}
