// The vector comparison, written once over a trait V of eight float64 lanes (lanes/README.md).
// README.md beside this file says why its results are those of the definition.
#pragma once

#include "narrow.h"
#include "wide.h"

namespace halve::kernels {
namespace {

// Which path takes the next block of a pairing that has both: in the one, a group with something to
// count is gone through twice.
class Path {
 public:
  [[nodiscard]] HALVE_INLINE bool wide() const { return wide_blocks_ > 0; }
  HALVE_INLINE void end_wide() { --wide_blocks_; }
  HALVE_INLINE void end_narrow(uint64_t again) {
    if (again > kOftenAgain) wide_blocks_ = kWideBlocks;
  }

 private:
  static constexpr uint64_t kOftenAgain = kBlockElements / kGroupElements / 4;
  static constexpr uint64_t kWideBlocks = 15;  // then one shows whether to go on so

  uint64_t wide_blocks_ = 0;
};

// A block's whole groups by the path's choice; returns how many elements those are.
template <class V, class A, class B>
HALVE_INLINE uint64_t take_either_groups(const char* a, const char* b, uint64_t n, uint64_t index,
                                         CompareRule rule, VectorSums<V>& sums, Path& path,
                                         CompareTotals& totals) {
  if (path.wide()) {
    path.end_wide();
    return take_wide_groups<V, A, B>(a, b, n, index, rule, sums, totals);
  }
  uint64_t again = 0;
  const uint64_t done = take_narrow_groups<V, A, B>(a, b, n, index, rule, sums, totals, again);
  path.end_narrow(again);
  return done;
}

// Whole groups of a block, and what is left over of the last one by the definition.
template <class V, class A, class B>
HALVE_INLINE void compare_block(const char* a, const char* b, uint64_t n, uint64_t index,
                                CompareRule rule, Path& path, CompareTotals& totals) {
  VectorSums<V> sums = no_sums<V>();
  uint64_t done;
  if constexpr (A::kExact && B::kExact) {
    done = take_either_groups<V, A, B>(a, b, n, index, rule, sums, path, totals);
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
  Path path;
  for (uint64_t done = 0; done < n; done += kBlockElements) {
    const uint64_t part = n - done < kBlockElements ? n - done : kBlockElements;
    compare_block<V, A, B>(a + A::kBytes * done, b + B::kBytes * done, part, done, rule, path,
                           totals);
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
