// A block of both runs in one pass over registers. README.md beside this file says why the results
// are those of the separate passes.
#pragma once

#include <math.h>

#include "../compare/body.h"
#include "../stats/definition.h"
#include "definition.h"
#include "kernels.h"

namespace halve::kernels {
namespace {

constexpr uint64_t kFusedStep = 16;
// What rounding to 16 bits changes a value by, at most, relative to it or in all.
constexpr double kRoundingRelative = 0x1p-8, kRoundingAbsolute = 0x1p-24;
// Below a bound by this, a difference is within it whatever was rounded on the way.
constexpr double kWithin = 1.0 - 0x1p-40;

struct NotRounded {
  static HALVE_INLINE float one(float x) { return x; }
};
struct ToHalf {
  // Half a unit in the last place, relative to the value where that is normal, and of subnormals.
  static constexpr double kHalfUnit = 0x1p-11, kLeastHalfUnit = 0x1p-25, kNormal = 0x1p-14;
  static HALVE_INLINE float one(float x) { return define_rounded<RoundToFloat16>(x); }
};
struct ToBrain {
  static constexpr double kHalfUnit = 0x1p-8, kLeastHalfUnit = 0x1p-134, kNormal = 0x1p-126;
  static HALVE_INLINE float one(float x) { return define_rounded<RoundToBFloat16>(x); }
};

// The least float32 value that is not below `ge`, and the greatest that is not above `le`.
HALVE_INLINE float float_from(double ge) {
  const float nearest = static_cast<float>(ge > 0.0 ? ge : 0.0);
  return nearest < ge ? nextafterf(nearest, INFINITY) : nearest;
}
HALVE_INLINE float float_to(double le) {
  if (le < 0.0) return -1.0F;
  const float nearest = static_cast<float>(le);
  return nearest > le ? nextafterf(nearest, -INFINITY) : nearest;
}

template <class V>
struct CountLimits {
  typename V::F ge, le, min_normal, none;

  HALVE_INLINE explicit CountLimits(StatsThresholds thresholds)
      : ge(V::setf(float_from(thresholds.ge))),
        le(V::setf(float_to(thresholds.le))),
        min_normal(V::setf(static_cast<float>(Float32::kMinNormal))),
        none(V::setf(0.0F)) {}
};

template <class V>
struct Range {
  typename V::F minimum = V::setf(INFINITY), maximum = V::setf(-INFINITY);
  typename V::F smallest = V::setf(INFINITY);  // magnitude

  HALVE_INLINE void take(typename V::F x) {
    minimum = V::min(x, minimum);
    maximum = V::max(x, maximum);
    smallest = V::min(V::abs(x), smallest);
  }
  HALVE_INLINE void take(const Range& other) {
    minimum = V::min(other.minimum, minimum);
    maximum = V::max(other.maximum, maximum);
  }
  HALVE_INLINE bool has_counts(const CountLimits<V>& limits) const {
    const auto largest = V::max(V::abs(minimum), V::abs(maximum));
    return (V::less_equal(limits.ge, largest) | V::less_equal(smallest, limits.le) |
            V::less(smallest, limits.min_normal)) != 0;
  }
  HALVE_INLINE void add_to(StatsTotals& totals) const {
    float low[kFusedStep], high[kFusedStep];
    V::store(low, minimum);
    V::store(high, maximum);
    for (const double x : low) totals.minimum = x < totals.minimum ? x : totals.minimum;
    for (const double x : high) totals.maximum = x > totals.maximum ? x : totals.maximum;
  }
};

template <class V>
HALVE_NOINLINE void count_floats(const float* p, const CountLimits<V>& limits,
                                 StatsTotals& totals) {
  int ge = 0, le = 0, zero = 0, tiny = 0;  // tiny: zero or subnormal
  for (uint64_t i = 0; i < kGroupElements; i += kFusedStep) {
    const auto size = V::abs(V::load_float(Float32{}, reinterpret_cast<const char*>(p + i)));
    ge += V::less_equal(limits.ge, size);
    le += V::less_equal(size, limits.le);
    zero += V::less_equal(size, limits.none);
    tiny += V::less(size, limits.min_normal);
  }
  totals.ge += static_cast<uint64_t>(ge);
  totals.le += static_cast<uint64_t>(le);
  totals.zero += static_cast<uint64_t>(zero);
  totals.subnormal += static_cast<uint64_t>(tiny - zero);
}

// What a comparison is held against.
template <class V>
struct Bounds {
  typename V::D rtol, atol, max_abs, max_rel, near_rel;

