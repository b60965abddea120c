// Rounding to 16 bits and back, one element at a time, by the definition of the cast.
#pragma once

#include "../cast/definition.h"

namespace halve::kernels {
namespace {

template <class Half>
HALVE_INLINE float define_rounded(float x) {
  const uint32_t bits = pattern_of(x);
  const uint32_t sign = bits & kSignBit, magnitude = bits & ~kSignBit;
  if (magnitude > kInfinityPattern) {
    return value_of(sign | Half::widened_nan(Half::from_nan(magnitude)));
  }
  if (magnitude == kInfinityPattern) return x;
  const uint32_t half = Half::round(magnitude);
  if (half == Half::kExponent) return value_of(sign | kInfinityPattern);
  return value_of(sign | pattern_of(Half::widen(half)));
}

struct RoundToFloat16 : ToFloat16 {
  static HALVE_INLINE uint32_t widened_nan(uint32_t half) {
    return kInfinityPattern | ((half & 0x3FFU) << 13);
  }
};

struct RoundToBFloat16 : ToBFloat16 {
  static HALVE_INLINE uint32_t widened_nan(uint32_t half) { return half << 16; }
};

template <class Half>
HALVE_INLINE void define_rounded_array(const float* x, float* rounded, uint64_t n) {
  for (uint64_t i = 0; i < n; ++i) rounded[i] = define_rounded<Half>(x[i]);
}

}  // namespace
}  // namespace halve::kernels
