// The widening with AVX2 and F16C.

#include "../lanes/avx2.h"

#include "body.h"

namespace halve::kernels {

void halve_widen_f16_avx2(const uint16_t* src, float* dst, uint64_t n) noexcept {
  widen_array<Avx2Lanes, Float16, FromFloat16>(src, dst, n);
}

void halve_widen_bf16_avx2(const uint16_t* src, float* dst, uint64_t n) noexcept {
  widen_array<Avx2Lanes, BFloat16, FromBFloat16>(src, dst, n);
}

}  // namespace halve::kernels
