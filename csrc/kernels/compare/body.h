// The vector comparison, written once over a trait V of eight float64 lanes (lanes/README.md).
// README.md beside this file says why its results are those of the definition.
#pragma once

#include "narrow.h"
#include "wide.h"

namespace halve::kernels {
namespace {

// What a chunk's groups are held against, and which path takes the next block of a pairing that has
// both: in the narrow one, a group with something to count is gone through twice.
template <class V>
struct Limits {
  WideLimits<V> wide;
  NarrowBounds<V> narrow;
  uint64_t wide_blocks = 0;  // how many go the wide way next

  HALVE_INLINE Limits(CompareRule rule, const CompareTotals& totals)
      : wide(rule, totals), narrow(rule, totals) {}
};

template <class V, class A, class B>
HALVE_INLINE void take_groups(const char* a, const char* b, uint64_t n, uint64_t index,
                              CompareRule rule, Limits<V>& limits, VectorSums<V>& sums,
                              typename V::C& mismatches, CompareTotals& totals) {
  if constexpr (A::kExact && B::kExact) {
    if (limits.wide_blocks == 0) {
      uint64_t again = 0;
      limits.narrow.follow(totals);
      take_narrow_groups<V, A, B>(a, b, n, index, rule, limits.narrow, sums, totals, again);
      if (again > kOftenAgain) limits.wide_blocks = kOtherBlocks;
      return;
    }
    --limits.wide_blocks;
  }
  limits.wide.follow(totals);
  take_wide_groups<V, A, B>(a, b, n, index, rule, limits.wide, sums, mismatches, totals);
}

template <class V, class A, class B>
HALVE_INLINE void compare_block(const char* a, const char* b, uint64_t n, uint64_t index,
                                CompareRule rule, Limits<V>& limits, typename V::C& mismatches,
                                CompareTotals& totals) {
  VectorSums<V> sums = no_sums<V>();
  take_groups<V, A, B>(a, b, n, index, rule, limits, sums, mismatches, totals);
  add_block(totals, stored<V>(sums));
}

template <class V, class A, class B>
HALVE_NOINLINE void compare_chunk(const char* a, const char* b, uint64_t n, CompareRule rule,
                                  CompareTotals& totals) {
  Limits<V> limits(rule, totals);
  typename V::C mismatches = V::no_count();
  for (uint64_t done = 0; done < n; done += kBlockElements) {
    const uint64_t part = n - done < kBlockElements ? n - done : kBlockElements;
    compare_block<V, A, B>(a + A::kBytes * done, b + B::kBytes * done, part, done, rule, limits,
                           mismatches, totals);
  }
  uint64_t lanes[kSumLanes];
  V::store_counts(lanes, mismatches);
  for (const uint64_t count : lanes) totals.mismatches += count;
}

template <class V>
HALVE_INLINE void compare_arrays(FloatType a_type, const void* a, FloatType b_type, const void* b,
                                 uint64_t n, CompareRule rule, CompareTotals* totals) {
  CompareTotals result = nothing_seen(n, *totals);
  with_types(a_type, b_type, [&]<class A, class B>() {
    compare_chunk<V, A, B>(static_cast<const char*>(a), static_cast<const char*>(b), n, rule,
                           result);
  });
  *totals = result;
}

}  // namespace
}  // namespace halve::kernels
