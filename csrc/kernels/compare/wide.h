// The path that takes every pair in float64: pairings with a float64, and those of narrow.h where
// most groups hold something to count.
#pragma once

#include "groups.h"

namespace halve::kernels {
namespace {

// What a group's pairs reach.
template <class V>
struct WideReach {
  typename V::D error, relative;  // above the maxima so far where a pair is
};

template <class V, class A, class B>
HALVE_INLINE void wide_step(const char* a, const char* b, const WideLimits<V>& limits,
                            VectorSums<V>& sums, WideReach<V>& reach, typename V::C& mismatches) {
  constexpr bool kExact = A::kExact && B::kExact;
  const auto x = V::load(A{}, a);
  const auto y = V::load(B{}, b);
  const auto error = V::abs(V::sub(x, y));
  const auto size = V::abs(y);
  const auto allowed = V::add(limits.atol, V::mul(limits.rtol, size));
  mismatches = V::count_less(mismatches, allowed, error);
  reach.error = V::max(error, reach.error);
  if constexpr (kExact) {
    const auto beyond = V::minus_product(error, limits.max_rel, size);
    reach.relative = V::max(beyond, reach.relative);
  } else {
    reach.relative = V::max(V::div(error, size), reach.relative);
  }
  sums.aa = add_product<V, A::kExact>(sums.aa, x, x);
  sums.bb = add_product<V, B::kExact>(sums.bb, y, y);
  sums.ab = add_product<V, kExact>(sums.ab, x, y);
  sums.ee = V::add(sums.ee, V::mul(error, error));
}

template <class V, class A, class B>
HALVE_INLINE void wide_stride(const char* a, const char* b, const WideLimits<V>& limits,
                              VectorSums<V>& sums, WideReach<V>& reach, typename V::C& mismatches) {
  HALVE_UNROLL
  for (uint64_t i = 0; i < kStrideElements; i += kSumLanes) {
    wide_step<V, A, B>(a + A::kBytes * i, b + B::kBytes * i, limits, sums, reach, mismatches);
  }
}

// A whole group, whose mismatches it adds, staged one stride ahead as narrow_group does.
template <class V, class A, class B>
HALVE_INLINE WideReach<V> wide_group(const char* a, const char* b, Stage& stage_a, Stage& stage_b,
                                     const WideLimits<V>& limits, VectorSums<V>& sums,
                                     typename V::C& mismatches) {
  using X = Staged<A>;
  using Y = Staged<B>;
  constexpr uint64_t kLast = kGroupElements - kStrideElements;
  const char *x = staged<A>(a, stage_a), *y = staged<B>(b, stage_b);
  WideReach<V> reach{V::set(0.0), V::set(0.0)};
  stage_stride<V, A>(a, 0, stage_a);
  stage_stride<V, B>(b, 0, stage_b);
  for (uint64_t i = 0; i < kLast; i += kStrideElements) {
    stage_stride<V, A>(a, i + kStrideElements, stage_a);
    stage_stride<V, B>(b, i + kStrideElements, stage_b);
    wide_stride<V, X, Y>(x + X::kBytes * i, y + Y::kBytes * i, limits, sums, reach, mismatches);
  }
  wide_stride<V, X, Y>(x + X::kBytes * kLast, y + Y::kBytes * kLast, limits, sums, reach,
                       mismatches);
  return reach;
}

template <class V, bool kExact>
HALVE_INLINE bool exceeds(const WideReach<V>& reach, const WideLimits<V>& limits) {
  const auto bound = kExact ? V::set(0.0) : limits.max_rel;
  return V::any_less(limits.max_abs, reach.error) | V::any_less(bound, reach.relative);
}

// A block.
template <class V, class A, class B>
HALVE_INLINE void take_wide_groups(const char* a, const char* b, uint64_t n, uint64_t index,
                                   CompareRule rule, WideLimits<V>& limits, VectorSums<V>& sums,
                                   typename V::C& mismatches, CompareTotals& totals) {
  using X = Staged<A>;
  using Y = Staged<B>;
  Stage stage_a, stage_b;
  GroupRoom room_a, room_b;
  for (uint64_t done = 0; done < n; done += kGroupElements) {
    const char* p = whole_group<A>(a + A::kBytes * done, n - done, room_a);
    const char* q = whole_group<B>(b + B::kBytes * done, n - done, room_b);
    const char *x = staged<A>(p, stage_a), *y = staged<B>(q, stage_b);
    VectorSums<V> next = sums;
    typename V::C counted = mismatches;
    const auto reach = wide_group<V, A, B>(p, q, stage_a, stage_b, limits, next, counted);
    if (!V::all_finite(next.ee)) [[unlikely]] {
      define_group<V, X, Y>(x, y, index + done, rule, sums, totals);
      limits.follow(totals);
      continue;
    }
    sums = next;
    mismatches = counted;
    if (exceeds < V, X::kExact && Y::kExact > (reach, limits)) [[unlikely]] {
      settle_group<V, X, Y>(x, y, index + done, rule, totals);  // mismatches are counted already
      limits.follow(totals);
    }
  }
}

}  // namespace
}  // namespace halve::kernels
