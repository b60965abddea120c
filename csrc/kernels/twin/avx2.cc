// The fused pass with AVX2, F16C and FMA.

#include "../lanes/avx2.h"

#include "body.h"

namespace halve::kernels {
namespace {

using Floats = Avx2Lanes::F;

struct Float16Rounding : ToHalf {
  static HALVE_INLINE __m256 part(__m256 x) {
    return _mm256_cvtph_ps(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static HALVE_INLINE Floats many(Floats x) { return {part(x.first), part(x.second)}; }
};

struct BFloat16Rounding : ToBrain {
  static HALVE_INLINE __m256 part(__m256 x) {
    const __m256i bits = _mm256_castps_si256(x), upper = _mm256_set1_epi32(~0xFFFF);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd);
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x00400000));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i chosen = _mm256_blendv_epi8(sum, quiet, nan);
    return _mm256_castsi256_ps(_mm256_and_si256(chosen, upper));
  }
  static HALVE_INLINE Floats many(Floats x) { return {part(x.first), part(x.second)}; }
};

struct Float32Rounding : NotRounded {
  static HALVE_INLINE Floats many(Floats x) { return x; }
};

bool fused(const TwinBlock& block, const TwinRule& rule, StatsTotals* exact, StatsTotals* half,
           CompareTotals* total, CompareTotals* local) noexcept {
  return fuse_block<Avx2Lanes, Float16Rounding, BFloat16Rounding, Float32Rounding>(
      block, rule, exact, half, total, local);
}

}  // namespace

const TwinKernels halve_twin_avx2 = {round_array<Avx2Lanes, Float16Rounding>,
                                     round_array<Avx2Lanes, BFloat16Rounding>,
                                     compare_one_block<Avx2Lanes>, fused};

}  // namespace halve::kernels
