// The kernels of the cast, one function a type and instruction set. What they compute is defined
// in halve/cast.h; arguments have been checked, the floating-point modes are the default ones.
#pragma once

#include <stdint.h>

#include "halve/cast.h"

namespace halve::kernels {

// Casts n elements and merges the counts into *counts. `streaming` asks for stores past the
// caches; a kernel that has none ignores it.
using CastKernel = void(const float* src, uint16_t* dst, uint64_t n, CastBounds bounds,
                        bool streaming, CastCounts* counts) noexcept;

CastKernel halve_cast_f32_f16_scalar;
CastKernel halve_cast_f32_bf16_scalar;
CastKernel halve_cast_f32_f16_avx2;
CastKernel halve_cast_f32_bf16_avx2;
CastKernel halve_cast_f32_f16_avx512;
CastKernel halve_cast_f32_bf16_avx512;
CastKernel halve_cast_f32_f16_neon;
CastKernel halve_cast_f32_bf16_neon;

}  // namespace halve::kernels
