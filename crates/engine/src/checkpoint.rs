//! The state between two octaves as bytes, so that a dream that was cut off can go on where it stood.
//!
//! Everything else that a dream needs follows from the request: the detail of the finer octaves from the input,
//! the random choices from the seed and the octave. But what `auto` meant as precision follows from the machine, and a
//! dream must not change that midway; nor its kind of device, whose sums differ. Little-endian: `RVRC`, version, precision
//! (0 for fp32, 1 for bf16, 2 for tf32), kind of device (0 for CPUs, 1 for GPUs), finished octave (from 0), height, width
//! (4 bytes each), then the image, `[3, height, width]` float32 as the (little-endian)
//! machine holds it.

use tch::{Device, Kind, Tensor};

use super::RenderError;
use reverie_dream::spec::Precision;

const MAGIC: [u8; 4] = *b"RVRC";
const VERSION: u32 = 3;
const HEADER: usize = 28;

/// The dream after an octave.
pub(super) struct Checkpoint {
    /// The octave that is finished, counted from 0 at the coarsest.
    pub(super) octave: u32,
    /// Its result, `[1, 3, H, W]`.
    pub(super) image: Tensor,
}

impl Checkpoint {
    pub(super) fn encode(&self, precision: Precision) -> Result<Vec<u8>, RenderError> {
        let (_, _, height, width) = self.image.size4()?;
        let values = self.image.f_contiguous()?.f_to_device(Device::Cpu)?;
        let mut bytes = Vec::with_capacity(HEADER + values.numel() * 4);
        bytes.extend_from_slice(&MAGIC);
        let kind = device_code(self.image.device());
        for number in [VERSION, code(precision), kind, self.octave, height as u32, width as u32] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.resize(HEADER + values.numel() * 4, 0);
        values.f_copy_data_u8(&mut bytes[HEADER..], values.numel())?;
        Ok(bytes)
    }

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
        let image = image.and_then(|image| image.f_to_device(device));
        Some(image.map(|image| Self { octave, image }).map_err(RenderError::from))
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
        let bytes = Checkpoint { octave: 2, image: image.shallow_clone() }.encode(Precision::Bf16).unwrap();
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
}
