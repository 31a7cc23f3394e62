//! libheif, made safe: what is allocated is freed, what is borrowed outlives the borrower, errors are words.
//!
//! The bindings are those of libheif 1.14, which Debian 12 has (1.15) and every later libheif 1.x keeps.
#![allow(unsafe_code, reason = "a C interface")]

use std::{
    ffi::{CStr, c_int},
    fmt,
    marker::PhantomData,
    ptr::{self, NonNull},
    slice,
    sync::Once,
};

use libheif_sys as heif;

/// Threads that one decode may use beside its own: as many as other formats use.
const THREADS: c_int = 0;

/// libheif's words for what went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn check(error: heif::heif_error) -> Result<(), Failure> {
    if error.code == heif::heif_error_code_heif_error_Ok {
        return Ok(());
    }
    let message = match error.message.is_null() {
        true => "libheif gives no reason".into(),
        // SAFETY: a C string that lives as long as the context, or for ever.
        false => unsafe { CStr::from_ptr(error.message) }.to_string_lossy().into_owned(),
    };
    Err(Failure(message))
}

fn missing<T>(pointer: *mut T) -> Result<NonNull<T>, Failure> {
    NonNull::new(pointer).ok_or_else(|| Failure("libheif has no memory left".into()))
}

/// A file that is open.
pub(super) struct Context<'a> {
    raw: NonNull<heif::heif_context>,
    file: PhantomData<&'a [u8]>,
}

impl<'a> Context<'a> {
    /// Reads the boxes. Pictures with an edge of `edge` or more are refused.
    pub(super) fn read(file: &'a [u8], edge: Option<u32>) -> Result<Self, Failure> {
        static READY: Once = Once::new();
        // SAFETY: no parameters are allowed. It loads decoders where they are files of their own.
        READY.call_once(|| _ = unsafe { heif::heif_init(ptr::null_mut()) });
        // SAFETY: it is freed when this is dropped.
        let raw = missing(unsafe { heif::heif_context_alloc() })?;
        let context = Self { raw, file: PhantomData };
        let edge = edge.and_then(|edge| c_int::try_from(edge).ok()).unwrap_or(c_int::MAX);
        // SAFETY: the context is alive, and borrows the file for as long as it is.
        unsafe {
            heif::heif_context_set_maximum_image_size_limit(raw.as_ptr(), edge);
            heif::heif_context_set_max_decoding_threads(raw.as_ptr(), THREADS);
            check(heif::heif_context_read_from_memory_without_copy(
                raw.as_ptr(),
                file.as_ptr().cast(),
                file.len(),
                ptr::null(),
            ))?;
        }
        Ok(context)
    }

    /// The picture that shows.
    pub(super) fn primary(&self) -> Result<Handle<'_>, Failure> {
        let mut handle = ptr::null_mut();
        // SAFETY: the context is alive.
        check(unsafe { heif::heif_context_get_primary_image_handle(self.raw.as_ptr(), &mut handle) })?;
        Ok(Handle { raw: missing(handle)?, context: PhantomData })
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        // SAFETY: it is ours, and handles of it are gone.
        unsafe { heif::heif_context_free(self.raw.as_ptr()) };
    }
}

/// A picture of a file.
pub(super) struct Handle<'a> {
    raw: NonNull<heif::heif_image_handle>,
    context: PhantomData<&'a ()>,
}

/// A decoded picture.
pub(super) struct Pixels {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Whether opacity follows red, green and blue.
    pub(super) alpha: bool,
    pub(super) samples: Samples,
}

/// `[height, width, 3 or 4]`.
pub(super) enum Samples {
    Eight(Vec<u8>),
    /// 0 to 65,535, whatever the depth of the file.
    Sixteen(Vec<u16>),
}

