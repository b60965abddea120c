// The fused pass with AVX-512 F and DQ.

#include "../lanes/avx512.h"

#include "body.h"

namespace halve::kernels {
namespace {

struct Float16Rounding : ToHalf {
  static HALVE_INLINE __m512 many(__m512 x) {
    return _mm512_cvtph_ps(_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
};

struct BFloat16Rounding : ToBrain {
  static HALVE_INLINE __m512 many(__m512 x) {
    const __m512i bits = _mm512_castps_si512(x), upper = _mm512_set1_epi32(~0xFFFF);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x00400000));
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i chosen = _mm512_mask_blend_epi32(nan, sum, quiet);
    return _mm512_castsi512_ps(_mm512_and_si512(chosen, upper));
  }
};

struct Float32Rounding : NotRounded {
  static HALVE_INLINE __m512 many(__m512 x) { return x; }
};

bool fused(const TwinBlock& block, const TwinRule& rule, StatsTotals* exact, StatsTotals* half,
           CompareTotals* total, CompareTotals* local) noexcept {
  return fuse_block<Avx512Lanes, Float16Rounding, BFloat16Rounding, Float32Rounding>(
      block, rule, exact, half, total, local);
}

}  // namespace

const TwinKernels halve_twin_avx512 = {round_array<Avx512Lanes, Float16Rounding>,
                                       round_array<Avx512Lanes, BFloat16Rounding>,
                                       compare_one_block<Avx512Lanes>, fused};

}  // namespace halve::kernels
