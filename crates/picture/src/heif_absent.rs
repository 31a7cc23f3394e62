//! HEIC and AVIF in a build without the feature `heif`: the refusal, in words for whom it meets.

use super::{Outline, PictureError, kind::Kind};

/// Says that this build does not read them.
pub(super) fn outline(_: &[u8], kind: Kind) -> Result<Outline, PictureError> {
    Err(PictureError::NotBuilt { format: kind.name(), media_type: kind.media_type() })
}

/// Never called: there is no outline.
#[cfg(not(feature = "heif"))]
pub(super) fn decode(bytes: &[u8], kind: Kind, _: &Outline) -> Result<super::Decoded, PictureError> {
    outline(bytes, kind).and(Err(PictureError::Empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_says_what_to_send_and_what_to_build() {
        for (kind, name) in [(Kind::Heic, "HEIC (image/heic)"), (Kind::Avif, "AVIF (image/avif)")] {
            let told = outline(b"", kind).unwrap_err().to_string();
            for word in [name, "this build", "JPEG, PNG or WebP", "--features heif"] {
                assert!(told.contains(word), "{told}");
            }
        }
    }
}
