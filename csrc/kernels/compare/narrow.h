// The fast path of pairings of at most 32 bits: sums in float64, and bounds in float32 that only
// a group with nothing to count keeps to. README.md beside this file says why they hold.
#pragma once

#include "close.h"

namespace halve::kernels {
namespace {

// Groups of a block that are looked at again, more than which the wide path takes what follows, or
// that are not close, more than which no other is held to be; and after how many blocks one shows
// whether that is still so.
constexpr uint64_t kOftenAgain = kBlockElements / kGroupElements / 4, kOftenFar = kOftenAgain / 2;
constexpr uint64_t kOtherBlocks = 15;

// What no pair of an ordinary group exceeds, one copy a lane.
template <class V>
struct NarrowBounds {
  typename V::F rtol, atol, max_rel;
  typename V::D max_square;  // of max_abs_error
  bool tolerance;            // whether what keeps to the maxima may be a mismatch
  bool relative;             // whether any relative difference may still be the largest
  CloseBounds<V> close;
  uint64_t far_blocks = 0;  // how many go without the fastest path next

  HALVE_INLINE NarrowBounds(CompareRule rule, const CompareTotals& totals)
      : rtol(below(rule.rtol)), atol(below(rule.atol)), rule_(rule) {
    follow(totals);
  }
  HALVE_INLINE void follow(const CompareTotals& totals) {
    max_rel = below(totals.max_rel_error);
    max_square = V::set(totals.max_abs_error * totals.max_abs_error);
    relative = totals.max_rel_error != double_of(kInfinityBits);
    tolerance = totals.max_rel_error > rule_.rtol * kSlack && totals.max_abs_error > rule_.atol;
    close.follow(totals, tolerance, rule_.rtol);
  }
  // After a block, of whose groups so many were not close.
  HALVE_INLINE void count_far(uint64_t groups) {
    if (far_blocks > 0) {
      --far_blocks;
    } else if (groups > kOftenFar) {
      far_blocks = kOtherBlocks;
    }
  }

 private:
  static HALVE_INLINE typename V::F below(double bound) {
    return V::setf(float_at_most(bound * kSlack));
  }

