// The comparison as its definition reads, one pair at a time. The scalar kernel is made of it, and
// the vector kernels use it for what is out of the ordinary.
#pragma once

#include "../lanes/sums.h"
#include "../lanes/widen.h"
#include "halve/reduce.h"
#include "kernels.h"

namespace halve::kernels {
namespace {

// A block's sums, by lane.
struct LaneSums {
  double aa[kSumLanes] = {};
  double bb[kSumLanes] = {};
  double ab[kSumLanes] = {};
  double ee[kSumLanes] = {};
};

HALVE_INLINE bool is_nan(double x) { return x != x; }
HALVE_INLINE bool is_finite(double x) { return x - x == 0.0; }
HALVE_INLINE double nan_to_infinity(double x) { return is_nan(x) ? double_of(kInfinityBits) : x; }

HALVE_INLINE double difference(double x, double y, bool equal_nan) {
  if (x == y || (equal_nan && is_nan(x) && is_nan(y))) return 0.0;
  return nan_to_infinity(magnitude(x - y));
}

HALVE_INLINE double relative(double error, double y) {
  return error == 0.0 ? 0.0 : nan_to_infinity(error / magnitude(y));
}

HALVE_INLINE void count_special(double x, uint64_t& nan, uint64_t& inf) {
  if (is_finite(x)) return;
  nan += is_nan(x);
  inf += !is_nan(x);
}

// Takes pair `index` into the maxima where it exceeds them.
HALVE_INLINE void raise_maxima(double error, double y, uint64_t index, CompareTotals& totals) {
  if (error > totals.max_abs_error) {
    totals.max_abs_error = error;
    totals.max_abs_index = index;
  }
  const double ratio = relative(error, y);
  if (ratio > totals.max_rel_error) {
    totals.max_rel_error = ratio;
    totals.max_rel_index = index;
  }
}

HALVE_INLINE bool mismatched(double error, double y, CompareRule rule) {
  if (error == 0.0) return false;
  return !(is_finite(y) && error <= rule.atol + rule.rtol * magnitude(y));
}

// The totals of n elements of which none has been seen, above the maxima that *totals comes with.
HALVE_INLINE CompareTotals nothing_seen(uint64_t n, const CompareTotals& totals) {
  CompareTotals result;
  result.elements = n;
  result.max_abs_error = totals.max_abs_error;
  result.max_rel_error = totals.max_rel_error;
  return result;
}

// Everything about one pair but its products; returns the difference.
HALVE_INLINE double define_pair(double x, double y, uint64_t index, CompareRule rule,
                                CompareTotals& totals) {
  const double error = difference(x, y, rule.equal_nan);
  count_special(x, totals.a_nan, totals.a_inf);
  count_special(y, totals.b_nan, totals.b_inf);
  totals.mismatches += mismatched(error, y, rule);
  raise_maxima(error, y, index, totals);
  return error;
}

// Everything about n pairs, of which the first belongs to lane 0.
template <class A, class B>
HALVE_NOINLINE void define_pairs(const char* a, const char* b, uint64_t n, uint64_t index,
                                 CompareRule rule, LaneSums& sums, CompareTotals& totals) {
  for (uint64_t i = 0; i < n; ++i) {
    const double x = A::widen(a + A::kBytes * i), y = B::widen(b + B::kBytes * i);
    const double error = define_pair(x, y, index + i, rule, totals);
    const uint64_t lane = i % kSumLanes;
    sums.aa[lane] += x * x;
    sums.bb[lane] += y * y;
    sums.ab[lane] += x * y;
    sums.ee[lane] += error * error;
  }
}

HALVE_INLINE void add_block(CompareTotals& totals, const LaneSums& sums) {
  totals.sum_aa += sum_of_lanes(sums.aa);
  totals.sum_bb += sum_of_lanes(sums.bb);
  totals.sum_ab += sum_of_lanes(sums.ab);
  totals.sum_ee += sum_of_lanes(sums.ee);
}

// Calls pass.operator()<A, B>() with the element types of two arrays.
template <class A, class Pass>
HALVE_HOST_INLINE void with_second_type(FloatType b, const Pass& pass) {
  switch (b) {
    case FloatType::kFloat32:
      return pass.template operator()<A, Float32>();
    case FloatType::kFloat16:
      return pass.template operator()<A, Float16>();
    case FloatType::kBFloat16:
      return pass.template operator()<A, BFloat16>();
    case FloatType::kFloat64:
      return pass.template operator()<A, Float64>();
  }
}

template <class Pass>
HALVE_HOST_INLINE void with_types(FloatType a, FloatType b, const Pass& pass) {
  switch (a) {
    case FloatType::kFloat32:
      return with_second_type<Float32>(b, pass);
    case FloatType::kFloat16:
      return with_second_type<Float16>(b, pass);
    case FloatType::kBFloat16:
      return with_second_type<BFloat16>(b, pass);
    case FloatType::kFloat64:
      return with_second_type<Float64>(b, pass);
  }
}

}  // namespace
}  // namespace halve::kernels
