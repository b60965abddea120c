// The statistics as their definition reads, one element at a time. The scalar kernel is made of
// it, and the vector kernels use it for what is out of the ordinary.
#pragma once

#include "../lanes/sums.h"
#include "../lanes/widen.h"
#include "halve/reduce.h"
#include "kernels.h"

namespace halve::kernels {
namespace {

// A block's sum of squares, by lane.
struct SquareLanes {
  double sum[kSumLanes] = {};
};

HALVE_INLINE void define_finite(double x, double size, double min_normal, double& sum,
                                StatsTotals& totals) {
  totals.zero += size == 0.0;
  totals.subnormal += size > 0.0 && size < min_normal;
  totals.minimum = x < totals.minimum ? x : totals.minimum;
  totals.maximum = x > totals.maximum ? x : totals.maximum;
  sum += x * x;
}

// Everything about one element, whose square is added to `sum`.
HALVE_INLINE void define_element(double x, double min_normal, StatsThresholds thresholds,
                                 double& sum, StatsTotals& totals) {
  if (x != x) {
    ++totals.nan;
    return;
  }
  const double size = magnitude(x);
  totals.ge += size >= thresholds.ge;
  totals.le += size <= thresholds.le;
  if (size - size == 0.0) {
    define_finite(x, size, min_normal, sum, totals);
  } else {
    ++totals.inf;
  }
}

// Everything about n elements, of which the first belongs to lane 0.
template <class T>
HALVE_NOINLINE void define_elements(const char* p, uint64_t n, StatsThresholds thresholds,
                                    SquareLanes& lanes, StatsTotals& totals) {
  for (uint64_t i = 0; i < n; ++i) {
    const double x = T::widen(p + T::kBytes * i);
    define_element(x, T::kMinNormal, thresholds, lanes.sum[i % kSumLanes], totals);
  }
}

HALVE_INLINE void add_block(StatsTotals& totals, const SquareLanes& lanes) {
  totals.sum_squares += sum_of_lanes(lanes.sum);
}

// Calls pass.operator()<T>() with the element type.
template <class Pass>
HALVE_HOST_INLINE void with_type(FloatType type, const Pass& pass) {
  switch (type) {
    case FloatType::kFloat32:
      return pass.template operator()<Float32>();
    case FloatType::kFloat16:
      return pass.template operator()<Float16>();
    case FloatType::kBFloat16:
      return pass.template operator()<BFloat16>();
    case FloatType::kFloat64:
      return pass.template operator()<Float64>();
  }
}

}  // namespace
}  // namespace halve::kernels
