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

// Stages sixteen pairs; returns what has a sign where one is beyond a bound.
template <class V, class A, class B>
HALVE_INLINE typename V::F stage_close(const char* a, const char* b, float* stage_a, float* stage_b,
                                       const CloseBounds<V>& bounds) {
  const auto x = V::load_float(A{}, a);
  const auto y = V::load_float(B{}, b);
  V::store(stage_a, x);
  V::store(stage_b, y);
  return V::plus_product(V::minus_abs(V::sub(x, y)), bounds.max_rel,
                         V::lesser_size(y, bounds.max_size));
}

// stage_stride of both types, at element i, with the bounds tested while the values are at hand.
template <class V, class A, class B>
HALVE_INLINE void stage_close_stride(const char* a, const char* b, uint64_t i, Stage& stage_a,
                                     Stage& stage_b, const CloseBounds<V>& bounds,
                                     typename V::F& beyond) {
  static_assert(A::kBytes == 2 && B::kBytes == 2 && 2 * kStrideElements == kLineBytes);
  const char *p = a + 2 * i, *q = b + 2 * i;
  V::prefetch(p + kPrefetchBytes);
  V::prefetch(q + kPrefetchBytes);
  float *x = stage_a.values + i, *y = stage_b.values + i;
  const auto first = stage_close<V, A, B>(p, q, x, y, bounds);
  const auto second = stage_close<V, A, B>(p + 32, q + 32, x + 16, y + 16, bounds);
  beyond = V::either(beyond, first, second);
}

template <class V>
HALVE_INLINE void add_close_stride(const char* a, const char* b, VectorSums<V>& sums) {
  for (int i = 0; i < 4; ++i) add_close<V>(a + 32 * i, b + 32 * i, sums);
}

// Takes a group into the sums if all its pairs are close; false, and nothing is changed, if not.
template <class V, class A, class B>
HALVE_INLINE bool take_close_group(const char* a, const char* b, Stage& stage_a, Stage& stage_b,
                                   const CloseBounds<V>& bounds, VectorSums<V>& sums) {
  constexpr uint64_t kLast = kGroupElements - kStrideElements;
  const char *x = staged<A>(a, stage_a), *y = staged<B>(b, stage_b);
  VectorSums<V> next = sums;
  auto beyond = V::setf(0.0F);
  stage_close_stride<V, A, B>(a, b, 0, stage_a, stage_b, bounds, beyond);
  for (uint64_t i = 0; i < kLast; i += kStrideElements) {
    stage_close_stride<V, A, B>(a, b, i + kStrideElements, stage_a, stage_b, bounds, beyond);
    add_close_stride<V>(x + 4 * i, y + 4 * i, next);
  }
  add_close_stride<V>(x + 4 * kLast, y + 4 * kLast, next);
  if (!V::all_finite(next.ee) | V::any_sign(beyond)) return false;
  sums = next;
  return true;
}

}  // namespace
}  // namespace halve::kernels
