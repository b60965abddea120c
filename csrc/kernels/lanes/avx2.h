// Eight float64 lanes in two registers with AVX2, F16C and FMA; see lanes/README.md for what each
// operation means.
#pragma once

#include <immintrin.h>

#include "widen.h"

namespace halve::kernels {
namespace {

struct Avx2Lanes {
  struct D {
    __m256d low, high;
  };
  struct F {
    __m256 first, second;  // 16 float32
  };
  struct C {
    __m256i low, high;  // 64-bit counters
  };
  struct W {
    __m256i first, second;  // 32 words
  };

  static HALVE_INLINE D load(Float64, const char* p) {
    return {_mm256_loadu_pd(reinterpret_cast<const double*>(p)),
            _mm256_loadu_pd(reinterpret_cast<const double*>(p + 32))};
  }
  static HALVE_INLINE D load(Float32, const char* p) {
    return {_mm256_cvtps_pd(_mm_loadu_ps(reinterpret_cast<const float*>(p))),
            _mm256_cvtps_pd(_mm_loadu_ps(reinterpret_cast<const float*>(p + 16)))};
  }
  static HALVE_INLINE D load(Float16, const char* p) {
    return widen(_mm256_cvtph_ps(eight_words(p)));
  }
  static HALVE_INLINE D load(BFloat16, const char* p) { return widen(from_bfloat(eight_words(p))); }
  static HALVE_INLINE void store(double* p, D x) {
    _mm256_storeu_pd(p, x.low);
    _mm256_storeu_pd(p + 4, x.high);
  }
  static HALVE_INLINE void prefetch(const char* p) { _mm_prefetch(p, _MM_HINT_T0); }
  static HALVE_INLINE D set(double x) { return {_mm256_set1_pd(x), _mm256_set1_pd(x)}; }
  static HALVE_INLINE C no_count() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static HALVE_INLINE D abs(D x) {
    const __m256d sign = _mm256_set1_pd(-0.0);
    return {_mm256_andnot_pd(sign, x.low), _mm256_andnot_pd(sign, x.high)};
  }
  static HALVE_INLINE D add(D a, D b) {
    return {_mm256_add_pd(a.low, b.low), _mm256_add_pd(a.high, b.high)};
  }
  static HALVE_INLINE D sub(D a, D b) {
    return {_mm256_sub_pd(a.low, b.low), _mm256_sub_pd(a.high, b.high)};
  }
  static HALVE_INLINE D mul(D a, D b) {
    return {_mm256_mul_pd(a.low, b.low), _mm256_mul_pd(a.high, b.high)};
  }
  static HALVE_INLINE D div(D a, D b) {
    return {_mm256_div_pd(a.low, b.low), _mm256_div_pd(a.high, b.high)};
  }
  static HALVE_INLINE D min(D a, D b) {
    return {_mm256_min_pd(a.low, b.low), _mm256_min_pd(a.high, b.high)};
  }
  static HALVE_INLINE D max(D a, D b) {
    return {_mm256_max_pd(a.low, b.low), _mm256_max_pd(a.high, b.high)};
  }
  static HALVE_INLINE D plus_product(D c, D a, D b) {
    return {_mm256_fmadd_pd(a.low, b.low, c.low), _mm256_fmadd_pd(a.high, b.high, c.high)};
  }
  static HALVE_INLINE D minus_product(D c, D a, D b) {
    return {_mm256_fnmadd_pd(a.low, b.low, c.low), _mm256_fnmadd_pd(a.high, b.high, c.high)};
  }
  static HALVE_INLINE C count_less(C counts, D a, D b) {
    return count(counts, _mm256_cmp_pd(a.low, b.low, _CMP_LT_OQ),
                 _mm256_cmp_pd(a.high, b.high, _CMP_LT_OQ));
  }
  static HALVE_INLINE bool any_less(D a, D b) {
    const __m256d low = _mm256_cmp_pd(a.low, b.low, _CMP_LT_OQ);
    return _mm256_movemask_pd(_mm256_or_pd(low, _mm256_cmp_pd(a.high, b.high, _CMP_LT_OQ))) != 0;
  }
  static HALVE_INLINE bool all_finite(D x) {
    const D zero = sub(x, x);
    return _mm256_movemask_pd(_mm256_cmp_pd(zero.low, zero.high, _CMP_UNORD_Q)) == 0;
  }
  static HALVE_INLINE int less(D a, D b) {
    return ones(_mm256_cmp_pd(a.low, b.low, _CMP_LT_OQ)) +
           ones(_mm256_cmp_pd(a.high, b.high, _CMP_LT_OQ));
  }
  static HALVE_INLINE int less_equal(D a, D b) {
    return ones(_mm256_cmp_pd(a.low, b.low, _CMP_LE_OQ)) +
           ones(_mm256_cmp_pd(a.high, b.high, _CMP_LE_OQ));
  }
  static HALVE_INLINE void store_counts(uint64_t* p, C counts) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), counts.low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 4), counts.high);
  }

  static HALVE_INLINE F load_float(Float32, const char* p) {
    return {_mm256_loadu_ps(reinterpret_cast<const float*>(p)),
            _mm256_loadu_ps(reinterpret_cast<const float*>(p + 32))};
  }
  static HALVE_INLINE F load_float(Float16, const char* p) {
    return {_mm256_cvtph_ps(eight_words(p)), _mm256_cvtph_ps(eight_words(p + 16))};
  }
  static HALVE_INLINE F load_float(BFloat16, const char* p) {
    return {from_bfloat(eight_words(p)), from_bfloat(eight_words(p + 16))};
  }
  static HALVE_INLINE void store(float* p, F x) {
    _mm256_storeu_ps(p, x.first);
    _mm256_storeu_ps(p + 8, x.second);
  }
  static HALVE_INLINE F setf(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static HALVE_INLINE F abs(F x) {
    const __m256 sign = _mm256_set1_ps(-0.0F);
    return {_mm256_andnot_ps(sign, x.first), _mm256_andnot_ps(sign, x.second)};
  }
  static HALVE_INLINE F min(F a, F b) {
    return {_mm256_min_ps(a.first, b.first), _mm256_min_ps(a.second, b.second)};
  }
  static HALVE_INLINE F max(F a, F b) {
    return {_mm256_max_ps(a.first, b.first), _mm256_max_ps(a.second, b.second)};
  }
  static HALVE_INLINE int less(F a, F b) {
    return ones(_mm256_cmp_ps(a.first, b.first, _CMP_LT_OQ)) +
           ones(_mm256_cmp_ps(a.second, b.second, _CMP_LT_OQ));
  }
  static HALVE_INLINE int less_equal(F a, F b) {
    return ones(_mm256_cmp_ps(a.first, b.first, _CMP_LE_OQ)) +
           ones(_mm256_cmp_ps(a.second, b.second, _CMP_LE_OQ));
  }
  static HALVE_INLINE F add(F a, F b) {
    return {_mm256_add_ps(a.first, b.first), _mm256_add_ps(a.second, b.second)};
  }
  static HALVE_INLINE F sub(F a, F b) {
    return {_mm256_sub_ps(a.first, b.first), _mm256_sub_ps(a.second, b.second)};
  }
  static HALVE_INLINE F plus_product(F c, F a, F b) {
    return {_mm256_fmadd_ps(a.first, b.first, c.first),
            _mm256_fmadd_ps(a.second, b.second, c.second)};
  }
  static HALVE_INLINE F minus_abs(F x) { return either(x, setf(-0.0F)); }
  static HALVE_INLINE F either(F a, F b) {
    return {_mm256_or_ps(a.first, b.first), _mm256_or_ps(a.second, b.second)};
  }
  static HALVE_INLINE F either(F a, F b, F c) { return either(either(a, b), c); }
  static HALVE_INLINE F lesser_size(F a, F b) { return min(abs(a), b); }
  static HALVE_INLINE bool any_sign(F x) {
    return _mm256_movemask_ps(_mm256_or_ps(x.first, x.second)) != 0;
  }
  static HALVE_INLINE D first_half(F x) { return widen(x.first); }
  static HALVE_INLINE D second_half(F x) { return widen(x.second); }

  static HALVE_INLINE W words(const char* p) {
    const __m256i* first = reinterpret_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(first), _mm256_loadu_si256(first + 1)};
  }
  static HALVE_INLINE W same_words(uint16_t x) { return {copies(x), copies(x)}; }
  static HALVE_INLINE void store(uint16_t* p, W x) {
    __m256i* first = reinterpret_cast<__m256i*>(p);
    _mm256_storeu_si256(first, x.first);
    _mm256_storeu_si256(first + 1, x.second);
  }
  static HALVE_INLINE W magnitudes(W x) {
    const __m256i sizes = copies(uint16_t{0x7FFF});
    return {_mm256_and_si256(x.first, sizes), _mm256_and_si256(x.second, sizes)};
  }
  static HALVE_INLINE W doubled(W x) {
    return {_mm256_add_epi16(x.first, x.first), _mm256_add_epi16(x.second, x.second)};
  }
  static HALVE_INLINE W max_unsigned(W a, W b) {
    return {_mm256_max_epu16(a.first, b.first), _mm256_max_epu16(a.second, b.second)};
  }
  static HALVE_INLINE W max_signed(W a, W b) {
    return {_mm256_max_epi16(a.first, b.first), _mm256_max_epi16(a.second, b.second)};
  }
  static HALVE_INLINE W min_unsigned(W a, W b) {
    return {_mm256_min_epu16(a.first, b.first), _mm256_min_epu16(a.second, b.second)};
  }
  static HALVE_INLINE bool any_from(W a, uint16_t b) {
    const W same = same_words(b), most = max_unsigned(a, same);
    return any(_mm256_cmpeq_epi16(most.first, a.first), _mm256_cmpeq_epi16(most.second, a.second));
  }
  static HALVE_INLINE bool any_from_signed(W a, uint16_t b) {
    const W same = same_words(b), most = max_signed(a, same);
    return any(_mm256_cmpeq_epi16(most.first, a.first), _mm256_cmpeq_epi16(most.second, a.second));
  }
  static HALVE_INLINE bool any_below(W a, uint16_t b) {
    const W same = same_words(b), most = max_unsigned(a, same);
    const __m256i first = _mm256_cmpeq_epi16(most.first, a.first);
    return _mm256_movemask_epi8(
               _mm256_and_si256(first, _mm256_cmpeq_epi16(most.second, a.second))) != -1;
  }
  static HALVE_INLINE int less(W a, uint16_t b) {
    const __m256i bound = copies(b);
    // A byte a word, each once: packing keeps -1 and 0.
    const __m256i found =
        _mm256_packs_epi16(_mm256_cmpgt_epi16(bound, a.first), _mm256_cmpgt_epi16(bound, a.second));
    return __builtin_popcount(static_cast<unsigned>(_mm256_movemask_epi8(found)));
  }

 private:
  static HALVE_INLINE int ones(__m256d mask) {
    return __builtin_popcount(static_cast<unsigned>(_mm256_movemask_pd(mask)));
  }
  static HALVE_INLINE int ones(__m256 mask) {
    return __builtin_popcount(static_cast<unsigned>(_mm256_movemask_ps(mask)));
  }
  static HALVE_INLINE __m256i copies(uint16_t x) {
    return _mm256_set1_epi16(static_cast<int16_t>(x));
  }
  static HALVE_INLINE bool any(__m256i a, __m256i b) {
    return _mm256_movemask_epi8(_mm256_or_si256(a, b)) != 0;
  }
  static HALVE_INLINE __m256 from_bfloat(__m128i x) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
  }
  static HALVE_INLINE __m128i eight_words(const char* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static HALVE_INLINE D widen(__m256 x) {
    return {_mm256_cvtps_pd(_mm256_castps256_ps128(x)),
            _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))};
  }
  static HALVE_INLINE C count(C counts, __m256d low, __m256d high) {
    return {_mm256_sub_epi64(counts.low, _mm256_castpd_si256(low)),
            _mm256_sub_epi64(counts.high, _mm256_castpd_si256(high))};
  }
};

}  // namespace
}  // namespace halve::kernels
