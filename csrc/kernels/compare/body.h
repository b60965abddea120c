// The vector comparison, written once over a trait V of eight float64 lanes (lanes/README.md).
// README.md beside this file says why its results are those of the definition.
#pragma once

#include "definition.h"

namespace halve::kernels {
namespace {

constexpr uint64_t kGroupElements = 128;  // takes the fast path or is left to the definition
constexpr uint64_t kStrideElements = 32;  // whole cache lines of every type
constexpr uint64_t kLineBytes = 64;
// One page ahead, because the processor's own prefetching stops at the end of a page. Reaching
// past the array is harmless: a prefetch never faults.
constexpr uint64_t kPrefetchBytes = 4096;

template <class V>
struct VectorSums {
  typename V::D aa, bb, ab, ee;
};

// What a group is held against, one copy a lane.
template <class V>
struct Limits {
  typename V::D rtol, atol, max_abs, max_rel;

  HALVE_INLINE Limits(CompareRule rule, const CompareTotals& totals)
      : rtol(V::set(rule.rtol)), atol(V::set(rule.atol)) {
    follow(totals);
  }
  HALVE_INLINE void follow(const CompareTotals& totals) {
    max_abs = V::set(totals.max_abs_error);
    max_rel = V::set(totals.max_rel_error);
  }
};

// Above the maxima so far where a pair of the group is.
template <class V>
struct Excess {
  typename V::D error, relative;
};

template <class V>
HALVE_INLINE LaneSums stored(const VectorSums<V>& sums) {
  LaneSums lanes;
  V::store(lanes.aa, sums.aa);
  V::store(lanes.bb, sums.bb);
  V::store(lanes.ab, sums.ab);
  V::store(lanes.ee, sums.ee);
  return lanes;
}

template <class V, bool kExact>
HALVE_INLINE typename V::D add_product(typename V::D sum, typename V::D x, typename V::D y) {
  // An exact product may be fused: rounding it first changes nothing.
  if constexpr (kExact) return V::plus_product(sum, x, y);
  return V::add(sum, V::mul(x, y));
}

template <class V, class A, class B>
HALVE_INLINE void fast_step(const char* a, const char* b, const Limits<V>& limits,
                            VectorSums<V>& sums, Excess<V>& excess, typename V::C& mismatches) {
  constexpr bool kExact = A::kExact && B::kExact;
  const auto x = V::load(A{}, a);
  const auto y = V::load(B{}, b);
  const auto error = V::abs(V::sub(x, y));
  const auto size = V::abs(y);
  const auto allowed = V::add(limits.atol, V::mul(limits.rtol, size));
  mismatches = V::count_less(mismatches, allowed, error);
  excess.error = V::max(error, excess.error);
  if constexpr (kExact) {
    const auto beyond = V::minus_product(error, limits.max_rel, size);
    excess.relative = V::max(beyond, excess.relative);
  } else {
    excess.relative = V::max(V::div(error, size), excess.relative);
  }
  sums.aa = add_product<V, A::kExact>(sums.aa, x, x);
  sums.bb = add_product<V, B::kExact>(sums.bb, y, y);
  sums.ab = add_product<V, kExact>(sums.ab, x, y);
  sums.ee = V::add(sums.ee, V::mul(error, error));
}

template <class V, class A, class B>
HALVE_INLINE bool exceeds(const Excess<V>& excess, const Limits<V>& limits) {
  constexpr bool kExact = A::kExact && B::kExact;
  const auto bound = kExact ? V::set(0.0) : limits.max_rel;
  return V::any_less(limits.max_abs, excess.error) || V::any_less(bound, excess.relative);
}

// The maxima of a finite group, by the definition.
template <class A, class B>
HALVE_NOINLINE void define_maxima(const char* a, const char* b, uint64_t index,
                                  CompareTotals& totals) {
  for (uint64_t i = 0; i < kGroupElements; ++i) {
    const double x = A::widen(a + A::kBytes * i), y = B::widen(b + B::kBytes * i);
    raise_maxima(difference(x, y, false), y, index + i, totals);
  }
}

// Counts of a group's values that are not finite, and what tells whether to take them.
template <class V>
struct Specials {
  int a_numbers = 0, b_numbers = 0, a_finite = 0, b_finite = 0;
  typename V::D both = V::set(0.0);  // infinite where both values of a pair are

