//! Which arithmetic `auto` means: bfloat16 where that is known to pay, float32 everywhere else.
//!
//! It pays on a CPU that multiplies matrices of bfloat16 much faster than those of float32, which is measured once per
//! process: some processors have the instructions and are slower with them. On GPUs it is float32 (never TF32, which is
//! [`Precision::Tf32`]).

use std::{sync::OnceLock, time::Instant};

use tch::{Device, Kind, Tensor};

use super::RenderError;
use crate::spec::Precision;

/// A product of matrices in bfloat16 has to be so many times as fast as in float32. What was measured lies far from this
/// on either side: 0.5 on an Emerald Rapids Xeon without AMX, 2.1 on a Zen 4 EPYC.
const MUCH_FASTER: f64 = 1.4;

/// What a render computes with: never [`Precision::Auto`].
pub(super) fn resolve(wanted: Precision, device: Device) -> Result<Precision, RenderError> {
    if wanted != Precision::Auto {
        return Ok(wanted);
    }
    let halves = device == Device::Cpu && halves_are_fast()?;
    Ok(if halves { Precision::Bf16 } else { Precision::Fp32 })
}

/// Whether this processor is much faster with bfloat16.
fn halves_are_fast() -> Result<bool, RenderError> {
    static MEASURED: OnceLock<bool> = OnceLock::new();
    if let Some(&measured) = MEASURED.get() {
        return Ok(measured);
    }
    let fast = has_halves() && seconds(Kind::Float)? > MUCH_FASTER * seconds(Kind::BFloat16)?;
    Ok(*MEASURED.get_or_init(|| fast))
}

/// Whether there are instructions for it at all: libtorch imitates them otherwise, and very slowly.
fn has_halves() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// How long a product of two matrices takes, at best.
fn seconds(kind: Kind) -> Result<f64, RenderError> {
    const EDGE: i64 = 1024;
    const TRIES: usize = 5;
    let matrix = || Tensor::f_rand([EDGE, EDGE], (Kind::Float, Device::Cpu))?.f_to_kind(kind);
    let (left, right) = (matrix()?, matrix()?);
    let mut best = f64::INFINITY;
    for _ in 0..TRIES {
        let began = Instant::now();
        drop(left.f_matmul(&right)?);
        best = best.min(began.elapsed().as_secs_f64());
    }
    Ok(best)
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
        assert_eq!(resolve(Precision::Auto, Device::Cuda(0)).unwrap(), Precision::Fp32);
    }
}