  CompareRule rule_;
};

// What a group's pairs reach.
template <class V>
struct NarrowReach {
  typename V::F beyond;  // has a sign where a bound of float32 is exceeded
  typename V::D square;  // the largest squared difference
};

// Eight pairs of float32 into the sums; returns their squared differences.
template <class V>
HALVE_INLINE typename V::D add_narrow(const char* a, const char* b, VectorSums<V>& sums) {
  const auto x = V::load(Float32{}, a);
  const auto y = V::load(Float32{}, b);
  const auto error = V::sub(x, y);
  const auto square = V::mul(error, error);
  sums.aa = V::plus_product(sums.aa, x, x);
  sums.bb = V::plus_product(sums.bb, y, y);
  sums.ab = V::plus_product(sums.ab, x, y);
  sums.ee = V::add(sums.ee, square);
  return square;
}

// Sixteen pairs of float32.
template <class V, bool kTolerance, bool kRelative>
HALVE_INLINE void narrow_step(const char* a, const char* b, const NarrowBounds<V>& bounds,
                              VectorSums<V>& sums, NarrowReach<V>& reach) {
  const auto y = V::load_float(Float32{}, b);
  const auto less = V::minus_abs(V::sub(V::load_float(Float32{}, a), y));
  const auto size = V::abs(y);
  if constexpr (kTolerance) {
    const auto left = V::plus_product(V::add(bounds.atol, less), bounds.rtol, size);
    reach.beyond = V::either(reach.beyond, left);
  }
  if constexpr (kRelative) {
    reach.beyond = V::either(reach.beyond, V::plus_product(less, bounds.max_rel, size));
  }
  const auto first = add_narrow<V>(a, b, sums);
  const auto second = add_narrow<V>(a + 32, b + 32, sums);
  reach.square = V::max(V::max(first, second), reach.square);
}

template <class V, bool kTolerance, bool kRelative>
HALVE_INLINE void narrow_stride(const char* a, const char* b, const NarrowBounds<V>& bounds,
                                VectorSums<V>& sums, NarrowReach<V>& reach) {
  narrow_step<V, kTolerance, kRelative>(a, b, bounds, sums, reach);
  narrow_step<V, kTolerance, kRelative>(a + 64, b + 64, bounds, sums, reach);
}

// Stages one stride ahead, so that its stores are done when it is loaded.
template <class V, class A, class B, bool kTolerance, bool kRelative>
HALVE_INLINE NarrowReach<V> narrow_group(const char* a, const char* b, Stage& stage_a,
                                         Stage& stage_b, const NarrowBounds<V>& bounds,
                                         VectorSums<V>& sums) {
  constexpr uint64_t kLast = kGroupElements - kStrideElements;
  const char *x = staged<A>(a, stage_a), *y = staged<B>(b, stage_b);
  NarrowReach<V> reach{V::setf(0.0F), V::set(0.0)};
  stage_stride<V, A>(a, 0, stage_a);
  stage_stride<V, B>(b, 0, stage_b);
  for (uint64_t i = 0; i < kLast; i += kStrideElements) {
    stage_stride<V, A>(a, i + kStrideElements, stage_a);
    stage_stride<V, B>(b, i + kStrideElements, stage_b);
    narrow_stride<V, kTolerance, kRelative>(x + 4 * i, y + 4 * i, bounds, sums, reach);
  }
  narrow_stride<V, kTolerance, kRelative>(x + 4 * kLast, y + 4 * kLast, bounds, sums, reach);
  return reach;
}

template <class V, class A, class B>
HALVE_INLINE NarrowReach<V> reach_of(const char* a, const char* b, Stage& stage_a, Stage& stage_b,
                                     const NarrowBounds<V>& bounds, VectorSums<V>& sums) {
  if (!bounds.relative) {
    return narrow_group<V, A, B, true, false>(a, b, stage_a, stage_b, bounds, sums);
  }
  if (!bounds.tolerance) {
    return narrow_group<V, A, B, false, true>(a, b, stage_a, stage_b, bounds, sums);
  }
  return narrow_group<V, A, B, true, true>(a, b, stage_a, stage_b, bounds, sums);
}

// A block; counts the groups that were looked at again.
template <class V, class A, class B>
HALVE_INLINE void take_narrow_groups(const char* a, const char* b, uint64_t n, uint64_t index,
                                     CompareRule rule, NarrowBounds<V>& bounds, VectorSums<V>& sums,
                                     CompareTotals& totals, uint64_t& again) {
  Stage stage_a, stage_b;
  GroupRoom room_a, room_b;
  uint64_t far = bounds.far_blocks > 0 ? kOftenFar + 1 : 0;
  for (uint64_t done = 0; done < n; done += kGroupElements) {
    const char* p = whole_group<A>(a + A::kBytes * done, n - done, room_a);
    const char* q = whole_group<B>(b + B::kBytes * done, n - done, room_b);
    if constexpr (A::kBytes == 2 && B::kBytes == 2) {
      if (bounds.close.hold && far <= kOftenFar) {
        if (take_close_group<V, A, B>(p, q, stage_a, stage_b, bounds.close, sums)) continue;
        ++far;
      }
    }
    const char *x = staged<A>(p, stage_a), *y = staged<B>(q, stage_b);
    VectorSums<V> next = sums;
    const auto reach = reach_of<V, A, B>(p, q, stage_a, stage_b, bounds, next);
    if (V::all_finite(next.ee)) [[likely]] {
      sums = next;
      const bool beyond = V::any_sign(reach.beyond);
      if (!(beyond | V::any_less(bounds.max_square, reach.square))) [[likely]]
        continue;
      totals.mismatches += settle_group<V, Float32, Float32>(x, y, index + done, rule, totals);
    } else {
      define_group<V, Float32, Float32>(x, y, index + done, rule, sums, totals);
    }
    ++again;
    bounds.follow(totals);
  }
  bounds.count_far(far);
}

}  // namespace
}  // namespace halve::kernels
