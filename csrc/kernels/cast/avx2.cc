// The cast with AVX2, F16C and FMA.

#include <immintrin.h>

#include "body.h"

namespace halve::kernels {
namespace {

struct Avx2 {
  using F = __m256;
  using I = __m256i;
  using M = __m256i;  // all ones in the lanes that hold
  using H = __m128i;
  static constexpr int kLanes = 8;

  static HALVE_INLINE F load(const char* p) {
    return _mm256_castsi256_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static HALVE_INLINE void prefetch(const char* p) { _mm_prefetch(p, _MM_HINT_T0); }
  static HALVE_INLINE I bits(F x) { return _mm256_castps_si256(x); }
  static HALVE_INLINE F floats(I x) { return _mm256_castsi256_ps(x); }
  static HALVE_INLINE I set(int32_t x) { return _mm256_set1_epi32(x); }
  static HALVE_INLINE F setf(float x) { return _mm256_set1_ps(x); }
  static HALVE_INLINE I and_(I a, I b) { return _mm256_and_si256(a, b); }
  static HALVE_INLINE I or_(I a, I b) { return _mm256_or_si256(a, b); }
  static HALVE_INLINE I xor_(I a, I b) { return _mm256_xor_si256(a, b); }
  static HALVE_INLINE I add(I a, I b) { return _mm256_add_epi32(a, b); }
  static HALVE_INLINE I min(I a, I b) { return _mm256_min_epi32(a, b); }
  static HALVE_INLINE I max(I a, I b) { return _mm256_max_epi32(a, b); }
  template <int kBits>
  static HALVE_INLINE I shift_right(I x) {
    return _mm256_srli_epi32(x, kBits);
  }
  static HALVE_INLINE M less(I a, I b) { return _mm256_cmpgt_epi32(b, a); }
  static HALVE_INLINE M greater_zero(F x) {
    return bits(_mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GT_OQ));
  }
  static HALVE_INLINE M or_m(M a, M b) { return or_(a, b); }
  static HALVE_INLINE bool any(M m) { return _mm256_testz_si256(m, m) == 0; }
  static HALVE_INLINE I select(M m, I yes, I no) { return _mm256_blendv_epi8(no, yes, m); }
  static HALVE_INLINE I count(I counts, M m) { return _mm256_sub_epi32(counts, m); }
  static HALVE_INLINE F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static HALVE_INLINE F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static HALVE_INLINE F div(F a, F b) { return _mm256_div_ps(a, b); }
  // The second operand where either is NaN.
  static HALVE_INLINE F maxf(F a, F b) { return _mm256_max_ps(a, b); }
  static HALVE_INLINE F minus_product(F c, F a, F b) { return _mm256_fnmadd_ps(a, b, c); }
  static HALVE_INLINE H to_half(F x) { return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT); }
  static HALVE_INLINE F from_half(H x) { return _mm256_cvtph_ps(x); }
  static HALVE_INLINE I join(H a, H b) { return _mm256_set_m128i(b, a); }
  // The upper halves of the lanes of a, then of b.
  static HALVE_INLINE I join(I a, I b) {
    const I packed = _mm256_packus_epi32(shift_right<16>(a), shift_right<16>(b));
    return _mm256_permute4x64_epi64(packed, _MM_SHUFFLE(3, 1, 2, 0));
  }
  template <bool kStream>
  static HALVE_INLINE void store(char* p, I x) {
    if constexpr (kStream) {
      _mm256_stream_si256(reinterpret_cast<__m256i*>(p), x);
    } else {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x);
    }
  }
  static HALVE_INLINE void finish_streaming() { _mm_sfence(); }
};

}  // namespace

void halve_cast_f32_f16_avx2(const float* src, uint16_t* dst, uint64_t n, CastBounds bounds,
                             bool streaming, CastCounts* counts) noexcept {
  cast_array<Avx2, Float16Rounding>(src, dst, n, bounds, streaming, counts);
}

void halve_cast_f32_bf16_avx2(const float* src, uint16_t* dst, uint64_t n, CastBounds bounds,
                              bool streaming, CastCounts* counts) noexcept {
  cast_array<Avx2, BFloat16Rounding>(src, dst, n, bounds, streaming, counts);
}

}  // namespace halve::kernels
