//! The state between two octaves as bytes, so that a dream that was cut off can go on where it stood.
//!
//! Everything else that a dream needs follows from the request: the detail of the finer octaves from the input,
//! the random choices from the seed and the octave. But what `auto` meant as precision follows from the machine, and a
//! dream must not change that midway; nor its kind of device, whose sums differ. Little-endian: `RVRC`, version, precision
//! (0 for fp32, 1 for bf16, 2 for tf32), kind of device (0 for CPUs, 1 for GPUs), finished octave (from 0), height, width
//! (4 bytes each), then the image, `[3, height, width]` float32 as the (little-endian)
//! machine holds it.
//!
//! Behind it stand eight bytes that say what it was made with, beside the request: the changes of the schedule until then, which
//! may have come on the way, and the size of the tiles, which may have been halved for want of memory. A checkpoint that was made with something
//! else is not gone on from.
//!
//! Between two frames of an animation it is the frames so far, as they are encoded, and that of the last frame, where the octave is
//! the frame: `RVRF`, version, number of frames, the length of each (4 bytes each), then the frames, and the checkpoint.

use tch::{Device, Kind, Tensor};

use super::{
    RenderError,
    transfer::{download, upload},
};
use reverie_dream::{
    digest,
    spec::{Change, Precision},
};

const MAGIC: [u8; 4] = *b"RVRC";
const FRAMES_MAGIC: [u8; 4] = *b"RVRF";
const VERSION: u32 = 6;
const HEADER: usize = 28;
const FRAMES_HEADER: usize = 12;

/// Bytes of what a checkpoint was made with.
const MADE_WITH: usize = 8;

/// What a checkpoint after the octave or frame `place`, counted from 1, was made with.
pub(super) fn made_with(schedule: &[Change], tile_size: u32, place: u32) -> [u8; MADE_WITH] {
    let begun: Vec<&Change> = schedule.iter().filter(|change| change.place() <= place).collect();
    // The text of plain data.
    let text = serde_json::to_string(&(begun, tile_size)).unwrap_or_default();
    let mut code = [0; MADE_WITH];
    code.iter_mut().zip(digest::sha256(text.as_bytes()).bytes()).for_each(|(to, from)| *to = from);
    code
}

/// A checkpoint with what it was made with.
pub(super) fn sealed(mut checkpoint: Vec<u8>, made_with: [u8; MADE_WITH]) -> Vec<u8> {
    checkpoint.extend_from_slice(&made_with);
    checkpoint
}

/// A checkpoint and what it was made with.
pub(super) fn opened(bytes: &[u8]) -> Option<(&[u8], [u8; MADE_WITH])> {
    bytes.split_last_chunk().map(|(checkpoint, made_with)| (checkpoint, *made_with))
}

/// The dream after an octave.
pub(super) struct Checkpoint {
    /// The octave that is finished, counted from 0 at the coarsest.
    pub(super) octave: u32,
    /// Its result, `[1, 3, H, W]`.
    pub(super) image: Tensor,
}

/// A checkpoint that has left the device.
pub(super) struct Snapshot {
    octave: u32,
    /// The kind of device that it was on.
    device: u32,
    /// `[1, 3, H, W]` in the machine's memory, contiguous.
    values: Tensor,
}

impl Snapshot {
    /// The image of a finished `octave`, counted from 0, which nothing changes any more: on a CPU they are the same memory.
    pub(super) fn of(octave: u32, image: &Tensor) -> Result<Self, RenderError> {
        Ok(Self { octave, device: device_code(image.device()), values: download(image)? })
    }

    /// Which octave is finished, or which frame, counted from 1.
    pub(super) fn place(&self) -> u32 {
        self.octave + 1
    }

    pub(super) fn encode(&self, precision: Precision) -> Result<Vec<u8>, RenderError> {
        let mut bytes = Vec::with_capacity(self.length() + MADE_WITH);
        self.append(&mut bytes, precision)?;
        Ok(bytes)
    }