  HALVE_INLINE Bounds(CompareRule rule, const CompareTotals& totals)
      : rtol(V::set(rule.rtol * kWithin)), atol(V::set(rule.atol * kWithin)) {
    follow(totals);
  }
  HALVE_INLINE void follow(const CompareTotals& totals) {
    max_abs = V::set(totals.max_abs_error);
    max_rel = V::set(totals.max_rel_error);
    near_rel = V::set(totals.max_rel_error * kWithin);
  }
};

template <class V>
HALVE_INLINE typename V::D load_wide(const float* p) {
  return V::load(Float32{}, reinterpret_cast<const char*>(p));
}

template <class V>
HALVE_INLINE double largest_lane(typename V::D x) {
  double lanes[kSumLanes];
  V::store(lanes, x);
  double most = lanes[0];
  for (const double lane : lanes) most = lane > most ? lane : most;
  return most;
}

// Whether a pair of a finite group exceeds the maxima so far.
template <class V>
HALVE_NOINLINE bool exceeds_maxima(const float* a, const float* b, const Bounds<V>& bounds) {
  auto error = V::set(0.0), relative = V::set(0.0);
  for (uint64_t i = 0; i < kGroupElements; i += kSumLanes) {
    const auto y = load_wide<V>(b + i);
    const auto distance = V::abs(V::sub(load_wide<V>(a + i), y));
    error = V::max(distance, error);
    relative = V::max(V::minus_product(distance, bounds.max_rel, V::abs(y)), relative);
  }
  return V::any_less(bounds.max_abs, error) || V::any_less(V::set(0.0), relative);
}

HALVE_INLINE double distance(const float* a, const float* b, uint64_t i) {
  return magnitude(static_cast<double>(a[i]) - static_cast<double>(b[i]));
}

// The first pair of a finite group whose relative error is `most`, which one has.
HALVE_INLINE uint64_t find_relative(const float* a, const float* b, double most) {
  uint64_t i = 0;
  for (; i + 1 < kGroupElements; ++i) {
    const double error = distance(a, b, i), size = magnitude(static_cast<double>(b[i]));
    if (!(error < most * kWithin * size) && relative(error, size) == most) break;
  }
  return i;
}

// The maxima of a finite group: as the definition, with vectors for the divisions.
template <class V>
HALVE_NOINLINE void raise_group_maxima(const float* a, const float* b, uint64_t index,
                                       CompareTotals& totals) {
  auto errors = V::set(0.0), ratios = V::set(0.0);
  for (uint64_t i = 0; i < kGroupElements; i += kSumLanes) {
    const auto y = load_wide<V>(b + i);
    const auto error = V::abs(V::sub(load_wide<V>(a + i), y));
    errors = V::max(error, errors);
    ratios = V::max(V::div(error, V::abs(y)), ratios);  // 0 / 0 is dropped
  }
  const double error = largest_lane<V>(errors), ratio = largest_lane<V>(ratios);
  if (error > totals.max_abs_error) {
    uint64_t i = 0;
    while (distance(a, b, i) != error) ++i;
    totals.max_abs_error = error;
    totals.max_abs_index = index + i;
  }
  if (ratio > totals.max_rel_error) {
    totals.max_rel_error = ratio;
    totals.max_rel_index = index + find_relative(a, b, ratio);
  }
}

// A block's sums: of squares of both values (x: exact, h: half), of their product and of their
// squared difference; then of the second comparison, of which one square is there already.
template <class V>
struct FusedSums {
  typename V::D xx = V::set(0.0), hh = xx, hx = xx, ee = xx, square = xx, product = xx, second = xx;
};

template <class V>
HALVE_NOINLINE uint64_t count_mismatches(const float* a, const float* b, CompareRule rule) {
  const auto rtol = V::set(rule.rtol), atol = V::set(rule.atol);
  int found = 0;
  for (uint64_t i = 0; i < kGroupElements; i += kSumLanes) {
    const auto x = V::load(Float32{}, reinterpret_cast<const char*>(a + i));
    const auto y = V::load(Float32{}, reinterpret_cast<const char*>(b + i));
    const auto allowed = V::add(atol, V::mul(rtol, V::abs(y)));
    found += V::less(allowed, V::abs(V::sub(x, y)));
  }
  return static_cast<uint64_t>(found);
}

template <class V, class R, TwinLocal kSecond>
class Fused {
  using D = typename V::D;
  using F = typename V::F;
  static constexpr bool kLocal = kSecond == TwinLocal::kRounded || kSecond == TwinLocal::kPlain;
  static constexpr bool kTwo = kSecond != TwinLocal::kNone;

