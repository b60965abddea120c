// The vector comparison, written once over a trait V of eight float64 lanes (lanes/README.md).
// README.md beside this file says why its results are those of the definition.
#pragma once

#include "narrow.h"
#include "wide.h"

namespace halve::kernels {
namespace {

// Whole groups of a block, and what is left over of the last one by the definition.
template <class V, class A, class B>
HALVE_INLINE void compare_block(const char* a, const char* b, uint64_t n, uint64_t index,
                                CompareRule rule, CompareTotals& totals) {
  VectorSums<V> sums = no_sums<V>();
  uint64_t done;
  if constexpr (A::kExact && B::kExact) {
    done = take_narrow_groups<V, A, B>(a, b, n, index, rule, sums, totals);
  } else {
    done = take_wide_groups<V, A, B>(a, b, n, index, rule, sums, totals);
  }
  LaneSums lanes = stored<V>(sums);
  define_pairs<A, B>(a + A::kBytes * done, b + B::kBytes * done, n - done, index + done, rule,
                     lanes, totals);
  add_block(totals, lanes);
}

template <class V, class A, class B>
HALVE_NOINLINE void compare_chunk(const char* a, const char* b, uint64_t n, CompareRule rule,
                                  CompareTotals& totals) {
  for (uint64_t done = 0; done < n; done += kBlockElements) {
    const uint64_t part = n - done < kBlockElements ? n - done : kBlockElements;
    compare_block<V, A, B>(a + A::kBytes * done, b + B::kBytes * done, part, done, rule, totals);
  }
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
