//! The files of a request, decoded: the part of reading it that needs no device, so that it can be done while the device is at work for
//! something else.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use reverie_dream::digest;
use reverie_picture::{self as picture, Picture, PictureError};

use crate::{RenderError, RenderRequest};

/// What [`RenderRequest::decode`] has made of a request's files.
pub struct Decoded {
    /// The image, laid on the background; none for a start from noise.
    pub(super) input: Option<Picture>,
    /// The mask, as large as the image.
    pub(super) mask: Option<picture::Mask>,
    /// The guide image, of any size.
    pub(super) guide: Option<Picture>,
    /// Digests of the files, where a recipe is to name them.
    pub(super) digests: Digests,
}

/// Digests of a request's files, where it had them.
pub(super) struct Digests {
    pub(super) input: Option<String>,
    pub(super) mask: Option<String>,
    pub(super) guide: Option<String>,
}

impl RenderRequest {
    /// Decodes the files, which are dropped, on this thread: the renderer need not do it any more. `max_pixels` is the largest that
    /// an image may be.
    ///
    /// # Errors
    /// A missing, damaged or too large file, and a mask that does not fit the image.
    pub fn decode(&mut self, max_pixels: u64) -> Result<(), RenderError> {
        if self.decoded.is_none() {
            self.decoded = Some(Decoded::of(self, max_pixels)?);
            // Whatever the spec does not use.
            (self.input, self.mask) = (None, None);
        }
        Ok(())
    }
}

impl Decoded {
    /// Each file is dropped once it is decoded: it may be as large as what it was decoded to.
    fn of(request: &mut RenderRequest, max_pixels: u64) -> Result<Self, RenderError> {
        let spec = &request.spec;
        let digest = |file: &Option<Bytes>| file.as_deref().filter(|_| spec.recipe).map(digest::sha256);
        let digests = Digests {
            input: digest(&request.input),
            mask: digest(&request.mask),
            guide: digest(&request.guide),
        };
        let laid = |file: &[u8]| {
            let mut picture = guarded(|| picture::decode(file, max_pixels))?;
            picture.lay_on(spec.background.0);
            Ok(picture)
        };
        let guide = match request.guide.take() {
            Some(file) => Some(laid(&file).map_err(RenderError::Guide)?),
            None if spec.follows_guide() => return Err(RenderError::NoGuide),
            None => None,
        };
        let input = match spec.noise {
            Some(_) => None,
            None => Some(laid(&request.input.take().ok_or(RenderError::NoInput)?)?),
        };
        let mask = match &input {
            Some(input) if spec.mask.is_some() => {
                let file = request.mask.take().ok_or(RenderError::NoMask)?;
                let mask = guarded(|| picture::decode_mask(&file, max_pixels)).map_err(RenderError::Mask)?;
                picture::check_mask((mask.width, mask.height), (input.width, input.height))
                    .map_err(RenderError::Mask)?;
                Some(mask)
            }
            _ => None,
        };
        Ok(Self { input, mask, guide, digests })
    }
}

/// Decodes with `decode`. A decoder that panics has met a damaged or hostile file: the file is at fault, not the renderer.
fn guarded<T>(decode: impl FnOnce() -> Result<T, PictureError>) -> Result<T, PictureError> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| {
        let reason = "the decoder gave up".to_owned();
        Err(PictureError::Undecodable { format: "image", reason })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_that_panics_blames_the_file() {
        let refused = guarded::<()>(|| panic!("index out of bounds")).unwrap_err();
        assert_eq!(refused.to_string(), "the image file cannot be decoded: the decoder gave up");
        assert_eq!(guarded(|| Ok(7)).unwrap(), 7);
    }
}