 public:
  HALVE_INLINE Fused(const TwinBlock& block, const TwinRule& rule, const CompareTotals& first,
                     const CompareTotals& second)
      : block_(block),
        rule_(rule),
        counts_(rule.thresholds),
        total_(first),
        local_(second),
        first_(rule.compare, first),
        second_(rule.compare, second) {}

  // False where the block is not usual.
  HALVE_INLINE bool run() {
    uint64_t done = 0;
    for (; block_.n - done >= kGroupElements; done += kGroupElements) {
      if (!group(done)) [[unlikely]]
        return false;
    }
    exact_range_.add_to(exact_);
    half_range_.add_to(half_);
    rest(done);
    return fits(exact_) && fits(half_);
  }

  HALVE_INLINE void store(StatsTotals* exact, StatsTotals* half, CompareTotals* total,
                          CompareTotals* local) const {
    *exact = exact_;
    *half = half_;
    *total = total_;
    if constexpr (kTwo) *local = local_;
  }

 private:
  static HALVE_INLINE F load(const float* p) {
    return V::load_float(Float32{}, reinterpret_cast<const char*>(p));
  }
  static HALVE_INLINE const char* bytes(const float* p) { return reinterpret_cast<const char*>(p); }
  // What the second comparison compares, and with what.
  HALVE_INLINE const float* compared(uint64_t done) const {
    if constexpr (kSecond == TwinLocal::kRounded) return room_;
    if constexpr (kSecond == TwinLocal::kPlain) return block_.local + done;
    return block_.rounded + done;
  }
  HALVE_INLINE const float* reference(uint64_t done) const {
    return kLocal ? block_.exact + done : block_.half + done;
  }

  // Eight pairs; what the second comparison adds is `other`: the value before it was rounded, or
  // the local run's. Products of two float32 values are exact, so that fusing changes nothing; so
  // is the square of what rounding changed.
  HALVE_INLINE void lanes(uint64_t at, const float* other_at, FusedSums<V>& sums, D& error,
                          D& second_error) const {
    const D x = load_wide<V>(block_.exact + at), h = load_wide<V>(block_.rounded + at);
    const D distance = V::abs(V::sub(h, x));
    error = V::max(distance, error);
    sums.xx = V::plus_product(sums.xx, x, x);
    sums.hh = V::plus_product(sums.hh, h, h);
    sums.hx = V::plus_product(sums.hx, h, x);
    sums.ee = V::add(sums.ee, V::mul(distance, distance));
    if constexpr (!kTwo) return;
    const D other = load_wide<V>(other_at);
    sums.square = V::plus_product(sums.square, other, other);
    sums.product = V::plus_product(sums.product, other, kLocal ? x : h);
    if constexpr (kLocal) {
      const D apart = V::abs(V::sub(other, x));
      second_error = V::max(apart, second_error);
      sums.second = V::add(sums.second, V::mul(apart, apart));
    } else {
      const D change = V::sub(h, other);
      sums.second = V::plus_product(sums.second, change, change);
    }
  }

