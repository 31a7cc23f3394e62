//! The SIMD vectors of every instruction set that this processor has against plain arithmetic, bit by bit.

use super::{Bf16, LANES, Microkernel, Plain, SimdVector, read, write};

/// Ordinary values, and all that are special.
const VALUES: [f32; LANES] = [
    0.0,
    -0.0,
    1.0,
    -1.5,
    3.0e-39,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    6.0,
    7.25,
    -3.0e38,
    0.333_333_34,
    1.001_953_1,
    1.005_859_4,
    f32::MIN_POSITIVE,
    5.999,
];

/// Operations, and the bits of what they make of some values.
type Found = Vec<(&'static str, [u32; LANES])>;

/// NaN has many forms.
fn bits(value: f32) -> u32 {
    if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() }
}

fn everything<S: SimdVector>(simd: S) -> Found {
    let mut found = Found::new();
    let tags: [u8; LANES] = std::array::from_fn(|lane| lane as u8 % 3);
    for turn in 0..LANES {
        let mut others = VALUES;
        others.rotate_left(turn);
        let (a, b) = (simd.load(&VALUES), simd.load(&others));
        let c = simd.splat(VALUES[turn]);
        let mut values = |name, value: S::V| {
            let mut to = [0.0; LANES];
            simd.store(value, &mut to);
            found.push((name, to.map(bits)));
        };
        values("add", simd.add(a, b));
        values("sub", simd.sub(a, b));
        values("fma", simd.fma(a, b, c));
        values("clamp", simd.clamp(a, simd.splat(-1.0), simd.splat(6.0)));
        values("mask_relu", simd.mask_relu(a, b, simd.splat(6.0)));
        for tag in 0..3 {
            values("add_if_equal", simd.add_if_equal(a, b, &tags, tag));
        }
        let first = (simd.splat(f32::NEG_INFINITY), simd.splat_byte(9));
        let best = simd.max_with_index(simd.max_with_index(first, a, 3), b, 4);
        values("larger", best.0);
        let mut rounded = [Bf16::from_f32(0.0); LANES];
        simd.store_bf16(a, &mut rounded);
        values("bf16", simd.load_bf16(&rounded));
        let nearest: [Bf16; LANES] = std::array::from_fn(|lane| Bf16::from_f32(VALUES[lane]));
        assert_eq!(rounded, nearest);
        let mut few = [7.0; 5];
        write(simd, read(simd, &others[..turn.min(5)]), &mut few);
        values("few", read(simd, &few));
        let mut bytes = |name, value: S::Bytes| {
            let mut to = [0; LANES];
            simd.store_bytes(value, &mut to);
            found.push((name, to.map(u32::from)));
        };
        bytes("index of the larger", best.1);
        bytes("clear_unless_positive", simd.clear_unless_positive(best.1, b));
    }
    found
}

/// Within a microkernel, as the kernels use them.
struct Into<'a>(&'a mut Found);

impl<S: SimdVector> Microkernel<S> for Into<'_> {
    fn run(self, simd: S) {
        *self.0 = everything(simd);
    }
}

fn all<S: SimdVector>(simd: S) -> Found {
    let mut found = Found::new();
    simd.call(Into(&mut found));
    found
}

#[test]
fn all_instruction_sets_compute_the_same() {
    let plain = all(Plain);
    // A number that is known: the larger ones win, and NaN.
    assert!(plain.iter().any(|(name, values)| *name == "larger" && values[7] == f32::NAN.to_bits()));
    #[cfg(target_arch = "x86_64")]
    {
        use super::x86::{Avx2, Avx512};
        let found = [Avx2::get().map(all), Avx512::get().map(all)];
        for found in found.iter().flatten() {
            for (ours, theirs) in found.iter().zip(&plain) {
                assert_eq!(ours, theirs);
            }
        }
    }
}
