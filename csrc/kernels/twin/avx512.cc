// The fused pass with AVX-512 F and DQ.

#include "../lanes/avx512.h"

#include "body.h"

namespace halve::kernels {
namespace {

void round_f16(const float* x, float* rounded, uint64_t n) noexcept {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  uint64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i half = _mm512_cvtps_ph(_mm512_loadu_ps(x + i), kNearest);
    _mm512_storeu_ps(rounded + i, _mm512_cvtph_ps(half));
  }
  define_rounded_array<RoundToFloat16>(x + i, rounded + i, n - i);
}

}  // namespace

const TwinKernels halve_twin_avx512 = {round_f16, round_bf16, compare_one_block<Avx512Lanes>};

}  // namespace halve::kernels
