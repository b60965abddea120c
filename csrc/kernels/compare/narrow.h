// The fast path of pairings of at most 32 bits: sums in float64, and bounds in float32 that only
// a group with nothing to count keeps to. README.md beside this file says why they hold.
#pragma once

#include "../lanes/directed.h"
#include "groups.h"

namespace halve::kernels {
namespace {

// What a float32 bound is below the float64 one: more than all roundings of float32 together.
constexpr double kSlack = 1.0 - 0x1p-22;

// What no pair of an ordinary group exceeds, one copy a lane.
template <class V>
struct Bounds {
  typename V::F rtol, atol, max_rel;
  typename V::D max_square;  // of max_abs_error
  bool relative;             // whether any relative difference may still be the largest

  HALVE_INLINE Bounds(CompareRule rule, const CompareTotals& totals)
      : rtol(below(rule.rtol)), atol(below(rule.atol)) {
    follow(totals);
  }
  HALVE_INLINE void follow(const CompareTotals& totals) {
    max_rel = below(totals.max_rel_error);
    max_square = V::set(totals.max_abs_error * totals.max_abs_error);
    relative = totals.max_rel_error != double_of(kInfinityBits);
  }

 private:
  static HALVE_INLINE typename V::F below(double bound) {
    return V::setf(float_at_most(bound * kSlack));
  }
};

// What a group's pairs reach.
template <class V>
struct Reach {
  typename V::F beyond;  // has a sign where a bound of float32 is exceeded
  typename V::D square;  // the largest squared difference
};

// Eight pairs of float32 into the sums.
template <class V>
HALVE_INLINE void add_narrow(const char* a, const char* b, VectorSums<V>& sums, Reach<V>& reach) {
  const auto x = V::load(Float32{}, a);
  const auto y = V::load(Float32{}, b);
  const auto error = V::sub(x, y);
  const auto square = V::mul(error, error);
  sums.aa = V::plus_product(sums.aa, x, x);
  sums.bb = V::plus_product(sums.bb, y, y);
  sums.ab = V::plus_product(sums.ab, x, y);
  sums.ee = V::add(sums.ee, square);
  reach.square = V::max(square, reach.square);
}

// Sixteen pairs of float32.
template <class V, bool kRelative>
HALVE_INLINE void narrow_step(const char* a, const char* b, const Bounds<V>& bounds,
                              VectorSums<V>& sums, Reach<V>& reach) {
  const auto y = V::load_float(Float32{}, b);
  const auto less = V::minus_abs(V::sub(V::load_float(Float32{}, a), y));
  const auto size = V::abs(y);
  reach.beyond = V::either(
      reach.beyond, V::plus_product(V::add(bounds.atol, less), bounds.rtol, size));
  if constexpr (kRelative) {
    reach.beyond = V::either(reach.beyond, V::plus_product(less, bounds.max_rel, size));
  }
  add_narrow<V>(a, b, sums, reach);
  add_narrow<V>(a + 32, b + 32, sums, reach);
}

template <class V, class A, class B, bool kRelative>
HALVE_INLINE Reach<V> narrow_group(const char* a, const char* b, const Bounds<V>& bounds,
                                   VectorSums<V>& sums) {
  Reach<V> reach{V::setf(0.0F), V::set(0.0)};
  HALVE_UNROLL
  for (uint64_t i = 0; i < 4 * kGroupElements; i += 64) {
    // What was staged has been fetched already.
    if constexpr (A::kBytes == 4) V::prefetch(a + i + kPrefetchBytes);
    if constexpr (B::kBytes == 4) V::prefetch(b + i + kPrefetchBytes);
    narrow_step<V, kRelative>(a + i, b + i, bounds, sums, reach);
  }
  return reach;
}

// A block's whole groups; returns how many elements those are.
template <class V, class A, class B>
HALVE_INLINE uint64_t take_narrow_groups(const char* a, const char* b, uint64_t n, uint64_t index,
                                         CompareRule rule, VectorSums<V>& sums,
                                         CompareTotals& totals) {
  Bounds<V> bounds(rule, totals);
  Stage stage_a, stage_b;
  uint64_t done = 0;
  for (; n - done >= kGroupElements; done += kGroupElements) {
    const char* x = staged<V>(A{}, a + A::kBytes * done, stage_a);
    const char* y = staged<V>(B{}, b + B::kBytes * done, stage_b);
    VectorSums<V> next = sums;
    const Reach<V> reach = bounds.relative ? narrow_group<V, A, B, true>(x, y, bounds, next)
                                           : narrow_group<V, A, B, false>(x, y, bounds, next);
    if (!V::all_finite(next.ee)) [[unlikely]] {
      define_group<V, Float32, Float32>(x, y, index + done, rule, sums, totals);
      bounds.follow(totals);
      continue;
    }
    sums = next;
    if (V::any_sign(reach.beyond) | V::any_less(bounds.max_square, reach.square)) [[unlikely]] {
      totals.mismatches += settle_group<V, Float32, Float32>(x, y, index + done, rule, totals);
      bounds.follow(totals);
    }
  }
  return done;
}

}  // namespace
}  // namespace halve::kernels