  HALVE_INLINE void step(uint64_t at, uint64_t in_group, FusedSums<V>& sums, D& error,
                         D& second_error, Range<V>& exact, Range<V>& half) {
    const F h = R::many(load(block_.half + at));
    V::store(block_.rounded + at, h);
    exact.take(load(block_.exact + at));
    half.take(h);
    const float* other = block_.half + at;
    if constexpr (kSecond == TwinLocal::kPlain) other = block_.local + at;
    if constexpr (kSecond == TwinLocal::kRounded) {
      V::store(room_ + in_group, R::many(load(block_.local + at)));
      other = room_ + in_group;
    }
    lanes(at, other, sums, error, second_error);
    lanes(at + kSumLanes, other + kSumLanes, sums, error, second_error);
  }

  HALVE_INLINE bool group(uint64_t done) {
    FusedSums<V> next = sums_;
    D error = V::set(0.0), second_error = V::set(0.0);
    Range<V> exact, half;
    HALVE_UNROLL
    for (uint64_t i = 0; i < kGroupElements; i += kFusedStep) {
      step(done + i, i, next, error, second_error, exact, half);
    }
    if (!V::all_finite(next.ee) || (kTwo && !V::all_finite(next.second))) return false;
    sums_ = next;
    exact_range_.take(exact);
    half_range_.take(half);
    if (exact.has_counts(counts_)) count_floats<V>(block_.exact + done, counts_, exact_);
    if (half.has_counts(counts_)) count_floats<V>(block_.rounded + done, counts_, half_);
    judge(block_.rounded + done, done, error, exact, first_, total_);
    if constexpr (kLocal) judge(compared(done), done, second_error, exact, second_, local_);
    if constexpr (kSecond == TwinLocal::kOwn) judge_rounding(done, half);
    return true;
  }

  // A comparison of a group with the float32 run. Each lane's largest difference and smallest value
  // bound what any pair of it may be; only where that does not do, every pair is looked at.
  HALVE_INLINE void judge(const float* a, uint64_t done, D error, const Range<V>& exact,
                          Bounds<V>& bounds, CompareTotals& totals) {
    const float* b = block_.exact + done;
    const D size = V::min(V::first_half(exact.smallest), V::second_half(exact.smallest));
    if (V::any_less(V::add(bounds.atol, V::mul(bounds.rtol, size)), error)) {
      totals.mismatches += count_mismatches<V>(a, b, rule_.compare);
    }
    if (V::any_less(V::mul(bounds.near_rel, size), error)) {
      if (!exceeds_maxima<V>(a, b, bounds)) return;
    } else if (!V::any_less(bounds.max_abs, error)) {
      return;
    }
    raise_group_maxima<V>(a, b, block_.index + done, totals);
    bounds.follow(totals);
  }

  // What rounding changed in a group: by at most half a unit, so that mostly nobody need look.
  HALVE_INLINE void judge_rounding(uint64_t done, const Range<V>& half) {
    const F largest = V::max(V::abs(half.minimum), V::abs(half.maximum));
    const bool within = local_.max_abs_error >= R::kLeastHalfUnit &&
                        local_.max_rel_error >= R::kHalfUnit &&
                        V::less(V::setf(reach_), largest) == 0 &&
                        V::less(half.smallest, V::setf(static_cast<float>(R::kNormal))) == 0;
    const float* a = block_.rounded + done;
    const float* b = block_.half + done;
    if (within || !exceeds_maxima<V>(a, b, second_)) return;
    raise_group_maxima<V>(a, b, block_.index + done, local_);
    second_.follow(local_);
    reach_ = reach();
  }

  // Values up to this are changed by no more than the largest change so far.
  HALVE_INLINE float reach() const {
    if constexpr (kSecond == TwinLocal::kOwn) {
      return float_to(local_.max_abs_error / R::kHalfUnit);
    } else {
      return 0.0F;
    }
  }

  // What is left of the last group, and the block's sums.
  HALVE_INLINE void rest(uint64_t done) {
    const uint64_t n = block_.n - done;
    for (uint64_t i = 0; i < n; ++i) {
      block_.rounded[done + i] = R::one(block_.half[done + i]);
      if constexpr (kSecond == TwinLocal::kRounded) room_[i] = R::one(block_.local[done + i]);
    }
    finish(block_.exact + done, n, sums_.xx, exact_);
    finish(block_.rounded + done, n, sums_.hh, half_);
    finish_pairs(block_.rounded + done, block_.exact + done, n, done,
                 {sums_.hh, sums_.xx, sums_.hx, sums_.ee}, total_);
    if constexpr (kTwo) {
      const D a = kLocal ? sums_.square : sums_.hh, b = kLocal ? sums_.xx : sums_.square;
      finish_pairs(compared(done), reference(done), n, done, {a, b, sums_.product, sums_.second},
                   local_);
    }
  }

