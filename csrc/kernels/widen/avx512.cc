// The widening with AVX-512 F.

#include "../lanes/avx512.h"

#include "body.h"

namespace halve::kernels {

void halve_widen_f16_avx512(const uint16_t* src, float* dst, uint64_t n) noexcept {
  widen_array<Avx512Lanes, Float16, FromFloat16>(src, dst, n);
}

void halve_widen_bf16_avx512(const uint16_t* src, float* dst, uint64_t n) noexcept {
  widen_array<Avx512Lanes, BFloat16, FromBFloat16>(src, dst, n);
}

}  // namespace halve::kernels
