//! Which instructions a loop is compiled for, and how one of its versions is chosen.
//!
//! [`InstructionSet`] is a name; [`Isa`] is the proof that the processor has it. A proof is made by a check at run time
//! only, so a function that takes one may use the instructions. The thread pool carries it to every kernel.

use std::{fmt, str::FromStr};

#[cfg(target_arch = "x86_64")]
use super::simd::x86::{Avx2, Avx512, Bf16Dot};

/// Instructions that kernels are compiled for, from the narrowest to the widest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstructionSet {
    /// What every processor of the architecture has.
    Plain,
    /// AVX2 with fused multiply-adds.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// The same, and dot products of bfloat16.
    Avx512Bf16,
}

impl InstructionSet {
    /// All, from the narrowest to the widest.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Avx2, Self::Avx512, Self::Avx512Bf16];

    /// Those that this processor has, from the narrowest to the widest.
    pub fn available() -> impl DoubleEndedIterator<Item = Self> {
        Self::ALL.into_iter().filter(|set| set.is_available())
    }

    /// The widest that this processor has.
    pub fn widest() -> Self {
        Self::available().next_back().unwrap_or(Self::Plain)
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        Isa::detect(self).is_some()
    }

    /// Whether it has registers for SIMD vectors, and multiplies and adds at once. Without, sums of products take
    /// longer here than in libtorch.
    pub fn has_fma(self) -> bool {
        self >= Self::Avx2
    }

    /// Whether it has dot products of bfloat16.
    pub fn has_bf16_dot(self) -> bool {
        self >= Self::Avx512Bf16
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Plain => "plain",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
        })
    }
}

impl FromStr for InstructionSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|set| set.to_string() == text)
            .ok_or_else(|| format!("\"{text}\" is not allowed; use plain, avx2, avx512 or avx512bf16"))
    }
}

/// An instruction set that the processor has.
#[derive(Clone, Copy)]
pub(crate) enum Isa {
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(Bf16Dot),
}

impl Isa {
    /// The proof, if the processor has the instructions.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn detect(set: InstructionSet) -> Option<Self> {
        match set {
            InstructionSet::Plain => Some(Self::Plain),
            InstructionSet::Avx2 => Avx2::get().map(Self::Avx2),
            InstructionSet::Avx512 => Avx512::get().map(Self::Avx512),
            InstructionSet::Avx512Bf16 => Bf16Dot::get().map(Self::Avx512Bf16),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn detect(set: InstructionSet) -> Option<Self> {
        (set == InstructionSet::Plain).then_some(Self::Plain)
    }

    /// Its name.
    pub(crate) fn set(self) -> InstructionSet {
        match self {
            Self::Plain => InstructionSet::Plain,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => InstructionSet::Avx2,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => InstructionSet::Avx512,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16(_) => InstructionSet::Avx512Bf16,
        }
    }

    /// The dot products of bfloat16, if they are part of it.
    pub(crate) fn bf16_dot(self) -> Option<super::simd::Bf16Dot> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16(dot) => Some(dot),
            _ => None,
        }
    }
}

/// Compiles the body of a function over SIMD vectors, of type `S`, for each instruction set; the function gets an
/// [`Isa`] in front of its arguments and runs that version.
macro_rules! dispatch {
    (
        $(#[$about:meta])*
        $visibility:vis fn $name:ident $(<$value:ident: $bound:ident>)? (
            $simd:ident,
            $($argument:ident: $type:ty),* $(,)?
        ) $body:block
    ) => {
        $(#[$about])*
        $visibility fn $name$(<$value: $bound>)?(
            isa: $crate::instruction_set::Isa,
            $($argument: $type),*
        ) {
            use $crate::{instruction_set::Isa, simd::{Plain, SimdVector}};

            #[inline(always)]
            fn body<$($value: $bound,)? S: SimdVector>($simd: S, $($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            use $crate::simd::x86::{Avx2, Avx512};
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512$(<$value: $bound>)?(simd: Avx512, $($argument: $type),*) {
                body::<$($value,)? Avx512>(simd, $($argument),*);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2$(<$value: $bound>)?(simd: Avx2, $($argument: $type),*) {
                body::<$($value,)? Avx2>(simd, $($argument),*);
            }

            #[allow(unsafe_code, reason = "only a check at run time can know the processor")]
            match isa {
                Isa::Plain => body::<$($value,)? Plain>(Plain, $($argument),*),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `isa` proves that the processor has the instructions.
                Isa::Avx2(simd) => unsafe { avx2$(::<$value>)?(simd, $($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                Isa::Avx512(simd) => unsafe { avx512$(::<$value>)?(simd, $($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                Isa::Avx512Bf16(dot) => unsafe { avx512$(::<$value>)?(dot.vector(), $($argument),*) },
            }
        }
    };
}
pub(crate) use dispatch;

/// As [`dispatch`], for a plain body that the compiler vectorises well by itself. Rust never fuses a product and a sum by
/// itself, so all versions give the same bits.
macro_rules! dispatch_autovectorized {
    (fn $name:ident $(<$value:ident: $bound:ident>)? ($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        fn $name$(<$value: $bound>)?(isa: $crate::instruction_set::Isa, $($argument: $type),*) {
            use $crate::instruction_set::Isa;

            #[inline(always)]
            fn body$(<$value: $bound>)?($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512$(<$value: $bound>)?($($argument: $type),*) {
                body$(::<$value>)?($($argument),*);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2$(<$value: $bound>)?($($argument: $type),*) {
                body$(::<$value>)?($($argument),*);
            }

            #[allow(unsafe_code, reason = "only a check at run time can know the processor")]
            match isa {
                Isa::Plain => body$(::<$value>)?($($argument),*),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `isa` proves that the processor has the instructions.
                Isa::Avx2(_) => unsafe { avx2$(::<$value>)?($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                Isa::Avx512(_) | Isa::Avx512Bf16(_) => unsafe { avx512$(::<$value>)?($($argument),*) },
            }
        }
    };
}
pub(crate) use dispatch_autovectorized;
