// The fast path of pairings with a float64: everything in float64.
#pragma once

#include "groups.h"

namespace halve::kernels {
namespace {

constexpr uint64_t kStrideElements = 32;  // whole cache lines of every type

// Above the maxima so far where a pair of the group is.
template <class V>
struct Excess {
  typename V::D error, relative;
};

template <class V, class A, class B>
HALVE_INLINE void wide_step(const char* a, const char* b, const Limits<V>& limits,
                            VectorSums<V>& sums, Excess<V>& excess, typename V::C& mismatches) {
  const auto x = V::load(A{}, a);
  const auto y = V::load(B{}, b);
  const auto error = V::abs(V::sub(x, y));
  const auto size = V::abs(y);
  const auto allowed = V::add(limits.atol, V::mul(limits.rtol, size));
  mismatches = V::count_less(mismatches, allowed, error);
  excess.error = V::max(error, excess.error);
  excess.relative = V::max(V::div(error, size), excess.relative);
  sums.aa = add_product<V, A::kExact>(sums.aa, x, x);
  sums.bb = add_product<V, B::kExact>(sums.bb, y, y);
  sums.ab = V::add(sums.ab, V::mul(x, y));
  sums.ee = V::add(sums.ee, V::mul(error, error));
}

// Each line once: a step of eight elements is a line of float64, and a part of one otherwise.
template <class V, class T>
HALVE_INLINE void prefetch_step(const char* p, uint64_t element) {
  if (T::kBytes * element % kLineBytes == 0) V::prefetch(p + kPrefetchBytes);
}

template <class V, class A, class B>
HALVE_INLINE void wide_stride(const char* a, const char* b, const Limits<V>& limits,
                              VectorSums<V>& sums, Excess<V>& excess, typename V::C& mismatches) {
  HALVE_UNROLL
  for (uint64_t i = 0; i < kStrideElements; i += kSumLanes) {
    prefetch_step<V, A>(a + A::kBytes * i, i);
    prefetch_step<V, B>(b + B::kBytes * i, i);
    wide_step<V, A, B>(a + A::kBytes * i, b + B::kBytes * i, limits, sums, excess, mismatches);
  }
}

// A block's whole groups; returns how many elements those are.
template <class V, class A, class B>
HALVE_INLINE uint64_t take_wide_groups(const char* a, const char* b, uint64_t n, uint64_t index,
                                       CompareRule rule, VectorSums<V>& sums,
                                       CompareTotals& totals) {
  const auto zero = V::set(0.0);
  Limits<V> limits(rule, totals);
  typename V::C mismatches = V::no_count();
  uint64_t done = 0;
  for (; n - done >= kGroupElements; done += kGroupElements) {
    const char* group_a = a + A::kBytes * done;
    const char* group_b = b + B::kBytes * done;
    VectorSums<V> next = sums;
    Excess<V> excess{zero, zero};
    typename V::C counted = mismatches;
    for (uint64_t i = 0; i < kGroupElements; i += kStrideElements) {
      wide_stride<V, A, B>(group_a + A::kBytes * i, group_b + B::kBytes * i, limits, next, excess,
                           counted);
    }
    if (!V::all_finite(next.ee)) [[unlikely]] {
      define_group<V, A, B>(group_a, group_b, index + done, rule, sums, totals);
      limits.follow(totals);
      continue;
    }
    sums = next;
    mismatches = counted;
    if (V::any_less(limits.max_abs, excess.error) |
        V::any_less(limits.max_rel, excess.relative)) [[unlikely]] {
      settle_group<V, A, B>(group_a, group_b, index + done, rule, totals);  // counted already
      limits.follow(totals);
    }
  }
  totals.mismatches += V::sum_of(mismatches);
  return done;
}

}  // namespace
}  // namespace halve::kernels
