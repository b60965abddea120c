// float64 bounds as float32 ones that the same float32 values keep to.
#pragma once

#include <stdint.h>
#include <string.h>

#include "../inline.h"

namespace halve::kernels {
namespace {

// The float32 value `step` places from x, where both have x's sign.
HALVE_INLINE float beside(float x, int32_t step) {
  int32_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits += step;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// The float32 value nearest to x, 0 or more, that is not below it; infinite beyond the largest.
HALVE_INLINE float float_at_least(double x) {
  const float nearest = static_cast<float>(x);
  return nearest < x ? beside(nearest, 1) : nearest;
}

// The float32 value nearest to x, 0 or more, that is not above it.
HALVE_INLINE float float_at_most(double x) {
  const float nearest = static_cast<float>(x);
  return nearest > x ? beside(nearest, -1) : nearest;
}

}  // namespace
}  // namespace halve::kernels
