//! SimdVector in the registers of x86-64 processors.

#![allow(clippy::undocumented_unsafe_blocks, reason = "one comment below holds for all of them")]
#![allow(unsafe_code, reason = "instructions that only a check at run time can find; a token is that check")]

// SAFETY of all below: the token says that the processor has the instructions, and the references are to as many values
// as are read or written.

use std::arch::x86_64::*;

use super::{super::value::Bf16, LANES, Microkernel, SimdVector};

/// Two registers of AVX2, with fused multiply-adds.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn get() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }

    /// Masks of sixteen values as masks of sixteen bytes.
    #[inline(always)]
    fn narrow(self, masks: [__m256; 2]) -> __m128i {
        unsafe {
            let [low, high] = masks;
            let (low, high) = (_mm256_castps_si256(low), _mm256_castps_si256(high));
            let low = _mm_packs_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256::<1>(low));
            let high = _mm_packs_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256::<1>(high));
            _mm_packs_epi16(low, high)
        }
    }
}

/// One register of AVX-512.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(crate) fn get() -> Option<Self> {
        let all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        all.then_some(Self(()))
    }
}

impl SimdVector for Avx2 {
    type V = [__m256; 2];
    type Bytes = __m128i;
    const MANY_REGISTERS: bool = false;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        unsafe { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> Self::V {
        let from = values.as_ptr();
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }

    #[inline(always)]
    fn store(self, values: Self::V, to: &mut [f32; LANES]) {
        let to = to.as_mut_ptr();
        unsafe {
            _mm256_storeu_ps(to, values[0]);
            _mm256_storeu_ps(to.add(8), values[1]);
        }
    }

    #[inline(always)]
    fn load_bf16(self, values: &[Bf16; LANES]) -> Self::V {
        unsafe {
            let rounded = _mm256_loadu_si256(values.as_ptr().cast());
            let (low, high) = (_mm256_castsi256_si128(rounded), _mm256_extracti128_si256::<1>(rounded));
            let wide = [_mm256_cvtepu16_epi32(low), _mm256_cvtepu16_epi32(high)];
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide[0])),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide[1])),
            ]
        }
    }

    #[inline(always)]
    fn store_bf16(self, values: Self::V, to: &mut [Bf16; LANES]) {
        unsafe {
            let mut rounded = [_mm256_setzero_si256(); 2];
            for half in 0..2 {
                let bits = _mm256_castps_si256(values[half]);
                let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
                let up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
                let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(values[half], values[half]));
                let none = _mm256_set1_epi32(Bf16::NAN);
                rounded[half] = _mm256_blendv_epi8(_mm256_srli_epi32::<16>(up), none, nan);
            }
            let packed = _mm256_packus_epi32(rounded[0], rounded[1]);
            let in_order = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
            _mm256_storeu_si256(to.as_mut_ptr().cast(), in_order);
        }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }

    #[inline(always)]
    fn clamp(self, value: Self::V, low: Self::V, high: Self::V) -> Self::V {
        // Of a number and NaN, these give the second operand.
        unsafe {
            [
                _mm256_min_ps(high[0], _mm256_max_ps(low[0], value[0])),
                _mm256_min_ps(high[1], _mm256_max_ps(low[1], value[1])),
            ]
        }
    }

    #[inline(always)]
    fn mask_relu(self, value: Self::V, relu_output: Self::V, limit: Self::V) -> Self::V {
        let mut values = value;
        for half in 0..2 {
            unsafe {
                let above = _mm256_cmp_ps::<_CMP_GT_OQ>(relu_output[half], _mm256_setzero_ps());
                let below = _mm256_cmp_ps::<_CMP_LT_OQ>(relu_output[half], limit[half]);
                values[half] = _mm256_and_ps(value[half], _mm256_and_ps(above, below));
            }
        }
        values
    }

    #[inline(always)]
    fn splat_byte(self, byte: u8) -> Self::Bytes {
        unsafe { _mm_set1_epi8(byte.cast_signed()) }
    }

    #[inline(always)]
    fn store_bytes(self, bytes: Self::Bytes, to: &mut [u8; LANES]) {
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), bytes) }
    }

    #[inline(always)]
    fn add_if_equal(self, sum: Self::V, value: Self::V, bytes: &[u8; LANES], byte: u8) -> Self::V {
        unsafe {
            let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
            let equal = _mm_cmpeq_epi8(bytes, self.splat_byte(byte));
            let low = _mm256_castsi256_ps(_mm256_cvtepi8_epi32(equal));
            let high = _mm256_castsi256_ps(_mm256_cvtepi8_epi32(_mm_srli_si128::<8>(equal)));
            let more = self.add(sum, value);
            [_mm256_blendv_ps(sum[0], more[0], low), _mm256_blendv_ps(sum[1], more[1], high)]
        }
    }

    #[inline(always)]
    fn max_with_index(
        self,
        (best, which): (Self::V, Self::Bytes),
        value: Self::V,
        byte: u8,
    ) -> (Self::V, Self::Bytes) {
        unsafe {
            let (mut better, mut kept) = (best, best);
            for half in 0..2 {
                let above = _mm256_cmp_ps::<_CMP_GT_OQ>(value[half], best[half]);
                better[half] = _mm256_or_ps(above, _mm256_cmp_ps::<_CMP_UNORD_Q>(value[half], value[half]));
                kept[half] = _mm256_blendv_ps(best[half], value[half], better[half]);
            }
            (kept, _mm_blendv_epi8(which, self.splat_byte(byte), self.narrow(better)))
        }
    }

    #[inline(always)]
    fn clear_unless_positive(self, bytes: Self::Bytes, value: Self::V) -> Self::Bytes {
        unsafe {
            let zero = _mm256_setzero_ps();
            let not =
                [_mm256_cmp_ps::<_CMP_LE_OQ>(value[0], zero), _mm256_cmp_ps::<_CMP_LE_OQ>(value[1], zero)];
            _mm_or_si128(bytes, self.narrow(not))
        }
    }

    #[inline(always)]
    fn call<K: Microkernel<Self>>(self, microkernel: K) {
        #[inline(never)]
        #[target_feature(enable = "avx2,fma")]
        fn run<K: Microkernel<Avx2>>(simd: Avx2, microkernel: K) {
            microkernel.run(simd);
        }
        unsafe { run(self, microkernel) }
    }
}

