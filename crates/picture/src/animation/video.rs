//! MP4 and WebM, which `ffmpeg` writes: a process of its own, that gets the frames as bytes through a pipe.
//!
//! The frames so far are kept as PNG files, so that what is stored between two frames is as small as it is exact, and a
//! render that goes on ends with the same bytes. One frame at a time is unpacked on its way to the process. It runs on one
//! thread and leaves times and versions out, so that the same frames give the same file with the same `ffmpeg`. It is killed
//! when the render is canceled, or when it takes far longer than it should; what it says is in the error (see `process`).

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use super::{
    super::{Format, Picture, PictureError, Samples, decode},
    Sequence, broken,
    process::{Limits, failed, run},
};

/// Names the program; without it, `PATH` has it.
const VARIABLE: &str = "REVERIE_FFMPEG";

/// Formats that it writes, with the encoders that it needs for them.
const ENCODERS: [(Format, &str); 2] = [(Format::Mp4, "libx264"), (Format::Webm, "libvpx-vp9")];

/// The process may take this long, and in addition [`SECONDS_PER_MEGAPIXEL`].
const LEAST_SECONDS: f64 = 60.0;

/// More than ten times what VP9 takes on one slow core.
const SECONDS_PER_MEGAPIXEL: f64 = 20.0;

/// Bytes of a recipe at the most: an argument of a process has 128 KiB.
pub(crate) const LONGEST_RECIPE: usize = 100_000;

/// How long it may take to answer a question, or for the first frame of a video.
const SOON: Duration = Duration::from_secs(30);

/// Bytes of its list of encoders that are read; it has about 15,000.
const LONGEST_LIST: u64 = 1 << 20;

/// Whether this machine can write `format`; always for formats that need no `ffmpeg`.
///
/// # Errors
/// [`PictureError::NoVideoEncoder`] says what is missing, [`PictureError::VideoEncoder`] why it did not answer.
pub fn can_write(format: Format) -> Result<(), PictureError> {
    if !format.is_video() {
        return Ok(());
    }
    program(format).map(drop)
}

/// How long a program that has failed is not asked again.
const REST: Duration = Duration::from_secs(30);

/// The program, where it can write `format`.
fn program(format: Format) -> Result<&'static Path, PictureError> {
    static FOUND: OnceLock<(PathBuf, String)> = OnceLock::new();
    let missing =
        |what: &str| PictureError::NoVideoEncoder { format: format.extension(), missing: what.to_owned() };
    let (program, encoders) = match FOUND.get() {
        Some(found) => found,
        None => {
            // That it is missing is not remembered.
            let program = find(std::env::var_os(VARIABLE), std::env::var_os("PATH"));
            asked_once(&FOUND, program.ok_or_else(|| missing("ffmpeg"))?)?
        }
    };
    match ENCODERS.iter().find(|(of, _)| *of == format) {
        Some((_, encoder)) if encoders.split_whitespace().any(|word| word == *encoder) => Ok(program),
        Some((_, encoder)) => Err(missing(&format!("the encoder {encoder} in {}", program.display()))),
        None => Err(missing("an encoder")),
    }
}

/// A program with the list of its encoders, which `found` keeps. One thread at a time asks it, and none for a while after it has failed.
fn asked_once(
    found: &'static OnceLock<(PathBuf, String)>,
    program: PathBuf,
) -> Result<&'static (PathBuf, String), PictureError> {
    static FAILED: Mutex<Option<(PathBuf, Instant, String)>> = Mutex::new(None);
    let mut before = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = found.get() {
        return Ok(found);
    }
    if let Some((of, at, reason)) = &*before
        && *of == program
        && at.elapsed() < REST
    {
        return Err(failed(reason));
    }
    match encoders(&program) {
        Ok(encoders) => Ok(found.get_or_init(|| (program, encoders))),
        Err(error) => {
            if let PictureError::VideoEncoder(reason) = &error {
                *before = Some((program, Instant::now(), reason.clone()));
            }
            Err(error)
        }
    }
}