    /// Bytes of the checkpoint.
    fn length(&self) -> usize {
        HEADER + self.values.numel() * 4
    }

    fn append(&self, bytes: &mut Vec<u8>, precision: Precision) -> Result<(), RenderError> {
        let (_, _, height, width) = self.values.size4()?;
        bytes.extend_from_slice(&MAGIC);
        for number in [VERSION, code(precision), self.device, self.octave, height as u32, width as u32] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let (pixels, count) = (bytes.len(), self.values.numel());
        bytes.resize(pixels + count * 4, 0);
        self.values.f_copy_data_u8(&mut bytes[pixels..], count)?;
        Ok(())
    }

    /// The checkpoint of an animation whose last frame, before anything of the original came back, this is. `frames` are all, as
    /// [`Animation::frames`](reverie_picture::Animation::frames) has them.
    pub(super) fn encode_frames(
        &self,
        frames: &[Vec<u8>],
        precision: Precision,
    ) -> Result<Vec<u8>, RenderError> {
        let length: usize = frames.iter().map(|frame| 4 + frame.len()).sum();
        let mut bytes = Vec::with_capacity(FRAMES_HEADER + length + self.length() + MADE_WITH);
        bytes.extend_from_slice(&FRAMES_MAGIC);
        for number in [VERSION as usize, frames.len()].into_iter().chain(frames.iter().map(Vec::len)) {
            let number = u32::try_from(number);
            let number = number.map_err(|_| RenderError::Engine("a frame of more than 4 GB".into()))?;
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        frames.iter().for_each(|frame| bytes.extend_from_slice(frame));
        self.append(&mut bytes, precision)?;
        Ok(bytes)
    }
}

impl Checkpoint {
    /// `None` for bytes that are no whole checkpoint of this version, or one of another precision or kind of device.
    pub(super) fn decode(
        bytes: &[u8],
        precision: Precision,
        device: Device,
    ) -> Option<Result<Self, RenderError>> {
        let (header, pixels) = bytes.split_at_checked(HEADER)?;
        let words = header.chunks_exact(4).filter_map(|word| word.first_chunk().copied());
        let numbers: Vec<u32> = words.map(u32::from_le_bytes).collect();
        let &[magic, VERSION, found, kind, octave, height, width] = &numbers[..] else { return None };
        let values = u64::from(height) * u64::from(width) * 3;
        if magic != u32::from_le_bytes(MAGIC)
            || found != code(precision)
            || kind != device_code(device)
            || pixels.len() as u64 != values * 4
            || values == 0
        {
            return None;
        }
        let shape = [1, 3, i64::from(height), i64::from(width)];
        let image = Tensor::f_from_data_size(pixels, &shape, Kind::Float);
        let image = image.map_err(RenderError::from).and_then(|image| upload(&image, device));
        Some(image.map(|image| Self { octave, image }))
    }
}

/// An animation between two frames.
pub(super) struct FrameCheckpoint {
    /// The last frame before anything of the original came back, with its number, counted from 0.
    pub(super) last: Checkpoint,
    /// All frames, as [`Animation::frames`](reverie_picture::Animation::frames) has them.
    pub(super) frames: Vec<Vec<u8>>,
}

impl FrameCheckpoint {
    /// Whether it is one of an animation of so many `frames` of that size, and has not all of them.
    pub(super) fn fits(&self, frames: u32, size: (i64, i64)) -> bool {
        let found = self.last.image.size4().map(|(_, _, height, width)| (height, width));
        let number = self.last.octave as usize + 1;
        number == self.frames.len() && number < frames as usize && found.is_ok_and(|found| found == size)
    }

