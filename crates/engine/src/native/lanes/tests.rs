//! Every kind of lanes that this processor has against plain arithmetic, bit by bit.

use super::{Half, Kernel, LANES, Lanes, Plain, Value, read, write};

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

/// What is no number has many forms.
fn bits(value: f32) -> u32 {
    if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() }
}

fn everything<S: Lanes>(lanes: S) -> Found {
    let mut found = Found::new();
    let tags: [u8; LANES] = std::array::from_fn(|lane| lane as u8 % 3);
    for turn in 0..LANES {
        let mut others = VALUES;
        others.rotate_left(turn);
        let (a, b) = (lanes.load(&VALUES), lanes.load(&others));
        let c = lanes.splat(VALUES[turn]);
        let mut values = |name, value: S::V| {
            let mut to = [0.0; LANES];
            lanes.store(value, &mut to);
            found.push((name, to.map(bits)));
        };
        values("add", lanes.add(a, b));
        values("sub", lanes.sub(a, b));
        values("fma", lanes.fma(a, b, c));
        values("clamp", lanes.clamp(a, lanes.splat(-1.0), lanes.splat(6.0)));
        values("within", lanes.within(a, b, lanes.splat(6.0)));
        for tag in 0..3 {
            values("add_where", lanes.add_where(a, b, &tags, tag));
        }
        let first = (lanes.splat(f32::NEG_INFINITY), lanes.splat_byte(9));
        let best = lanes.larger(lanes.larger(first, a, 3), b, 4);
        values("larger", best.0);
        let mut halves = [Half::nearest(0.0); LANES];
        lanes.store_halves(a, &mut halves);
        values("halves", lanes.load_halves(&halves));
        let nearest: [Half; LANES] = std::array::from_fn(|lane| Half::nearest(VALUES[lane]));
        assert_eq!(halves, nearest);
        let mut few = [7.0; 5];
        write(lanes, read(lanes, &others[..turn.min(5)]), &mut few);
        values("few", read(lanes, &few));
        let mut bytes = |name, value: S::Bytes| {
            let mut to = [0; LANES];
            lanes.store_bytes(value, &mut to);
            found.push((name, to.map(u32::from)));
        };
        bytes("larger's", best.1);
        bytes("unless_positive", lanes.unless_positive(best.1, b));
    }
    found
}

/// Within a kernel, as the loops use them.
struct Into<'a>(&'a mut Found);

impl<S: Lanes> Kernel<S> for Into<'_> {
    fn run(self, lanes: S) {
        *self.0 = everything(lanes);
    }
}

fn all<S: Lanes>(lanes: S) -> Found {
    let mut found = Found::new();
    lanes.call(Into(&mut found));
    found
}

#[test]
fn all_kinds_of_lanes_compute_the_same() {
    let plain = all(Plain);
    // A number that is known: the larger ones win, and what is no number.
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
