// The fastest path: pairs of 16-bit values where no difference so far has reached half its
// reference, in groups that exceed no maximum. README.md beside this file says why it needs no more
// than this.
#pragma once

#include "../lanes/directed.h"
#include "groups.h"

namespace halve::kernels {
namespace {

// What is taken off a bound that is lower than need be: more than all roundings of float32
// together.
constexpr double kSlack = 1.0 - 0x1p-22;

// What a close pair's |x - y| does not exceed: max_rel times |y|, or times max_size where |y| is
// more.
template <class V>
struct CloseBounds {
  typename V::F max_rel, max_size;
  bool hold;  // whether pairs within them are close

  HALVE_INLINE void follow(const CompareTotals& totals, bool may_mismatch, double rtol) {
    constexpr double kUp = 1.0 + 0x1p-51;  // more than the roundings of float64 on the way
    const float reached = float_at_least(totals.max_rel_error * kUp);
    const float allowed = float_at_most(rtol * kSlack);
    const float ratio = may_mismatch && allowed < reached ? allowed : reached;
    const double most = totals.max_abs_error * kUp;
    max_rel = V::setf(ratio);
    max_size = V::setf(most == 0.0 ? 0.0F : float_at_least(most / static_cast<double>(ratio)));
    hold = reached < 0.5F;
  }
};

// Eight close pairs of float32 into the sums: every square is exact, so that all are fused.
template <class V>
HALVE_INLINE void add_close(const char* a, const char* b, VectorSums<V>& sums) {
  const auto x = V::load(Float32{}, a);
  const auto y = V::load(Float32{}, b);
  const auto error = V::sub(x, y);
  sums.aa = V::plus_product(sums.aa, x, x);
  sums.bb = V::plus_product(sums.bb, y, y);
  sums.ab = V::plus_product(sums.ab, x, y);
  sums.ee = V::plus_product(sums.ee, error, error);
}

// Sixteen pairs of float32 into the sums; returns what has a sign where a pair is beyond a bound.
template <class V>
HALVE_INLINE typename V::F close_step(const char* a, const char* b, const CloseBounds<V>& bounds,
                                      VectorSums<V>& sums) {
  const auto y = V::load_float(Float32{}, b);
  const auto less = V::minus_abs(V::sub(V::load_float(Float32{}, a), y));
  add_close<V>(a, b, sums);
  add_close<V>(a + 32, b + 32, sums);
  return V::plus_product(less, bounds.max_rel, V::lesser_size(y, bounds.max_size));
}

template <class V>
HALVE_INLINE void close_stride(const char* a, const char* b, const CloseBounds<V>& bounds,
                               VectorSums<V>& sums, typename V::F& beyond) {
  const auto first = close_step<V>(a, b, bounds, sums);
  const auto second = close_step<V>(a + 64, b + 64, bounds, sums);
  beyond = V::either(beyond, first, second);
}

// Takes a group into the sums if all its pairs are close; false, and nothing is changed, if not.
template <class V, class A, class B>
HALVE_INLINE bool take_close_group(const char* a, const char* b, Stage& stage_a, Stage& stage_b,
                                   const CloseBounds<V>& bounds, VectorSums<V>& sums) {
  constexpr uint64_t kLast = kGroupElements - kStrideElements;
  const char *x = staged<A>(a, stage_a), *y = staged<B>(b, stage_b);
  VectorSums<V> next = sums;
  auto beyond = V::setf(0.0F);
  stage_stride<V, A>(a, 0, stage_a);
  stage_stride<V, B>(b, 0, stage_b);
  for (uint64_t i = 0; i < kLast; i += kStrideElements) {
    stage_stride<V, A>(a, i + kStrideElements, stage_a);
    stage_stride<V, B>(b, i + kStrideElements, stage_b);
    close_stride<V>(x + 4 * i, y + 4 * i, bounds, next, beyond);
  }
  close_stride<V>(x + 4 * kLast, y + 4 * kLast, bounds, next, beyond);
  if (!V::all_finite(next.ee) | V::any_sign(beyond)) return false;
  sums = next;
  return true;
}

}  // namespace
}  // namespace halve::kernels