  HALVE_INLINE void finish(const float* p, uint64_t n, D squares, StatsTotals& totals) const {
    SquareLanes lanes;
    V::store(lanes.sum, squares);
    define_elements<Float32>(bytes(p), n, rule_.thresholds, lanes, totals);
    add_block(totals, lanes);
    totals.elements = block_.n;
  }

  HALVE_INLINE void finish_pairs(const float* a, const float* b, uint64_t n, uint64_t done,
                                 const VectorSums<V>& sums, CompareTotals& totals) const {
    LaneSums lanes = stored<V>(sums);
    define_pairs<Float32, Float32>(bytes(a), bytes(b), n, block_.index + done, rule_.compare, lanes,
                                   totals);
    add_block(totals, lanes);
  }

  // Whether nothing is over the limit, which the caller counts.
  HALVE_INLINE bool fits(const StatsTotals& totals) const {
    return totals.inf == 0 && totals.maximum < rule_.limit && -totals.minimum < rule_.limit;
  }

  const TwinBlock& block_;
  const TwinRule& rule_;
  const CountLimits<V> counts_;
  StatsTotals exact_, half_;
  CompareTotals total_, local_;
  Bounds<V> first_, second_;
  FusedSums<V> sums_;
  Range<V> exact_range_, half_range_;
  float reach_ = reach();
  float room_[kGroupElements];
};

template <class V, class R, TwinLocal kSecond>
HALVE_NOINLINE bool fuse(const TwinBlock& block, const TwinRule& rule, StatsTotals* exact,
                         StatsTotals* half, CompareTotals* total, CompareTotals* local) {
  Fused<V, R, kSecond> work(block, rule, *total, *local);
  if (!work.run()) return false;
  work.store(exact, half, total, local);
  return true;
}

// Rounding is never a mismatch by these tolerances, so that nobody needs to look.
HALVE_INLINE bool tolerates_rounding(CompareRule rule) {
  return rule.rtol >= kRoundingRelative && rule.atol >= kRoundingAbsolute;
}

template <class V, class R>
HALVE_INLINE bool fuse_rounded(const TwinBlock& block, const TwinRule& rule, StatsTotals* exact,
                               StatsTotals* half, CompareTotals* total, CompareTotals* local) {
  switch (block.second) {
    case TwinLocal::kNone:
      return fuse<V, R, TwinLocal::kNone>(block, rule, exact, half, total, local);
    case TwinLocal::kOwn:
      return tolerates_rounding(rule.compare) &&
             fuse<V, R, TwinLocal::kOwn>(block, rule, exact, half, total, local);
    case TwinLocal::kRounded:
      return fuse<V, R, TwinLocal::kRounded>(block, rule, exact, half, total, local);
    case TwinLocal::kPlain:
      return false;
  }
  return false;
}

// R16 and RB are the instruction set's own forms of ToHalf and ToBrain, R32 of NotRounded.
template <class V, class R16, class RB, class R32>
HALVE_INLINE bool fuse_block(const TwinBlock& block, const TwinRule& rule, StatsTotals* exact,
                             StatsTotals* half, CompareTotals* total, CompareTotals* local) {
  switch (block.rounding) {
    case TwinRounding::kFloat16:
      return fuse_rounded<V, R16>(block, rule, exact, half, total, local);
    case TwinRounding::kBFloat16:
      return fuse_rounded<V, RB>(block, rule, exact, half, total, local);
    case TwinRounding::kNone:
      break;
  }
  if (block.second == TwinLocal::kNone) {
    return fuse<V, R32, TwinLocal::kNone>(block, rule, exact, half, total, local);
  }
  return block.second == TwinLocal::kPlain &&
         fuse<V, R32, TwinLocal::kPlain>(block, rule, exact, half, total, local);
}

}  // namespace
}  // namespace halve::kernels
