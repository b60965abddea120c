// The cast with AVX-512 F, BW, VL and DQ.

#include <immintrin.h>

#include "body.h"

namespace halve::kernels {
namespace {

struct Avx512 {
  using F = __m512;
  using I = __m512i;
  using M = __mmask16;
  using H = __m256i;
  static constexpr int kLanes = 16;

  static HALVE_INLINE F load(const char* p) { return _mm512_loadu_ps(p); }
  static HALVE_INLINE void prefetch(const char* p) { _mm_prefetch(p, _MM_HINT_T0); }
  static HALVE_INLINE I bits(F x) { return _mm512_castps_si512(x); }
  static HALVE_INLINE F floats(I x) { return _mm512_castsi512_ps(x); }
  static HALVE_INLINE I set(int32_t x) { return _mm512_set1_epi32(x); }
  static HALVE_INLINE F setf(float x) { return _mm512_set1_ps(x); }
  static HALVE_INLINE I and_(I a, I b) { return _mm512_and_si512(a, b); }
  static HALVE_INLINE I or_(I a, I b) { return _mm512_or_si512(a, b); }
  static HALVE_INLINE I xor_(I a, I b) { return _mm512_xor_si512(a, b); }
  static HALVE_INLINE I add(I a, I b) { return _mm512_add_epi32(a, b); }
  static HALVE_INLINE I min(I a, I b) { return _mm512_min_epi32(a, b); }
  static HALVE_INLINE I max(I a, I b) { return _mm512_max_epi32(a, b); }
  template <int kBits>
  static HALVE_INLINE I shift_right(I x) {
    return _mm512_srli_epi32(x, kBits);
  }
  static HALVE_INLINE M less(I a, I b) { return _mm512_cmplt_epi32_mask(a, b); }
  static HALVE_INLINE M greater_zero(F x) {
    return _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ);
  }
  static HALVE_INLINE M or_m(M a, M b) { return static_cast<M>(a | b); }
  static HALVE_INLINE bool any(M m) { return m != 0; }
  static HALVE_INLINE I select(M m, I yes, I no) { return _mm512_mask_blend_epi32(m, no, yes); }
  static HALVE_INLINE I count(I counts, M m) {
    return _mm512_mask_sub_epi32(counts, m, counts, _mm512_set1_epi32(-1));
  }
  static HALVE_INLINE F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static HALVE_INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static HALVE_INLINE F div(F a, F b) { return _mm512_div_ps(a, b); }
  // The second operand where either is NaN.
  static HALVE_INLINE F maxf(F a, F b) { return _mm512_max_ps(a, b); }
  static HALVE_INLINE F minus_product(F c, F a, F b) { return _mm512_fnmadd_ps(a, b, c); }
  static HALVE_INLINE H to_half(F x) {
    return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static HALVE_INLINE F from_half(H x) { return _mm512_cvtph_ps(x); }
  static HALVE_INLINE I join(H a, H b) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
  }
  // The upper halves of the lanes of a, then of b.
  static HALVE_INLINE I join(I a, I b) {
    const I packed = _mm512_packus_epi32(shift_right<16>(a), shift_right<16>(b));
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), packed);
  }
  template <bool kStream>
  static HALVE_INLINE void store(char* p, I x) {
    if constexpr (kStream) {
      _mm512_stream_si512(reinterpret_cast<__m512i*>(p), x);
    } else {
      _mm512_storeu_si512(p, x);
    }
  }
  static HALVE_INLINE void finish_streaming() { _mm_sfence(); }
};

}  // namespace

void halve_cast_f32_f16_avx512(const float* src, uint16_t* dst, uint64_t n, CastBounds bounds,
                               bool streaming, CastCounts* counts) noexcept {
  cast_array<Avx512, Float16Rounding>(src, dst, n, bounds, streaming, counts);
}

void halve_cast_f32_bf16_avx512(const float* src, uint16_t* dst, uint64_t n, CastBounds bounds,
                                bool streaming, CastCounts* counts) noexcept {
  cast_array<Avx512, BFloat16Rounding>(src, dst, n, bounds, streaming, counts);
}

}  // namespace halve::kernels
