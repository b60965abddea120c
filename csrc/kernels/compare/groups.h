// What both vector paths of the comparison share: sums and limits a lane, and groups that are out
// of the ordinary. V is a trait of eight float64 lanes (lanes/README.md).
#pragma once

#include "../lanes/stage.h"
#include "definition.h"

namespace halve::kernels {
namespace {

template <class V>
struct VectorSums {
  typename V::D aa, bb, ab, ee;
};

// What a group is held against in float64, one copy a lane.
template <class V>
struct WideLimits {
  typename V::D rtol, atol, max_abs, max_rel;

  HALVE_INLINE WideLimits(CompareRule rule, const CompareTotals& totals)
      : rtol(V::set(rule.rtol)), atol(V::set(rule.atol)) {
    follow(totals);
  }
  HALVE_INLINE void follow(const CompareTotals& totals) {
    max_abs = V::set(totals.max_abs_error);
    max_rel = V::set(totals.max_rel_error);
  }
};

// Room for a group of any type.
struct GroupRoom {
  alignas(64) char bytes[sizeof(double) * kGroupElements];
};

// The group at `p`, of which n elements are there: zeros stand for the others, which as pairs count
// for nothing and change no sum.
template <class T>
HALVE_INLINE const char* whole_group(const char* p, uint64_t n, GroupRoom& room) {
  if (n >= kGroupElements) return p;
  memcpy(room.bytes, p, T::kBytes * n);
  memset(room.bytes + T::kBytes * n, 0, T::kBytes * (kGroupElements - n));
  return room.bytes;
}

template <class V>
HALVE_INLINE VectorSums<V> no_sums() {
  const auto zero = V::set(0.0);
  return {zero, zero, zero, zero};
}

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

// Whether a pair of eight may exceed the maxima so far; never false where one does.
template <class V, bool kExact>
HALVE_INLINE bool exceeds(typename V::D error, typename V::D size, const WideLimits<V>& limits) {
  const bool further = V::any_less(limits.max_abs, error);
  if constexpr (kExact) {
    return further | V::any_less(V::set(0.0), V::minus_product(error, limits.max_rel, size));
  }
  return further | V::any_less(limits.max_rel, V::div(error, size));
}

// The maxima of eight finite pairs, by the definition.
template <class A, class B>
HALVE_NOINLINE void define_maxima(const char* a, const char* b, uint64_t index,
                                  CompareTotals& totals) {
  for (uint64_t i = 0; i < kSumLanes; ++i) {
    const double x = A::widen(a + A::kBytes * i), y = B::widen(b + B::kBytes * i);
    raise_maxima(difference(x, y, false), y, index + i, totals);
  }
}

// Mismatches and maxima of a finite group; returns the mismatches.
template <class V, class A, class B>
HALVE_NOINLINE uint64_t settle_group(const char* a, const char* b, uint64_t index, CompareRule rule,
                                     CompareTotals& totals) {
  WideLimits<V> limits(rule, totals);
  int mismatches = 0;
  for (uint64_t i = 0; i < kGroupElements; i += kSumLanes) {
    const char *at_a = a + A::kBytes * i, *at_b = b + B::kBytes * i;
    const auto y = V::load(B{}, at_b);
    const auto error = V::abs(V::sub(V::load(A{}, at_a), y));
    const auto size = V::abs(y);
    mismatches += V::less(V::add(limits.atol, V::mul(limits.rtol, size)), error);
    if (!exceeds < V, A::kExact && B::kExact > (error, size, limits)) continue;
    define_maxima<A, B>(at_a, at_b, index + i, totals);
    limits.follow(totals);
  }
  return static_cast<uint64_t>(mismatches);
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

// The steps of both fast paths, for any values but pairs of infinities, where no maximum can be
// exceeded; returns the mismatches.
template <class V, class A, class B>
HALVE_INLINE int special_step(const char* a, const char* b, const WideLimits<V>& limits,
                              VectorSums<V>& sums, Specials<V>& found) {
  const auto x = V::load(A{}, a);
  const auto y = V::load(B{}, b);
  found.count(x, y);
  // What is NaN becomes the second operand.
  const auto error = V::min(V::abs(V::sub(x, y)), V::set(double_of(kInfinityBits)));
  const auto allowed = V::add(limits.atol, V::mul(limits.rtol, V::abs(y)));
  const auto unless_finite = V::max(V::add(allowed, V::sub(y, y)), V::set(-1.0));
  sums.aa = add_product<V, A::kExact>(sums.aa, x, x);
  sums.bb = add_product<V, B::kExact>(sums.bb, y, y);
  sums.ab = add_product < V, A::kExact && B::kExact > (sums.ab, x, y);
  sums.ee = V::add(sums.ee, V::mul(error, error));
  return V::less(unless_finite, error);
}

// A group that is not finite, where nothing can exceed the maxima so far: false where that is not
// so, or where two infinities meet, and then nothing is changed.
template <class V, class A, class B>
HALVE_INLINE bool take_special_group(const char* a, const char* b, CompareRule rule,
                                     VectorSums<V>& sums, CompareTotals& totals) {
  const double infinity = double_of(kInfinityBits);
  if (rule.equal_nan || totals.max_abs_error != infinity || totals.max_rel_error != infinity) {
    return false;
  }
  const WideLimits<V> limits(rule, totals);
  VectorSums<V> next = sums;
  Specials<V> found;
  int mismatches = 0;
  for (uint64_t i = 0; i < kGroupElements; i += kSumLanes) {
    mismatches += special_step<V, A, B>(a + A::kBytes * i, b + B::kBytes * i, limits, next, found);
  }
  if (V::any_less(V::set(double_of(kLargestBits)), found.both)) return false;
  found.add_to(totals);
  totals.mismatches += static_cast<uint64_t>(mismatches);
  sums = next;
  return true;
}

// A group that holds a NaN or an infinity (or squares beyond float64).
template <class V, class A, class B>
HALVE_NOINLINE void define_group(const char* a, const char* b, uint64_t index, CompareRule rule,
                                 VectorSums<V>& sums, CompareTotals& totals) {
  if (take_special_group<V, A, B>(a, b, rule, sums, totals)) return;
  LaneSums lanes = stored<V>(sums);
  define_pairs<A, B>(a, b, kGroupElements, index, rule, lanes, totals);
  const auto load = [](const double* p) {
    return V::load(Float64{}, reinterpret_cast<const char*>(p));
  };
  sums = {load(lanes.aa), load(lanes.bb), load(lanes.ab), load(lanes.ee)};
}

}  // namespace
}  // namespace halve::kernels
