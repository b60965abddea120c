// The cast as its definition reads, one element at a time. The scalar kernel and the GPU's careful
// path are made of it, and every other path equals it.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "../inline.h"
#include "halve/cast.h"

namespace halve::kernels {
namespace {

constexpr uint32_t kSignBit = 0x80000000U;
constexpr uint32_t kInfinityPattern = 0x7F800000U;

HALVE_INLINE uint32_t pattern_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

HALVE_INLINE float value_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// Drops the low `shift` bits, 1 <= shift <= 24: to nearest, ties to even.
HALVE_INLINE uint32_t round_shift(uint32_t value, uint32_t shift) {
  const uint32_t odd = (value >> shift) & 1U;
  return (value + (1U << (shift - 1)) - 1U + odd) >> shift;
}

struct ToFloat16 {
  static constexpr uint16_t kExponent = 0x7C00;

  // `magnitude` is a finite |x|, as bits.
  static HALVE_INLINE uint32_t round(uint32_t magnitude) {
    constexpr uint32_t kSmallestNormal = 0x38800000U;  // 2^-14
    if (magnitude >= kSmallestNormal) {
      const uint32_t rounded = round_shift(magnitude - (112U << 23), 13);
      return rounded < kExponent ? rounded : kExponent;
    }
    // A multiple of 2^-24: the significand counts units of 2^(exponent - 150).
    const uint32_t shift = 126U - (magnitude >> 23);
    return shift > 24 ? 0 : round_shift((magnitude & 0x7FFFFFU) | 0x800000U, shift);
  }

  static HALVE_INLINE uint32_t from_nan(uint32_t magnitude) {
    return 0x7E00U | ((magnitude >> 13) & 0x3FFU);
  }

  static HALVE_INLINE float widen(uint32_t half) {
    constexpr float kUnit = 1.0F / 16777216.0F;  // 2^-24, the smallest subnormal
    const bool normal = (half & kExponent) != 0;
    return normal ? value_of((half << 13) + (112U << 23)) : static_cast<float>(half) * kUnit;
  }
};

struct ToBFloat16 {
  static constexpr uint16_t kExponent = 0x7F80;

  static HALVE_INLINE uint32_t round(uint32_t magnitude) { return round_shift(magnitude, 16); }

  static HALVE_INLINE uint32_t from_nan(uint32_t magnitude) { return 0x0040U | (magnitude >> 16); }

  static HALVE_INLINE float widen(uint32_t half) { return value_of(half << 16); }
};

HALVE_INLINE float larger(float a, float b) { return a > b ? a : b; }

HALVE_INLINE uint32_t apply_bounds(uint32_t magnitude, CastBounds bounds, CastCounts& counts) {
  const float value = value_of(magnitude);
  if (value > 0.0F && value < bounds.min_positive) {
    ++counts.raised;
    return pattern_of(bounds.min_positive);
  }
  if (value > bounds.max_finite) {
    ++counts.lowered;
    return pattern_of(bounds.max_finite);
  }
  return magnitude;
}

// Counts for a finite |x| that was bounded to `bounded` and rounded to `half`.
template <class Half>
HALVE_INLINE void count_finite(uint32_t magnitude, uint32_t bounded, uint32_t half,
                               CastCounts& counts) {
  const float value = value_of(magnitude);
  counts.flushed += bounded != 0 && half == 0;
  counts.subnormal += half != 0 && (half & Half::kExponent) == 0;
  counts.max_abs = larger(counts.max_abs, value);
  if (half == Half::kExponent) {
    ++counts.overflow;
    return;
  }
  const float error = fabsf(Half::widen(half) - value);
  counts.max_abs_error = larger(counts.max_abs_error, error);
  if (value > 0.0F) counts.max_rel_error = larger(counts.max_rel_error, error / value);
}

template <class Half>
HALVE_INLINE uint32_t cast_magnitude(uint32_t magnitude, CastBounds bounds, CastCounts& counts) {
  if (magnitude > kInfinityPattern) {
    ++counts.nan;
    return Half::from_nan(magnitude);
  }
  if (magnitude == kInfinityPattern) {
    ++counts.inf;
    return Half::kExponent;
  }
  const uint32_t bounded = apply_bounds(magnitude, bounds, counts);
  const uint32_t half = Half::round(bounded);
  count_finite<Half>(magnitude, bounded, half, counts);
  return half;
}

}  // namespace
}  // namespace halve::kernels
