// The fused pass with AVX2, F16C and FMA.

#include "../lanes/avx2.h"

#include "body.h"

namespace halve::kernels {
namespace {

void round_f16(const float* x, float* rounded, uint64_t n) noexcept {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  uint64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), kNearest);
    _mm256_storeu_ps(rounded + i, _mm256_cvtph_ps(half));
  }
  define_rounded_array<RoundToFloat16>(x + i, rounded + i, n - i);
}

}  // namespace

const TwinKernels halve_twin_avx2 = {round_f16, round_bf16, compare_one_block<Avx2Lanes>};

}  // namespace halve::kernels
