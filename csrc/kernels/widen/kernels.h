// The kernels of the widening, one function a type and instruction set. What they compute is
// defined in halve/widen.h; arguments have been checked.
#pragma once

#include <stdint.h>

namespace halve::kernels {

// Widens n elements; `src` and `dst` may be misaligned.
using WidenKernel = void(const uint16_t* src, float* dst, uint64_t n) noexcept;

WidenKernel halve_widen_f16_scalar;
WidenKernel halve_widen_bf16_scalar;
WidenKernel halve_widen_f16_avx2;
WidenKernel halve_widen_bf16_avx2;
WidenKernel halve_widen_f16_avx512;
WidenKernel halve_widen_bf16_avx512;
WidenKernel halve_widen_f16_neon;
WidenKernel halve_widen_bf16_neon;

}  // namespace halve::kernels