impl SimdVector for Avx512 {
    type V = __m512;
    type Bytes = __m128i;
    const MANY_REGISTERS: bool = true;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> Self::V {
        unsafe { _mm512_loadu_ps(values.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, values: Self::V, to: &mut [f32; LANES]) {
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), values) }
    }

    #[inline(always)]
    fn load_bf16(self, values: &[Bf16; LANES]) -> Self::V {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(values.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    fn store_bf16(self, values: Self::V, to: &mut [Bf16; LANES]) {
        unsafe {
            let bits = _mm512_castps_si512(values);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(values, values);
            let none = _mm512_set1_epi32(Bf16::NAN);
            let rounded = _mm512_mask_blend_epi32(nan, _mm512_srli_epi32::<16>(up), none);
            _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(rounded));
        }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn clamp(self, value: Self::V, low: Self::V, high: Self::V) -> Self::V {
        unsafe { _mm512_min_ps(high, _mm512_max_ps(low, value)) }
    }

    #[inline(always)]
    fn mask_relu(self, value: Self::V, relu_output: Self::V, limit: Self::V) -> Self::V {
        unsafe {
            let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(relu_output, _mm512_setzero_ps());
            let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(relu_output, limit);
            _mm512_maskz_mov_ps(above & below, value)
        }
    }

    #[inline(always)]
    fn splat_byte(self, byte: u8) -> Self::Bytes {
        unsafe { _mm_set1_epi8(byte.cast_signed()) }
    }

    #[inline(always)]
    fn store_bytes(self, bytes: Self::Bytes, to: &mut [u8; LANES]) {
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), bytes) }
    }

    #[inline(always)]
    fn add_if_equal(self, sum: Self::V, value: Self::V, bytes: &[u8; LANES], byte: u8) -> Self::V {
        unsafe {
            let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
            let equal = _mm_cmpeq_epi8_mask(bytes, self.splat_byte(byte));
            _mm512_mask_add_ps(sum, equal, sum, value)
        }
    }

    #[inline(always)]
    fn max_with_index(
        self,
        (best, which): (Self::V, Self::Bytes),
        value: Self::V,
        byte: u8,
    ) -> (Self::V, Self::Bytes) {
        unsafe {
            let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(value, best);
            let better = above | _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value);
            let which = _mm_mask_blend_epi8(better, which, self.splat_byte(byte));
            (_mm512_mask_blend_ps(better, best, value), which)
        }
    }

    #[inline(always)]
    fn clear_unless_positive(self, bytes: Self::Bytes, value: Self::V) -> Self::Bytes {
        unsafe {
            let not = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(value, _mm512_setzero_ps());
            _mm_mask_blend_epi8(not, bytes, self.splat_byte(u8::MAX))
        }
    }

    #[inline(always)]
    fn call<K: Microkernel<Self>>(self, microkernel: K) {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn run<K: Microkernel<Avx512>>(simd: Avx512, microkernel: K) {
            microkernel.run(simd);
        }
        unsafe { run(self, microkernel) }
    }
}

