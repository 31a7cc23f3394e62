//! Which arithmetic `auto` means: on a GPU TF32; on a CPU bfloat16 where that is known to pay, float32 elsewhere.
//!
//! On a CPU it pays where matrices of bfloat16 are multiplied much faster than those of float32, which is measured once per
//! process: some processors have the instructions and are slower with them.
//!
//! On a GPU nothing is measured: what a job gives shall not depend on what else the card had to do. TF32 is taken because it
//! keeps at least 0.97 of the score for clearly less time; bfloat16 takes little less, but rounds what lies between layers too, so it
//! has to be asked for. `docs/benchmarks.md` has the figures. A card without TF32 computes the same in float32.

use std::{sync::OnceLock, time::Instant};

use tch::{Device, Kind, Tensor};

use super::RenderError;
use reverie_dream::spec::Precision;

/// A product of matrices in bfloat16 has to be so many times as fast as in float32. What was measured lies far from this
/// on either side: 0.5 on an Emerald Rapids Xeon without AMX, 2.1 on a Zen 4 EPYC.
const MUCH_FASTER: f64 = 1.4;

/// What a render computes with: never [`Precision::Auto`].
pub(super) fn resolve(wanted: Precision, device: Device) -> Result<Precision, RenderError> {
    if wanted != Precision::Auto {
        return Ok(wanted);
    }
    Ok(match device {
        Device::Cuda(_) => Precision::Tf32,
        Device::Cpu if halves_are_fast()? => Precision::Bf16,
        _ => Precision::Fp32,
    })
}

/// Whether this processor is much faster with bfloat16.
fn halves_are_fast() -> Result<bool, RenderError> {
    static MEASURED: OnceLock<bool> = OnceLock::new();
    if let Some(&measured) = MEASURED.get() {
        return Ok(measured);
    }
    let fast = has_halves() && is_much_faster()?;
    Ok(*MEASURED.get_or_init(|| fast))
}

/// Whether there are instructions for it at all: libtorch imitates them otherwise, and very slowly.
fn has_halves() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Compares how long a product of two matrices takes in each, at best. They are tried in turn, so that other load meets
/// both.
fn is_much_faster() -> Result<bool, RenderError> {
    const EDGE: i64 = 1024;
    const TRIES: usize = 8;
    let kinds = [Kind::Float, Kind::BFloat16];
    let matrix = |kind| Tensor::f_rand([EDGE, EDGE], (Kind::Float, Device::Cpu))?.f_to_kind(kind);
    let mut best = [f64::INFINITY; 2];
    let factors = kinds.map(|kind| Ok::<_, RenderError>((matrix(kind)?, matrix(kind)?)));
    let [float, half] = factors;
    let factors = [float?, half?];
    for _ in 0..TRIES {
        for ((left, right), best) in factors.iter().zip(&mut best) {
            let began = Instant::now();
            drop(left.f_matmul(right)?);
            *best = best.min(began.elapsed().as_secs_f64());
        }
    }
    let [float, half] = best;
    Ok(float > MUCH_FASTER * half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_one_of_the_others_and_what_is_said_holds() {
        for wanted in [Precision::Fp32, Precision::Tf32, Precision::Bf16] {
            assert_eq!(resolve(wanted, Device::Cpu).unwrap(), wanted);
        }
        let chosen = resolve(Precision::Auto, Device::Cpu).unwrap();
        assert_ne!(chosen, Precision::Auto);
        assert_eq!(chosen, resolve(Precision::Auto, Device::Cpu).unwrap(), "asked again, it is the same");
        assert!(has_halves() || chosen == Precision::Fp32);
        assert_eq!(resolve(Precision::Auto, Device::Cuda(0)).unwrap(), Precision::Tf32);
    }
}