impl Handle<'_> {
    /// Width and height, upright; 0 where libheif knows neither.
    pub(super) fn size(&self) -> (u32, u32) {
        let raw = self.raw.as_ptr();
        // SAFETY: the handle is alive.
        let size =
            unsafe { [heif::heif_image_handle_get_width(raw), heif::heif_image_handle_get_height(raw)] };
        let [width, height] = size.map(|edge| u32::try_from(edge).unwrap_or(0));
        (width, height)
    }

    /// Whether samples have more than 8 bits.
    pub(super) fn deep(&self) -> bool {
        // SAFETY: the handle is alive.
        unsafe { heif::heif_image_handle_get_luma_bits_per_pixel(self.raw.as_ptr()) > 8 }
    }

    fn alpha(&self) -> bool {
        // SAFETY: the handle is alive.
        unsafe { heif::heif_image_handle_has_alpha_channel(self.raw.as_ptr()) != 0 }
    }

    /// Whether red, green and blue are multiplied with the opacity.
    pub(super) fn premultiplied(&self) -> bool {
        // SAFETY: the handle is alive.
        unsafe { heif::heif_image_handle_is_premultiplied_alpha(self.raw.as_ptr()) != 0 }
    }

    /// The ICC profile, where there is one of no more than `most` bytes.
    pub(super) fn profile(&self, most: usize) -> Option<Vec<u8>> {
        let raw = self.raw.as_ptr();
        // SAFETY: the handle is alive.
        let length = unsafe { heif::heif_image_handle_get_raw_color_profile_size(raw) };
        if length == 0 || length > most {
            return None;
        }
        let mut profile = vec![0; length];
        // SAFETY: as many bytes are written as libheif has said.
        check(unsafe { heif::heif_image_handle_get_raw_color_profile(raw, profile.as_mut_ptr().cast()) })
            .ok()?;
        Some(profile)
    }

    /// Primaries and transfer by ITU-T H.273.
    pub(super) fn nclx(&self) -> Option<(u16, u16)> {
        let mut nclx = ptr::null_mut();
        // SAFETY: the handle is alive, and the answer is freed below.
        check(unsafe { heif::heif_image_handle_get_nclx_color_profile(self.raw.as_ptr(), &mut nclx) })
            .ok()?;
        let raw = NonNull::new(nclx)?;
        // SAFETY: libheif has filled it in.
        let said = unsafe { (raw.as_ref().color_primaries, raw.as_ref().transfer_characteristics) };
        // SAFETY: it is ours, and not used any more.
        unsafe { heif::heif_nclx_color_profile_free(nclx) };
        Some((u16::try_from(said.0).ok()?, u16::try_from(said.1).ok()?))
    }

    /// Decodes the picture and turns it upright.
    pub(super) fn decode(&self) -> Result<Pixels, Failure> {
        let (deep, alpha) = (self.deep(), self.alpha());
        let chroma = match (deep, alpha) {
            (false, false) => heif::heif_chroma_heif_chroma_interleaved_RGB,
            (false, true) => heif::heif_chroma_heif_chroma_interleaved_RGBA,
            (true, false) => heif::heif_chroma_heif_chroma_interleaved_RRGGBB_LE,
            (true, true) => heif::heif_chroma_heif_chroma_interleaved_RRGGBBAA_LE,
        };
        let mut image = ptr::null_mut();
        // SAFETY: the handle is alive; without options there are the defaults.
        check(unsafe {
            heif::heif_decode_image(
                self.raw.as_ptr(),
                &mut image,
                heif::heif_colorspace_heif_colorspace_RGB,
                chroma,
                ptr::null(),
            )
        })?;
        Image(missing(image)?).pixels(deep, alpha)
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        // SAFETY: it is ours.
        unsafe { heif::heif_image_handle_release(self.raw.as_ptr()) };
    }
}

/// What libheif has decoded.
struct Image(NonNull<heif::heif_image>);

impl Image {
    fn pixels(&self, deep: bool, alpha: bool) -> Result<Pixels, Failure> {
        let raw = self.0.as_ptr();
        let channel = heif::heif_channel_heif_channel_interleaved;
        let mut stride: c_int = 0;
        // SAFETY: the image is alive.
        let (width, height, bits, plane) = unsafe {
            (
                heif::heif_image_get_width(raw, channel),
                heif::heif_image_get_height(raw, channel),
                heif::heif_image_get_bits_per_pixel_range(raw, channel),
                heif::heif_image_get_plane_readonly(raw, channel, &mut stride),
            )
        };
        let broken = || Failure("libheif gives a picture of another shape than was asked for".into());
        let [width, height, stride] = [width, height, stride].map(usize::try_from);
        let (Ok(width), Ok(height), Ok(stride)) = (width, height, stride) else { return Err(broken()) };
        let row = width * if alpha { 4 } else { 3 } * if deep { 2 } else { 1 };
        let depth = if deep { 9..=16 } else { 8..=8 };
        if plane.is_null() || row == 0 || stride < row || height == 0 || !depth.contains(&bits) {
            return Err(broken());
        }
        // SAFETY: `height` rows of `stride` bytes, the last of which has `row` bytes at least.
        let bytes = unsafe { slice::from_raw_parts(plane, stride * (height - 1) + row) };
        let rows = bytes.chunks(stride).map(|bytes| &bytes[..row]);
        let samples = match deep {
            false => {
                let mut samples = Vec::with_capacity(row * height);
                rows.for_each(|row| samples.extend_from_slice(row));
                Samples::Eight(samples)
            }
            true => {
                let white = (1u32 << bits) - 1;
                let widen = |pair: &[u8]| {
                    let value = u32::from(u16::from_le_bytes([pair[0], pair[1]])).min(white);
                    ((value * 65_535 + white / 2) / white) as u16
                };
                let mut samples = Vec::with_capacity(row / 2 * height);
                rows.for_each(|row| samples.extend(row.chunks_exact(2).map(widen)));
                Samples::Sixteen(samples)
            }
        };
        Ok(Pixels { width: width as u32, height: height as u32, alpha, samples })
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: it is ours.
        unsafe { heif::heif_image_release(self.0.as_ptr()) };
    }
}