/// The program's list of its encoders.
fn encoders(program: &Path) -> Result<String, PictureError> {
    let mut command = Command::new(program);
    command.args(["-hide_banner", "-encoders"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let limits = Limits { time: SOON, output: LONGEST_LIST, is_canceled: &|| false };
    let list = run(command, |_| Ok(()), limits)?;
    Ok(String::from_utf8_lossy(&list).into_owned())
}

/// The program that is `named`, or else the first in `path`.
fn find(named: Option<OsString>, path: Option<OsString>) -> Option<PathBuf> {
    if let Some(named) = named {
        return Some(PathBuf::from(named)).filter(|named| named.is_file());
    }
    let folders = path.as_ref().map(std::env::split_paths)?;
    folders.map(|folder| folder.join("ffmpeg")).find(|program| program.is_file())
}

/// What goes into the file beside the frames, and how it ends early.
#[derive(Clone, Copy)]
pub struct Ending<'a> {
    /// Goes into the comment of a video; other formats have it put in later.
    pub recipe: Option<&'a str>,
    /// Whether the file is not wanted any more.
    pub is_canceled: &'a dyn Fn() -> bool,
}

/// The file of a video whose frames are PNG files.
pub(super) fn file(
    sequence: &Sequence<'_>,
    format: Format,
    quality: u8,
    ending: Ending<'_>,
) -> Result<Vec<u8>, PictureError> {
    let program = program(format)?;
    let folder = tempfile::tempdir().map_err(|error| failed(format!("a temporary folder: {error}")))?;
    let target = folder.path().join("video");
    // Chroma has half the pixels of an edge.
    let (width, height) = format.size(sequence.width, sequence.height);
    let raw = u64::from(width) * u64::from(height) * 3 * sequence.frames.len() as u64;
    let largest = raw + (1 << 20);
    let mut command = Command::new(program);
    command.args([
        "-hide_banner",
        "-loglevel",
        "error",
        "-nostdin",
        "-y",
        "-f",
        "rawvideo",
        "-pixel_format",
        "rgb24",
    ]);
    command.arg("-video_size").arg(format!("{width}x{height}"));
    command.arg("-framerate").arg(sequence.fps.to_string());
    command.args(["-i", "pipe:0", "-an", "-threads", "1"]);
    command.args(["-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"]);
    command.args([
        "-colorspace",
        "bt709",
        "-color_primaries",
        "bt709",
        "-color_trc",
        "bt709",
        "-color_range",
        "tv",
    ]);
    // No versions, no times.
    command.args(["-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1"]);
    if let Some(recipe) = ending.recipe {
        if recipe.len() > LONGEST_RECIPE {
            return Err(broken("the recipe does not fit into the file"));
        }
        command.arg("-metadata").arg(format!("comment={recipe}"));
    }
    command.arg("-fs").arg(largest.to_string());
    match format {
        // What plays it begins before all of it is there.
        Format::Mp4 => {
            command.args(["-c:v", "libx264", "-preset", "medium", "-movflags", "+faststart", "-f", "mp4"])
        }
        _ => command.args([
            "-c:v",
            "libvpx-vp9",
            "-b:v",
            "0",
            "-deadline",
            "good",
            "-cpu-used",
            "2",
            "-f",
            "webm",
        ]),
    };
    command.arg("-crf").arg(rate_factor(format, quality).to_string());
    command.arg(&target).stdin(Stdio::piped()).stdout(Stdio::null());
    let seconds = LEAST_SECONDS + raw as f64 / 3e6 * SECONDS_PER_MEGAPIXEL;
    let time = Duration::from_secs_f64(seconds);
    let limits = Limits { time, output: 0, is_canceled: ending.is_canceled };
    drop(run(command, |pipe| write_frames(pipe, sequence), limits)?);
    let unread = |error: io::Error| failed(format!("the video: {error}"));
    let length = target.metadata().map_err(unread)?.len();
    if length >= largest {
        return Err(broken(format!("the video takes more than {largest} bytes")));
    }
    std::fs::read(&target).map_err(unread)
}

/// The constant rate factor of a quality from 1 to 100: 18 of x264 and 24 of VP9 at 92, where one sees no difference.
fn rate_factor(format: Format, quality: u8) -> u8 {
    let worse = f64::from(100_u8.saturating_sub(quality));
    let (best, largest) = if format == Format::Mp4 { (14.0, 51.0) } else { (20.0, 63.0) };
    (best + worse * 0.5).min(largest) as u8
}

/// Writes every frame as bytes. A process that is gone has said why.
fn write_frames(mut pipe: ChildStdin, sequence: &Sequence<'_>) -> Result<(), PictureError> {
    for frame in &sequence.frames {
        let picture = decode(frame, u64::MAX)?;
        match pipe.write_all(&padded(&picture)?) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

/// Red, green and blue of every pixel, row by row, the last column and row twice where their number is odd.
fn padded(picture: &Picture) -> Result<Vec<u8>, PictureError> {
    let Samples::Eight(rgb) = &picture.rgb else { return Err(broken("a frame of 16 bits")) };
    let row = picture.width as usize * 3;
    let mut bytes = Vec::with_capacity((row + 3) * (picture.height as usize + 1));
    let mut push = |pixels: &[u8]| {
        bytes.extend_from_slice(pixels);
        if !picture.width.is_multiple_of(2) {
            bytes.extend_from_slice(pixels.last_chunk::<3>().unwrap_or(&[0; 3]));
        }
    };
    rgb.chunks_exact(row.max(1)).for_each(&mut push);
    if !picture.height.is_multiple_of(2) {
        push(rgb.chunks_exact(row.max(1)).next_back().unwrap_or_default());
    }
    Ok(bytes)
}

/// The first frame of a video that was written here, with at most `edge` pixels along each edge, as a BMP file: as a PNG, it would
/// say that its colours are BT.709's.
///
/// # Errors
/// [`PictureError::NoVideoEncoder`], and [`PictureError::VideoEncoder`] where there is none.
pub fn first_frame(video: &[u8], format: Format, edge: u32) -> Result<Vec<u8>, PictureError> {
    let program = program(format)?;
    // MP4 is read from a file: a pipe cannot be sought in.
    let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
    file.write_all(video).map_err(failed)?;
    let mut command = Command::new(program);
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-filter_threads", "1"]);
    command.args(["-threads", "1", "-i"]).arg(file.path()).args(["-frames:v", "1", "-threads", "1", "-vf"]);
    command.arg(format!("scale='min({edge},iw)':'min({edge},ih)':force_original_aspect_ratio=decrease"));
    command.args(["-f", "image2pipe", "-c:v", "bmp", "pipe:1"]).stdin(Stdio::null()).stdout(Stdio::piped());
    // At most four bytes per pixel, and the header.
    let output = u64::from(edge) * u64::from(edge) * 4 + 4096;
    let frame = run(command, |_| Ok(()), Limits { time: SOON, output, is_canceled: &|| false })?;
    if frame.is_empty() { Err(failed("the video has no frame")) } else { Ok(frame) }
}
