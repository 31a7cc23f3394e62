//! Every kernel against plain loops, on every instruction set that this processor has and on several threads.
//!
//! The plain loops beside each property do the same operations in the same order where the kernel promises bits, and
//! compute in float64 where it promises a bound. Inputs have ties, NaN, infinities and zeros of both signs; gaps
//! between pixels are NaN.

mod conv1x1;
mod depthwise;
mod downsample;
mod image;
mod lrn;
mod max_pool;
mod relu;
mod similarity;
mod winograd;

use std::{fmt::Debug, ops::Range};

use proptest::{prelude::*, test_runner::Config};

use super::{Bf16, InstructionSet, Map, MapMut, Shape, ThreadPool, ValueKind, Values, ValuesMut};

/// So many cases of every property: each runs on every instruction set. Miri, a thousand times as slow, runs one.
pub(super) fn cases(cases: u32) -> Config {
    let cases = if cfg!(miri) { 1 } else { cases };
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// What `run` gives with plain instructions on one thread; every other instruction set, and more threads, must give the
/// same.
pub(super) fn on_all<T: PartialEq + Debug>(run: impl Fn(&ThreadPool) -> T) -> T {
    let pool = |threads, set| ThreadPool::spawning(threads).with_instruction_set(set).unwrap();
    let plain = run(&pool(1, InstructionSet::Plain));
    for set in InstructionSet::available() {
        for threads in [1, 3] {
            let found = run(&pool(threads, set));
            assert!(found == plain, "{set} on {threads} threads: {found:?}, plain: {plain:?}");
        }
    }
    plain
}

/// Values of a map.
#[derive(Clone)]
pub(super) enum Buffer {
    F32(Vec<f32>),
    Bf16(Vec<Bf16>),
}

impl Buffer {
    /// These values, rounded to `kind`.
    pub(super) fn new(kind: ValueKind, values: &[f32]) -> Self {
        match kind {
            ValueKind::F32 => Self::F32(values.to_vec()),
            ValueKind::Bf16 => Self::Bf16(values.iter().map(|value| Bf16::from_f32(*value)).collect()),
        }
    }

    /// Values that a kernel must overwrite.
    pub(super) fn stale(kind: ValueKind, shape: Shape) -> Self {
        Self::new(kind, &vec![77.0; shape.iter().product()])
    }

    pub(super) fn values(&self) -> Values<'_> {
        match self {
            Self::F32(values) => Values::F32(values),
            Self::Bf16(values) => Values::Bf16(values),
        }
    }

    pub(super) fn values_mut(&mut self) -> ValuesMut<'_> {
        match self {
            Self::F32(values) => ValuesMut::F32(values),
            Self::Bf16(values) => ValuesMut::Bf16(values),
        }
    }

    pub(super) fn map(&self, shape: Shape) -> Map<'_> {
        Map::dense(self.values(), shape).unwrap()
    }

    pub(super) fn map_mut(&mut self, shape: Shape) -> MapMut<'_> {
        MapMut::new(self.values_mut(), shape).unwrap()
    }

    pub(super) fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::F32(values) => values.clone(),
            Self::Bf16(values) => values.iter().map(|value| value.to_f32()).collect(),
        }
    }

    /// The bits of its values.
    pub(super) fn bits(&self) -> Vec<u32> {
        bits(&self.to_f32())
    }
}

/// The bits of values; NaN has many forms, and counts as one.
pub(super) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() }).collect()
}

/// The bits of values that are rounded to `kind`.
pub(super) fn rounded_bits(kind: ValueKind, values: &[f32]) -> Vec<u32> {
    Buffer::new(kind, values).bits()
}

/// A map with `gap` values of NaN after each pixel.
pub(super) fn spread(kind: ValueKind, values: &[f32], channels: usize, gap: usize) -> Buffer {
    let mut spread = Vec::new();
    for pixel in values.chunks(channels) {
        spread.extend_from_slice(pixel);
        spread.extend(std::iter::repeat_n(f32::NAN, gap));
    }
    spread.truncate(spread.len() - gap);
    Buffer::new(kind, &spread)
}

/// What random values are like.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fill {
    /// Whole numbers from −4 to 4: many ties, and sums that are exact.
    Integers,
    /// Between −2 and 2.
    Ordinary,
    /// Some of them NaN, infinite, zero of either sign, or close to zero.
    Special,
}

/// `count` values, rounded to `kind`, by SplitMix64.
pub(super) fn draw(seed: u64, fill: Fill, kind: ValueKind, count: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let values: Vec<f32> = (0..count)
        .map(|_| {
            let (random, choice) = (next(), next() % 48);
            let ordinary = (random >> 40) as f32 / (1u32 << 22) as f32 - 2.0;
            match (fill, choice) {
                (Fill::Integers, _) => (random % 9) as f32 - 4.0,
                (Fill::Special, 0) => f32::NAN,
                (Fill::Special, 1) => f32::INFINITY,
                (Fill::Special, 2) => f32::NEG_INFINITY,
                (Fill::Special, 3) => 0.0,
                (Fill::Special, 4) => -0.0,
                (Fill::Special, 5) => ordinary * 1.0e-38,
                _ => ordinary,
            }
        })
        .collect();
    Buffer::new(kind, &values).to_f32()
}

/// The largest extent of an axis, or number of values: smaller under Miri.
pub(super) fn up_to(most: usize) -> Range<usize> {
    1..if cfg!(miri) { most.min(12 + most / 1000) } else { most }
}

/// Any kind.
pub(super) fn kind() -> impl Strategy<Value = ValueKind> {
    prop_oneof![Just(ValueKind::F32), Just(ValueKind::Bf16)]
}

/// Any values.
pub(super) fn fill() -> impl Strategy<Value = Fill> {
    prop_oneof![Just(Fill::Integers), Just(Fill::Ordinary), Just(Fill::Special)]
}

/// Numbers of channels around those of the blocks that kernels work in.
pub(super) fn channels() -> impl Strategy<Value = usize> {
    let blocks = [1, 3, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 97];
    prop::sample::select(if cfg!(miri) { blocks[..5].to_vec() } else { blocks.to_vec() })
}

/// Whether values are within `tolerance` of the expected ones, as a part of the largest of those.
pub(super) fn close(found: &[f32], expected: &[f64], tolerance: f64) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1.0e-3, |scale: f64, value| scale.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (f64::from(*found) - expected).abs();
        prop_assert!(difference <= tolerance * scale, "{} at {index}, expected {}", found, expected);
    }
    Ok(())
}