  HALVE_INLINE void count(typename V::D x, typename V::D y) {
    const auto largest = V::set(double_of(kLargestBits)), above = V::set(double_of(kInfinityBits));
    const auto a = V::abs(x), b = V::abs(y);
    a_numbers += V::less_equal(a, above);
    b_numbers += V::less_equal(b, above);
    a_finite += V::less_equal(a, largest);
    b_finite += V::less_equal(b, largest);
    both = V::max(V::min(a, b), both);
  }
  HALVE_INLINE void add_to(CompareTotals& totals) const {
    constexpr int kElements = kGroupElements;
    totals.a_nan += static_cast<uint64_t>(kElements - a_numbers);
    totals.b_nan += static_cast<uint64_t>(kElements - b_numbers);
    totals.a_inf += static_cast<uint64_t>(a_numbers - a_finite);
    totals.b_inf += static_cast<uint64_t>(b_numbers - b_finite);
  }
};

// As fast_step, for any values but pairs of infinities, where no maximum can be exceeded.
template <class V, class A, class B>
HALVE_INLINE void special_step(const char* a, const char* b, const Limits<V>& limits,
                               VectorSums<V>& sums, Specials<V>& found, typename V::C& mismatches) {
  const auto x = V::load(A{}, a);
  const auto y = V::load(B{}, b);
  found.count(x, y);
  // What is NaN becomes the second operand.
  const auto error = V::min(V::abs(V::sub(x, y)), V::set(double_of(kInfinityBits)));
  const auto allowed = V::add(limits.atol, V::mul(limits.rtol, V::abs(y)));
  const auto unless_finite = V::max(V::add(allowed, V::sub(y, y)), V::set(-1.0));
  mismatches = V::count_less(mismatches, unless_finite, error);
  sums.aa = add_product<V, A::kExact>(sums.aa, x, x);
  sums.bb = add_product<V, B::kExact>(sums.bb, y, y);
  sums.ab = add_product < V, A::kExact && B::kExact > (sums.ab, x, y);
  sums.ee = V::add(sums.ee, V::mul(error, error));
}

// A group that is not finite, where nothing can exceed the maxima so far: false where that is not
// so, or where two infinities meet, and then nothing is changed.
template <class V, class A, class B>
HALVE_NOINLINE bool take_special_group(const char* a, const char* b, CompareRule rule,
                                       const Limits<V>& limits, VectorSums<V>& sums,
                                       typename V::C& mismatches, CompareTotals& totals) {
  const double infinity = double_of(kInfinityBits);
  if (rule.equal_nan || totals.max_abs_error != infinity || totals.max_rel_error != infinity) {
    return false;
  }
  VectorSums<V> next = sums;
  typename V::C counted = mismatches;
  Specials<V> found;
  for (uint64_t i = 0; i < kGroupElements; i += kSumLanes) {
    special_step<V, A, B>(a + A::kBytes * i, b + B::kBytes * i, limits, next, found, counted);
  }
  if (V::any_less(V::set(double_of(kLargestBits)), found.both)) return false;
  found.add_to(totals);
  sums = next;
  mismatches = counted;
  return true;
}

// A group that holds a NaN or an infinity (or squares beyond float64), by the definition.
template <class V, class A, class B>
HALVE_NOINLINE void define_group(const char* a, const char* b, uint64_t index, CompareRule rule,
                                 VectorSums<V>& sums, CompareTotals& totals) {
  LaneSums lanes = stored<V>(sums);
  define_pairs<A, B>(a, b, kGroupElements, index, rule, lanes, totals);
  const auto load = [](const double* p) {
    return V::load(Float64{}, reinterpret_cast<const char*>(p));
  };
  sums = {load(lanes.aa), load(lanes.bb), load(lanes.ab), load(lanes.ee)};
}

// Each line once: a step of eight elements is a line of float64, and a part of one otherwise.
template <class V, class T>
HALVE_INLINE void prefetch_step(const char* p, uint64_t element) {
  if (T::kBytes * element % kLineBytes == 0) V::prefetch(p + kPrefetchBytes);
}

template <class V, class A, class B>
HALVE_INLINE void fast_stride(const char* a, const char* b, const Limits<V>& limits,
                              VectorSums<V>& sums, Excess<V>& excess, typename V::C& mismatches) {
  HALVE_UNROLL
  for (uint64_t i = 0; i < kStrideElements; i += kSumLanes) {
    prefetch_step<V, A>(a + A::kBytes * i, i);
    prefetch_step<V, B>(b + B::kBytes * i, i);
    fast_step<V, A, B>(a + A::kBytes * i, b + B::kBytes * i, limits, sums, excess, mismatches);
  }
}

// Whole groups of a block, and what is left over of the last one by the definition.
template <class V, class A, class B>
HALVE_INLINE void compare_block(const char* a, const char* b, uint64_t n, uint64_t index,
                                CompareRule rule, Limits<V>& limits, typename V::C& mismatches,
                                CompareTotals& totals) {
  const auto zero = V::set(0.0);
  VectorSums<V> sums{zero, zero, zero, zero};
  uint64_t done = 0;
  for (; n - done >= kGroupElements; done += kGroupElements) {
    const char* group_a = a + A::kBytes * done;
    const char* group_b = b + B::kBytes * done;
    VectorSums<V> next = sums;
    Excess<V> excess{zero, zero};
    typename V::C counted = mismatches;
    for (uint64_t i = 0; i < kGroupElements; i += kStrideElements) {
      fast_stride<V, A, B>(group_a + A::kBytes * i, group_b + B::kBytes * i, limits, next, excess,
                           counted);
    }
    if (!V::all_finite(next.ee)) [[unlikely]] {
      if (take_special_group<V, A, B>(group_a, group_b, rule, limits, sums, mismatches, totals)) {
        continue;
      }
      define_group<V, A, B>(group_a, group_b, index + done, rule, sums, totals);
      limits.follow(totals);
      continue;
    }
    sums = next;
    mismatches = counted;
    if (exceeds<V, A, B>(excess, limits)) [[unlikely]] {
      define_maxima<A, B>(group_a, group_b, index + done, totals);
      limits.follow(totals);
    }
  }
  LaneSums lanes = stored<V>(sums);
  define_pairs<A, B>(a + A::kBytes * done, b + B::kBytes * done, n - done, index + done, rule,
                     lanes, totals);
  limits.follow(totals);
  add_block(totals, lanes);
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
  CompareTotals result;
  result.elements = n;
  with_types(a_type, b_type, [&]<class A, class B>() {
    compare_chunk<V, A, B>(static_cast<const char*>(a), static_cast<const char*>(b), n, rule,
                           result);
  });
  *totals = result;
}

}  // namespace
}  // namespace halve::kernels
