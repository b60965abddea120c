// How much of a tolerance the elements of an array use against a reference.
//
// Both values of a pair (x, y) are widened to float64, which is exact, and y is the reference. The
// share of an element is |x - y| / (atol + rtol * |y|), each operation rounded to float64: 0 where
// x == y (equal infinities are), +inf where it would be NaN.
#pragma once

#include <cstdint>

#include "halve/float_type.h"
#include "halve/status.h"

namespace halve {

struct RatioTotals {
  double worst = 0.0;  // the largest share
  // Of (share / worst)^4, so that no power overflows; 0 where worst is 0, infinite where it is.
  double sum_fourth = 0.0;
};

// Measures n elements of `a` against as many of the reference `b`, of any alignment, on the calling
// thread, and overwrites `totals`: `worst` is exact, the sum the same bits on every machine.
// Pointers may be null where n is 0.
//
// kInvalidArgument: a null pointer, an unknown type, or a tolerance that is negative or not finite;
// `totals` is untouched.
Status measure_ratios(FloatType a_type, const void* a, FloatType b_type, const void* b,
                      std::uint64_t n, double rtol, double atol, RatioTotals& totals) noexcept;

}  // namespace halve