    /// `None` for bytes that are no whole checkpoint of this version, or one of another precision or kind of device.
    pub(super) fn decode(
        bytes: &[u8],
        precision: Precision,
        device: Device,
    ) -> Option<Result<Self, RenderError>> {
        let number = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        if !bytes.starts_with(&FRAMES_MAGIC) || number(4)? != VERSION {
            return None;
        }
        let count = number(8)? as usize;
        let mut rest = bytes.get(FRAMES_HEADER.checked_add(count.checked_mul(4)?)?..)?;
        let mut frames = Vec::with_capacity(count);
        for index in 0..count {
            let (frame, after) = rest.split_at_checked(number(FRAMES_HEADER + 4 * index)? as usize)?;
            frames.push(frame.to_vec());
            rest = after;
        }
        let last = Checkpoint::decode(rest, precision, device)?;
        Some(last.map(|last| Self { last, frames }))
    }
}

/// How a precision is written.
fn code(precision: Precision) -> u32 {
    match precision {
        Precision::Auto | Precision::Fp32 => 0,
        Precision::Bf16 => 1,
        Precision::Tf32 => 2,
    }
}

/// How a kind of device is written.
fn device_code(device: Device) -> u32 {
    u32::from(device != Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_round_trip_and_damaged_ones_are_refused() {
        let image = Tensor::rand([1, 3, 5, 7], (tch::Kind::Float, Device::Cpu)) * 300.0 - 20.0;
        let bytes = Snapshot::of(2, &image).unwrap().encode(Precision::Bf16).unwrap();
        let decode = |bytes: &[u8]| Checkpoint::decode(bytes, Precision::Bf16, Device::Cpu);
        let again = decode(&bytes).unwrap().unwrap();
        assert_eq!(again.octave, 2);
        assert_eq!((again.image - image).abs().max().double_value(&[]), 0.0);
        assert!(decode(&bytes[..bytes.len() - 1]).is_none());
        assert!(decode(&bytes[..10]).is_none());
        for other in [Precision::Fp32, Precision::Tf32] {
            assert!(Checkpoint::decode(&bytes, other, Device::Cpu).is_none());
        }
        // No GPU is needed to see that it is none of its own.
        assert!(Checkpoint::decode(&bytes, Precision::Bf16, Device::Cuda(0)).is_none());
        for position in [0, 4, 8, 12, 20] {
            let mut damaged = bytes.clone();
            damaged[position] ^= 0x40;
            assert!(decode(&damaged).is_none(), "byte {position}");
        }
    }

    #[test]
    fn checkpoints_of_frames_round_trip_and_damaged_ones_are_refused() {
        let image = Tensor::rand([1, 3, 5, 7], (tch::Kind::Float, Device::Cpu)) * 255.0;
        let last = Snapshot::of(1, &image).unwrap();
        let frames = vec![vec![1, 2, 3], Vec::new()];
        let bytes = last.encode_frames(&frames, Precision::Fp32).unwrap();
        let decode = |bytes: &[u8]| FrameCheckpoint::decode(bytes, Precision::Fp32, Device::Cpu);
        let again = decode(&bytes).unwrap().unwrap();
        assert_eq!((again.last.octave, &again.frames[..]), (1, &frames[..]));
        assert_eq!((&again.last.image - image).abs().max().double_value(&[]), 0.0);
        assert!(again.fits(3, (5, 7)));
        assert!(!again.fits(2, (5, 7)) && !again.fits(3, (7, 5)));
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_none(), "{length} bytes");
        }
        for position in [0, 4, 8, 9, 12, 16] {
            let mut damaged = bytes.clone();
            damaged[position] ^= 0x40;
            assert!(decode(&damaged).is_none_or(|one| !one.unwrap().fits(3, (5, 7))), "byte {position}");
        }
        // A single picture's is none of an animation, and the other way round.
        assert!(Checkpoint::decode(&bytes, Precision::Fp32, Device::Cpu).is_none());
        let single = last.encode(Precision::Fp32).unwrap();
        assert!(decode(&single).is_none());
    }
}
