// Eight float64 lanes with AVX-512 F and DQ; see lanes/README.md for what each operation means.
#pragma once

#include <immintrin.h>

#include "widen.h"

namespace halve::kernels {
namespace {

struct Avx512Lanes {
  using D = __m512d;
  using F = __m512;   // 16 float32
  using C = __m512i;  // 64-bit counters
  struct W {
    __m512i bits;  // 32 words
  };

  static HALVE_INLINE D load(Float64, const char* p) { return _mm512_loadu_pd(p); }
  static HALVE_INLINE D load(Float32, const char* p) {
    return _mm512_cvtps_pd(_mm256_loadu_ps(reinterpret_cast<const float*>(p)));
  }
  static HALVE_INLINE D load(Float16, const char* p) {
    return _mm512_cvtps_pd(_mm256_cvtph_ps(eight_words(p)));
  }
  static HALVE_INLINE D load(BFloat16, const char* p) {
    const __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(eight_words(p)), 16);
    return _mm512_cvtps_pd(_mm256_castsi256_ps(wide));
  }
  static HALVE_INLINE void store(double* p, D x) { _mm512_storeu_pd(p, x); }
  static HALVE_INLINE void prefetch(const char* p) { _mm_prefetch(p, _MM_HINT_T0); }
  static HALVE_INLINE D set(double x) { return _mm512_set1_pd(x); }
  static HALVE_INLINE C no_count() { return _mm512_setzero_si512(); }
  static HALVE_INLINE D abs(D x) { return _mm512_abs_pd(x); }
  static HALVE_INLINE D add(D a, D b) { return _mm512_add_pd(a, b); }
  static HALVE_INLINE D sub(D a, D b) { return _mm512_sub_pd(a, b); }
  static HALVE_INLINE D mul(D a, D b) { return _mm512_mul_pd(a, b); }
  static HALVE_INLINE D div(D a, D b) { return _mm512_div_pd(a, b); }
  static HALVE_INLINE D min(D a, D b) { return _mm512_min_pd(a, b); }
  static HALVE_INLINE D max(D a, D b) { return _mm512_max_pd(a, b); }
  static HALVE_INLINE D plus_product(D c, D a, D b) { return _mm512_fmadd_pd(a, b, c); }
  static HALVE_INLINE D minus_product(D c, D a, D b) { return _mm512_fnmadd_pd(a, b, c); }
  static HALVE_INLINE C count_less(C counts, D a, D b) {
    return count(counts, _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ));
  }
  static HALVE_INLINE bool any_less(D a, D b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ) != 0; }
  static HALVE_INLINE bool all_finite(D x) {
    const D zero = _mm512_sub_pd(x, x);
    return _mm512_cmp_pd_mask(zero, zero, _CMP_UNORD_Q) == 0;
  }
  static HALVE_INLINE int less(D a, D b) { return ones(_mm512_cmp_pd_mask(a, b, _CMP_LT_OQ)); }
  static HALVE_INLINE int less_equal(D a, D b) {
    return ones(_mm512_cmp_pd_mask(a, b, _CMP_LE_OQ));
  }
  static HALVE_INLINE void store_counts(uint64_t* p, C counts) { _mm512_storeu_si512(p, counts); }

  static HALVE_INLINE F load_float(Float32, const char* p) { return _mm512_loadu_ps(p); }
  static HALVE_INLINE F load_float(Float16, const char* p) { return _mm512_cvtph_ps(half_line(p)); }
  static HALVE_INLINE F load_float(BFloat16, const char* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half_line(p)), 16));
  }
  static HALVE_INLINE void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static HALVE_INLINE F setf(float x) { return _mm512_set1_ps(x); }
  static HALVE_INLINE F abs(F x) { return _mm512_abs_ps(x); }
  static HALVE_INLINE F min(F a, F b) { return _mm512_min_ps(a, b); }
  static HALVE_INLINE F max(F a, F b) { return _mm512_max_ps(a, b); }
  static HALVE_INLINE int less(F a, F b) { return ones(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ)); }
  static HALVE_INLINE int less_equal(F a, F b) {
    return ones(_mm512_cmp_ps_mask(a, b, _CMP_LE_OQ));
  }
  static HALVE_INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
  static HALVE_INLINE F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static HALVE_INLINE F plus_product(F c, F a, F b) { return _mm512_fmadd_ps(a, b, c); }
  static HALVE_INLINE F minus_abs(F x) { return _mm512_or_ps(x, _mm512_set1_ps(-0.0F)); }
  static HALVE_INLINE F either(F a, F b) { return _mm512_or_ps(a, b); }
  static HALVE_INLINE F either(F a, F b, F c) {
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(
        _mm512_castps_si512(a), _mm512_castps_si512(b), _mm512_castps_si512(c), 0xFE));
  }
  static HALVE_INLINE F lesser_size(F a, F b) { return _mm512_range_ps(a, b, 0xA); }
  static HALVE_INLINE bool any_sign(F x) {
    return _mm512_movepi32_mask(_mm512_castps_si512(x)) != 0;
  }
  static HALVE_INLINE D first_half(F x) { return _mm512_cvtps_pd(_mm512_castps512_ps256(x)); }
  static HALVE_INLINE D second_half(F x) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)); }

  static HALVE_INLINE W words(const char* p) { return {_mm512_loadu_si512(p)}; }
  static HALVE_INLINE W same_words(uint16_t x) { return {copies(x)}; }
  static HALVE_INLINE void store(uint16_t* p, W x) { _mm512_storeu_si512(p, x.bits); }
  static HALVE_INLINE W magnitudes(W x) {
    return {_mm512_and_si512(x.bits, copies(uint16_t{0x7FFF}))};
  }
  static HALVE_INLINE W doubled(W x) { return {_mm512_add_epi16(x.bits, x.bits)}; }
  static HALVE_INLINE W max_unsigned(W a, W b) { return {_mm512_max_epu16(a.bits, b.bits)}; }
  static HALVE_INLINE W max_signed(W a, W b) { return {_mm512_max_epi16(a.bits, b.bits)}; }
  static HALVE_INLINE W min_unsigned(W a, W b) { return {_mm512_min_epu16(a.bits, b.bits)}; }
  static HALVE_INLINE bool any_from(W a, uint16_t b) {
    return _mm512_cmpge_epu16_mask(a.bits, copies(b)) != 0;
  }
  static HALVE_INLINE bool any_from_signed(W a, uint16_t b) {
    return _mm512_cmpge_epi16_mask(a.bits, copies(b)) != 0;
  }
  static HALVE_INLINE bool any_below(W a, uint16_t b) {
    return _mm512_cmplt_epu16_mask(a.bits, copies(b)) != 0;
  }
  static HALVE_INLINE int less(W a, uint16_t b) {
    return ones(_mm512_cmplt_epu16_mask(a.bits, copies(b)));
  }

 private:
  static HALVE_INLINE int ones(uint32_t mask) { return __builtin_popcount(mask); }
  static HALVE_INLINE __m512i copies(uint16_t x) {
    return _mm512_set1_epi16(static_cast<int16_t>(x));
  }
  static HALVE_INLINE __m256i half_line(const char* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static HALVE_INLINE __m128i eight_words(const char* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static HALVE_INLINE C count(C counts, __mmask8 m) {
    return _mm512_mask_sub_epi64(counts, m, counts, _mm512_set1_epi64(-1));
  }
};

}  // namespace
}  // namespace halve::kernels
