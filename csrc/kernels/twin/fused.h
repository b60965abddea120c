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
// Below a tolerance by this, a difference is within it whatever was rounded on the way.
constexpr double kWithin = 1.0 - 0x1p-40;

struct NotRounded {
  static HALVE_INLINE float one(float x) { return x; }
};
struct ToHalf {
  static HALVE_INLINE float one(float x) { return define_rounded<RoundToFloat16>(x); }
};
struct ToBrain {
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

// What a comparison is held against, and where a group goes beyond it.
template <class V>
struct Bounds {
  typename V::D rtol, atol, max_abs, max_rel;

  HALVE_INLINE Bounds(CompareRule rule, const CompareTotals& totals)
      : rtol(V::set(rule.rtol * kWithin)), atol(V::set(rule.atol * kWithin)) {
    follow(totals);
  }
  HALVE_INLINE void follow(const CompareTotals& totals) {
    max_abs = V::set(totals.max_abs_error);
    max_rel = V::set(totals.max_rel_error);
  }
};

template <class V>
struct Beyond {
  typename V::D error = V::set(0.0), relative = V::set(0.0), tolerance = V::set(0.0);

  template <bool kTolerance>
  HALVE_INLINE void take(typename V::D distance, typename V::D size, const Bounds<V>& bounds) {
    error = V::max(distance, error);
    relative = V::max(V::minus_product(distance, bounds.max_rel, size), relative);
    if constexpr (kTolerance) {
      tolerance = V::max(V::minus_product(distance, bounds.rtol, size), tolerance);
    }
  }
  HALVE_INLINE bool exceeds(const Bounds<V>& bounds) const {
    return V::any_less(bounds.max_abs, error) || V::any_less(V::set(0.0), relative);
  }
};

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

  HALVE_INLINE void lanes(D x, D h, D other, FusedSums<V>& sums, Beyond<V>& beyond,
                          Beyond<V>& beyond_second) const {
    const D size = V::abs(x);
    const D error = V::abs(V::sub(h, x));
    beyond.template take<true>(error, size, first_);
    // Products of two float32 values are exact, so that fusing changes nothing.
    sums.xx = V::plus_product(sums.xx, x, x);
    sums.hh = V::plus_product(sums.hh, h, h);
    sums.hx = V::plus_product(sums.hx, h, x);
    sums.ee = V::add(sums.ee, V::mul(error, error));
    if constexpr (kTwo) {
      const D distance = V::abs(V::sub(other, kLocal ? x : h));
      sums.square = V::plus_product(sums.square, other, other);
      sums.product = V::plus_product(sums.product, other, kLocal ? x : h);
      sums.second = V::add(sums.second, V::mul(distance, distance));
      beyond_second.template take<kLocal>(distance, kLocal ? size : V::abs(other), second_);
    }
  }

  HALVE_INLINE void step(uint64_t at, uint64_t in_group, FusedSums<V>& sums, Beyond<V>& beyond,
                         Beyond<V>& beyond_second, Range<V>& exact, Range<V>& half) {
    const F x = load(block_.exact + at);
    const F raw = load(block_.half + at);
    const F h = R::many(raw);
    V::store(block_.rounded + at, h);
    exact.take(x);
    half.take(h);
    F other = raw;
    if constexpr (kSecond == TwinLocal::kPlain) other = load(block_.local + at);
    if constexpr (kSecond == TwinLocal::kRounded) {
      other = R::many(load(block_.local + at));
      V::store(room_ + in_group, other);
    }
    lanes(V::first_half(x), V::first_half(h), V::first_half(other), sums, beyond, beyond_second);
    lanes(V::second_half(x), V::second_half(h), V::second_half(other), sums, beyond, beyond_second);
  }

  HALVE_INLINE bool group(uint64_t done) {
    FusedSums<V> next = sums_;
    Beyond<V> beyond, beyond_second;
    Range<V> exact, half;
    HALVE_UNROLL
    for (uint64_t i = 0; i < kGroupElements; i += kFusedStep) {
      step(done + i, i, next, beyond, beyond_second, exact, half);
    }
    if (!V::all_finite(next.ee) || (kTwo && !V::all_finite(next.second))) return false;
    sums_ = next;
    exact_range_.take(exact);
    half_range_.take(half);
    if (exact.has_counts(counts_)) count_floats<V>(block_.exact + done, counts_, exact_);
    if (half.has_counts(counts_)) count_floats<V>(block_.rounded + done, counts_, half_);
    judge<true>(block_.rounded + done, block_.exact + done, done, beyond, first_, total_);
    if constexpr (kTwo) {
      judge<kLocal>(compared(done), reference(done), done, beyond_second, second_, local_);
    }
    return true;
  }

  template <bool kTolerance>
  HALVE_INLINE void judge(const float* a, const float* b, uint64_t done, const Beyond<V>& beyond,
                          Bounds<V>& bounds, CompareTotals& totals) {
    if (kTolerance && V::any_less(bounds.atol, beyond.tolerance)) {
      totals.mismatches += count_mismatches<V>(a, b, rule_.compare);
    }
    if (beyond.exceeds(bounds)) [[unlikely]] {
      define_maxima<Float32, Float32>(bytes(a), bytes(b), block_.index + done, totals);
      bounds.follow(totals);
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
