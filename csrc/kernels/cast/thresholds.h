// Counts as comparisons of magnitudes with thresholds; README.md beside this file derives them. The
// vector kernels and the GPU's fast path share them.
#pragma once

#include <stdint.h>
#include <string.h>

#include "../inline.h"
#include "halve/cast.h"

namespace halve::kernels {
namespace {

constexpr int32_t kMagnitudeMask = 0x7FFFFFFF;
constexpr int32_t kFloatInfinity = 0x7F800000;
constexpr int32_t kLargestFinite = 0x7F7FFFFF;
// Below 2^-70 a fused multiply-add could underflow in the error test (README.md, "Errors").
constexpr int32_t kTinyBits = 0x1C800000;
constexpr int32_t kScaleBits = 0x71800000;  // 2^100, which lifts every such magnitude out of there
constexpr int32_t kOneBits = 0x3F800000;

// Where the results of a type change class, as bits of the float magnitude.
struct Float16Limits {
  static constexpr int32_t kFlushedBelow = 0x33000001;    // just over 2^-25, a tie that goes to 0
  static constexpr int32_t kSubnormalBelow = 0x387FE000;  // 1023.5 * 2^-24, a tie that goes up
  static constexpr int32_t kOverflowFrom = 0x477FF000;    // 65520, a tie that goes to infinity
};

struct BFloat16Limits {
  static constexpr int32_t kFlushedBelow = 0x00008001;
  static constexpr int32_t kSubnormalBelow = 0x007F8000;
  static constexpr int32_t kOverflowFrom = 0x7F7F8000;
};

// Every count is a count of magnitudes below or above one of these (as bits; "below" leaves out
// zero, "above" and "from" take in infinity and NaN).
struct Thresholds {
  int32_t low;            // raised: below
  int32_t high;           // lowered or not finite: above
  int32_t flushed_below;  // result zero
  int32_t tiny_below;     // result zero or subnormal
  int32_t overflow_from;  // result infinite or NaN
  int32_t usual_from;     // the fast path handles zero,
  int32_t usual_to;       // and what lies from here to here
};

HALVE_INLINE int32_t bits_of(float value) {
  int32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

HALVE_INLINE float float_of(int32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

HALVE_INLINE int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }
HALVE_INLINE int32_t larger(int32_t a, int32_t b) { return a > b ? a : b; }

// Bounding is monotone, so "the bounded magnitude lies below `limit`" is again a threshold.
HALVE_INLINE int32_t below_after_bounds(int32_t limit, int32_t low, int32_t high) {
  if (low >= limit) return 1;  // none
  return high < limit ? kFloatInfinity : limit;
}

template <class Limits>
HALVE_INLINE Thresholds make_thresholds(CastBounds bounds) {
  const int32_t low = larger(bits_of(bounds.min_positive), 1);
  const int32_t high = smaller(bits_of(bounds.max_finite), kLargestFinite);
  Thresholds t;
  t.low = low;
  t.high = high;
  t.flushed_below = below_after_bounds(Limits::kFlushedBelow, low, high);
  t.tiny_below = below_after_bounds(Limits::kSubnormalBelow, low, high);
  t.overflow_from = below_after_bounds(Limits::kOverflowFrom, low, high);
  t.usual_from = larger(low, kTinyBits);
  t.usual_to = smaller(high, t.overflow_from - 1);
  return t;
}

// Orders magnitudes with zero last, so that "nonzero and below" is one signed comparison.
HALVE_INLINE int32_t zero_last(int32_t magnitude) {
  return static_cast<int32_t>(static_cast<uint32_t>(magnitude) + 0x7FFFFFFFU);
}

}  // namespace
}  // namespace halve::kernels
