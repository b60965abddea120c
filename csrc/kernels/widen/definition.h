// The widening of one element, on its bits.
#pragma once

#include <stdint.h>
#include <string.h>

#include "../inline.h"

namespace halve::kernels {
namespace {

struct FromFloat16 {
  static HALVE_INLINE uint32_t widen(uint32_t half) {
    const uint32_t sign = (half & 0x8000U) << 16;
    const uint32_t size = half & 0x7FFFU;
    if (size > 0x7C00U) return sign | 0x7FC00000U | (size << 13);
    if (size == 0x7C00U) return sign | 0x7F800000U;
    if (size >= 0x0400U) return sign | ((size << 13) + (112U << 23));
    const float value = static_cast<float>(size) * 0x1p-24F;  // a subnormal, which float32 has not
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return sign | bits;
  }
};

struct FromBFloat16 {
  static HALVE_INLINE uint32_t widen(uint32_t half) { return half << 16; }
};

template <class Half>
HALVE_INLINE void widen_elements(const char* from, char* to, uint64_t n) {
  for (uint64_t i = 0; i < n; ++i) {
    uint16_t half;
    memcpy(&half, from + 2 * i, sizeof half);
    const uint32_t bits = Half::widen(half);
    memcpy(to + 4 * i, &bits, sizeof bits);
  }
}

}  // namespace
}  // namespace halve::kernels
