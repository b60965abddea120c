// The widening as its definition reads. Every other backend equals this one.

#include "definition.h"
#include "kernels.h"

namespace halve::kernels {

void halve_widen_f16_scalar(const uint16_t* src, float* dst, uint64_t n) noexcept {
  widen_elements<FromFloat16>(reinterpret_cast<const char*>(src), reinterpret_cast<char*>(dst), n);
}

void halve_widen_bf16_scalar(const uint16_t* src, float* dst, uint64_t n) noexcept {
  widen_elements<FromBFloat16>(reinterpret_cast<const char*>(src), reinterpret_cast<char*>(dst), n);
}

}  // namespace halve::kernels