/// Dot products of pairs of bfloat16, added up in float32 (AVX512-BF16).
#[derive(Clone, Copy)]
pub(crate) struct Bf16Dot(Avx512);

impl Bf16Dot {
    pub(crate) fn get() -> Option<Self> {
        Avx512::get().filter(|_| is_x86_feature_detected!("avx512bf16")).map(Self)
    }

    /// The SIMD vectors that the sums lie in.
    pub(crate) fn vector(self) -> Avx512 {
        self.0
    }

    /// As [`SimdVector::call`]: what follows has to be inlined into such a microkernel.
    #[inline(always)]
    pub(crate) fn call<K: Microkernel<Avx512>>(self, microkernel: K) {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
        fn run<K: Microkernel<Avx512>>(simd: Avx512, microkernel: K) {
            microkernel.run(simd);
        }
        unsafe { run(self.0, microkernel) }
    }

    /// The same pair sixteen times.
    #[inline(always)]
    pub(crate) fn splat(self, pair: &[Bf16; 2]) -> __m512i {
        unsafe { _mm512_set1_epi32(pair.as_ptr().cast::<i32>().read_unaligned()) }
    }

    /// Sixteen pairs, each as the bits of a number: the first value in the lower ones.
    #[inline(always)]
    pub(crate) fn load(self, pairs: &[u32; LANES]) -> __m512i {
        unsafe { _mm512_loadu_si512(pairs.as_ptr().cast()) }
    }

    /// `sum` and both products of each pair, in the order that the processor has for them.
    #[inline(always)]
    pub(crate) fn add(self, a: __m512i, b: __m512i, sum: __m512) -> __m512 {
        use std::mem::transmute;
        unsafe { _mm512_dpbf16_ps(sum, transmute::<__m512i, __m512bh>(a), transmute::<__m512i, __m512bh>(b)) }
    }

    /// Rounds to nearest; what is smaller than any normal float32 is zero, as in the products.
    #[inline(always)]
    pub(crate) fn store(self, values: __m512, to: &mut [Bf16; LANES]) {
        unsafe {
            let rounded = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(values));
            _mm256_storeu_si256(to.as_mut_ptr().cast(), rounded);
        }
    }
}
