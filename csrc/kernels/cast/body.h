// The vector cast, written once over a trait V that names one instruction set's operations.
// README.md beside this file derives the thresholds and the bounds of the error test.
//
// Included once by each vector kernel: everything here has internal linkage, because it is
// compiled with that kernel's instruction set.
#pragma once

#include <float.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"
#include "thresholds.h"

namespace halve::kernels {
namespace {

// Lane counters have 32 bits: they are added up after this many elements.
constexpr uint64_t kSegmentElements = uint64_t{1} << 28;
constexpr uint64_t kLineBytes = 64;
constexpr int kVectors = 4;  // in a block, which takes one path or the other
// One page ahead, because the processor's own prefetching stops at the end of a page. Reaching
// past the array is harmless: a prefetch never faults.
constexpr uint64_t kPrefetchBytes = 4096;

// The thresholds, one copy a lane.
template <class V>
struct Limits {
  typename V::I low_value, high_value;
  typename V::I low, flushed, tiny, usual_from;  // in the order of zero_last
  typename V::I high, overflow_last, usual_to;

  HALVE_INLINE explicit Limits(const Thresholds& t)
      : low_value(V::set(t.low)),
        high_value(V::set(t.high)),
        low(V::set(zero_last(t.low))),
        flushed(V::set(zero_last(t.flushed_below))),
        tiny(V::set(zero_last(t.tiny_below))),
        usual_from(V::set(zero_last(t.usual_from))),
        high(V::set(t.high)),
        overflow_last(V::set(t.overflow_from - 1)),
        usual_to(V::set(t.usual_to)) {}
};

// The factor of the error test: finite, so that times zero it is zero.
template <class V>
HALVE_INLINE typename V::F error_factor(float relative) {
  return V::setf(relative < FLT_MAX ? relative : FLT_MAX);
}

// Lane counters and maxima of the careful path; the fast path keeps its own in registers.
template <class V>
struct Tally {
  typename V::I low, flushed, tiny, high, overflow, special, nan;
  typename V::I max_abs;  // as bits
  typename V::F max_error, max_relative;
  typename V::F factor;  // of the error test

  HALVE_INLINE explicit Tally(float relative) {
    low = flushed = tiny = high = overflow = special = nan = max_abs = V::set(0);
    max_error = V::setf(0.0F);
    max_relative = V::setf(relative);
    factor = error_factor<V>(relative);
  }
};

template <class V>
HALVE_INLINE uint64_t sum_lanes(typename V::I counts) {
  uint32_t lanes[V::kLanes];
  memcpy(lanes, &counts, sizeof lanes);
  uint64_t sum = 0;
  for (int i = 0; i < V::kLanes; ++i) sum += lanes[i];
  return sum;
}

template <class V>
HALVE_INLINE float max_lanes(typename V::F values) {
  float lanes[V::kLanes];
  memcpy(lanes, &values, sizeof lanes);
  float best = lanes[0];
  for (int i = 1; i < V::kLanes; ++i) best = lanes[i] > best ? lanes[i] : best;
  return best;
}

template <class V>
struct Float16Rounding {
  using Limits = Float16Limits;
  using Out = typename V::H;

  // The 16-bit results of x; `wide` is their value. NaN as halve/cast.h says.
  static HALVE_INLINE Out round(typename V::F x, typename V::F& wide) {
    const Out half = V::to_half(x);
    wide = V::from_half(half);
    return half;
  }
  static HALVE_INLINE Out round_special(typename V::F x, typename V::F& wide) {
    return round(x, wide);  // the instruction keeps a NaN's sign and payload and quiets it
  }
};

template <class V>
struct BFloat16Rounding {
  using Limits = BFloat16Limits;
  using Out = typename V::I;  // the result in the upper 16 bits of each lane

  static HALVE_INLINE Out round(typename V::F x, typename V::F& wide) {
    const Out bits = V::bits(x);
    const Out odd = V::and_(V::template shift_right<16>(bits), V::set(1));
    const Out sum = V::add(V::add(bits, V::set(0x7FFF)), odd);
    const Out rounded = V::and_(sum, V::set(static_cast<int32_t>(0xFFFF0000U)));
    wide = V::floats(rounded);
    return rounded;
  }
  static HALVE_INLINE Out round_special(typename V::F x, typename V::F& wide) {
    const Out rounded = round(x, wide);
    const Out bits = V::bits(x);
    const auto is_nan = V::less(V::set(kFloatInfinity), V::and_(bits, V::set(kMagnitudeMask)));
    return V::select(is_nan, V::or_(bits, V::set(0x00400000)), rounded);
  }
};

// Lanes where error / magnitude exceeds the largest quotient so far, or would but for rounding.
template <class V>
HALVE_INLINE typename V::M exceeds(typename V::F error, typename V::F magnitude, typename V::M tiny,
                                   typename V::F factor) {
  if (V::any(tiny)) [[unlikely]] {
    const auto scale = V::floats(V::select(tiny, V::set(kScaleBits), V::set(kOneBits)));
    error = V::mul(error, scale);
    magnitude = V::mul(magnitude, scale);
  }
  return V::greater_zero(V::minus_product(error, factor, magnitude));
}

// Divides only where the quotient can exceed the largest so far.
template <class V>
HALVE_INLINE void count_relative(typename V::F error, typename V::I magnitude,
                                 typename V::I ordered, Tally<V>& tally) {
  const auto tiny = V::less(ordered, V::set(zero_last(kTinyBits)));
  if (!V::any(exceeds<V>(error, V::floats(magnitude), tiny, tally.factor))) return;
  // Where there is no error, one stands in for a divisor that may be zero or not finite.
  const auto has_error = V::less(V::set(0), V::bits(error));
  const auto divisor = V::floats(V::select(has_error, magnitude, V::set(kOneBits)));
  const auto relative = V::div(error, divisor);
  const float best = max_lanes<V>(V::maxf(relative, tally.max_relative));
  tally.max_relative = V::setf(best);
  tally.factor = error_factor<V>(best);
}

// Everything that a value can be: bounds, specials, all counts, the true relative error.
template <class V, template <class> class R>
HALVE_INLINE typename R<V>::Out careful_lanes(typename V::F x, const Limits<V>& limits,
                                              Tally<V>& tally) {
  using I = typename V::I;
  using F = typename V::F;
  const I mask = V::set(kMagnitudeMask);
  const I pattern = V::bits(x);
  const I magnitude = V::and_(pattern, mask);
  const I ordered = V::add(magnitude, mask);
  const auto low = V::less(ordered, limits.low);
  const auto high = V::less(limits.high, magnitude);
  const auto overflow = V::less(limits.overflow_last, magnitude);
  const auto special = V::less(V::set(kLargestFinite), magnitude);

  I bounded = V::select(low, limits.low_value, magnitude);
  bounded = V::select(high, V::select(special, magnitude, limits.high_value), bounded);
  F wide;
  const auto out =
      R<V>::round_special(V::floats(V::or_(bounded, V::xor_(pattern, magnitude))), wide);

  tally.low = V::count(tally.low, low);
  tally.high = V::count(tally.high, high);
  tally.overflow = V::count(tally.overflow, overflow);
  tally.special = V::count(tally.special, special);
  tally.nan = V::count(tally.nan, V::less(V::set(kFloatInfinity), magnitude));
  tally.flushed = V::count(tally.flushed, V::less(ordered, limits.flushed));
  tally.tiny = V::count(tally.tiny, V::less(ordered, limits.tiny));
  tally.max_abs = V::max(tally.max_abs, V::select(special, V::set(0), magnitude));

  const I zero = V::set(0);
  const I distance = V::and_(V::bits(V::sub(wide, x)), mask);
  const F error = V::floats(V::select(overflow, zero, distance));
  tally.max_error = V::maxf(error, tally.max_error);
  count_relative<V>(error, magnitude, ordered, tally);
  return out;
}

template <class V, template <class> class R, bool kStream>
HALVE_NOINLINE void careful_block(const char* src, char* dst, int pairs, const Limits<V>& limits,
                                  Tally<V>& tally) {
  for (int i = 0; i < pairs; ++i) {
    const auto first = careful_lanes<V, R>(V::load(src), limits, tally);
    const auto second = careful_lanes<V, R>(V::load(src + 4 * V::kLanes), limits, tally);
    V::template store<kStream>(dst, V::join(first, second));
    src += 8 * V::kLanes;
    dst += 4 * V::kLanes;
  }
}

// Less than a block, by way of a buffer: the zeros that fill it up change no count.
template <class V, template <class> class R>
HALVE_NOINLINE void careful_rest(const char* src, char* dst, uint64_t n, const Limits<V>& limits,
                                 Tally<V>& tally) {
  if (n == 0) return;
  constexpr uint64_t kPair = 2 * V::kLanes;
  char in[4 * kVectors * V::kLanes] = {};
  char out[2 * kVectors * V::kLanes];
  memcpy(in, src, 4 * n);
  const int pairs = static_cast<int>((n + kPair - 1) / kPair);
  careful_block<V, R, false>(in, out, pairs, limits, tally);
  memcpy(dst, out, 2 * n);
}

// Counters and maxima of the fast path, in registers.
template <class V>
struct FastState {
  typename V::I flushed, tiny, max_abs;
  typename V::F max_error;
};

template <class V>
struct BlockCheck {
  typename V::I smallest, largest;  // smallest in the order of zero_last
  typename V::F excess;             // above 0: a relative error beyond the largest so far
};

template <class V, template <class> class R>
HALVE_INLINE typename R<V>::Out fast_lanes(typename V::F x, const Limits<V>& limits,
                                           typename V::F factor, FastState<V>& state,
                                           BlockCheck<V>& check) {
  const auto mask = V::set(kMagnitudeMask);
  const auto magnitude = V::and_(V::bits(x), mask);
  const auto ordered = V::add(magnitude, mask);
  typename V::F wide;
  const auto out = R<V>::round(x, wide);
  const auto error = V::floats(V::and_(V::bits(V::sub(wide, x)), mask));
  check.smallest = V::min(check.smallest, ordered);
  check.largest = V::max(check.largest, magnitude);
  check.excess = V::maxf(V::minus_product(error, factor, V::floats(magnitude)), check.excess);
  state.flushed = V::count(state.flushed, V::less(ordered, limits.flushed));
  state.tiny = V::count(state.tiny, V::less(ordered, limits.tiny));
  state.max_error = V::maxf(error, state.max_error);
  return out;
}

template <class V>
HALVE_INLINE bool is_usual(const BlockCheck<V>& check, const Limits<V>& limits) {
  const auto unusual =
      V::or_m(V::less(check.smallest, limits.usual_from), V::less(limits.usual_to, check.largest));
  return !V::any(V::or_m(unusual, V::greater_zero(check.excess)));
}

template <class V>
HALVE_INLINE void add_to(CastCounts* counts, const Tally<V>& tally, const FastState<V>& state) {
  const uint64_t special = sum_lanes<V>(tally.special);
  const uint64_t nan = sum_lanes<V>(tally.nan);
  const uint64_t flushed = sum_lanes<V>(V::add(tally.flushed, state.flushed));
  CastCounts part;
  part.raised = sum_lanes<V>(tally.low);
  part.lowered = sum_lanes<V>(tally.high) - special;
  part.flushed = flushed;
  part.subnormal = sum_lanes<V>(V::add(tally.tiny, state.tiny)) - flushed;
  part.overflow = sum_lanes<V>(tally.overflow) - special;
  part.nan = nan;
  part.inf = special - nan;
  part.max_abs = max_lanes<V>(V::floats(V::max(tally.max_abs, state.max_abs)));
  part.max_abs_error = max_lanes<V>(V::maxf(tally.max_error, state.max_error));
  part.max_rel_error = max_lanes<V>(tally.max_relative);
  merge(*counts, part);
}

template <class V>
HALVE_INLINE void prefetch_block(const char* src, uint64_t nbytes) {
  for (uint64_t i = 0; i < nbytes; i += kLineBytes) V::prefetch(src + kPrefetchBytes + i);
}

// At most kSegmentElements; dst is aligned to a cache line where kStream.
template <class V, template <class> class R, bool kStream>
HALVE_INLINE void cast_segment(const char* src, char* dst, uint64_t n, const Limits<V>& limits,
                               CastCounts* counts) {
  constexpr uint64_t kBlock = uint64_t{kVectors} * V::kLanes;
  Tally<V> tally(counts->max_rel_error);
  FastState<V> state{V::set(0), V::set(0), V::set(0), V::setf(0.0F)};
  typename V::F factor = error_factor<V>(counts->max_rel_error);
  uint64_t left = n;
  for (; left >= kBlock; left -= kBlock) {
    FastState<V> next = state;
    BlockCheck<V> check{V::set(kMagnitudeMask), V::set(0), V::setf(0.0F)};
    prefetch_block<V>(src, 4 * kBlock);
    typename R<V>::Out out[kVectors];
    for (int i = 0; i < kVectors; ++i) {
      out[i] = fast_lanes<V, R>(V::load(src + 4 * V::kLanes * i), limits, factor, next, check);
    }
    if (is_usual<V>(check, limits)) [[likely]] {
      for (int i = 0; i < kVectors; i += 2) {
        V::template store<kStream>(dst + 2 * V::kLanes * i, V::join(out[i], out[i + 1]));
      }
      next.max_abs = V::max(state.max_abs, check.largest);
      state = next;
    } else {
      careful_block<V, R, kStream>(src, dst, kVectors / 2, limits, tally);
      factor = tally.factor;
    }
    src += 4 * kBlock;
    dst += 2 * kBlock;
  }
  careful_rest<V, R>(src, dst, left, limits, tally);
  add_to<V>(counts, tally, state);
}

template <class V, template <class> class R, bool kStream>
HALVE_INLINE void cast_all(const char* src, char* dst, uint64_t n, const Limits<V>& limits,
                           CastCounts* counts) {
  while (n > 0) {
    const uint64_t part = n < kSegmentElements ? n : kSegmentElements;
    cast_segment<V, R, kStream>(src, dst, part, limits, counts);
    src += 4 * part;
    dst += 2 * part;
    n -= part;
  }
}

// Elements before dst reaches a cache line; dst is aligned to 2 bytes.
HALVE_INLINE uint64_t elements_to_line(const uint16_t* dst, uint64_t n) {
  const uint64_t past = reinterpret_cast<uintptr_t>(dst) % kLineBytes;
  const uint64_t head = (kLineBytes - past) % kLineBytes / 2;
  return head < n ? head : n;
}

template <class V, template <class> class R>
HALVE_INLINE void cast_array(const float* src, uint16_t* dst, uint64_t n, CastBounds bounds,
                             bool streaming, CastCounts* counts) {
  const Limits<V> limits(make_thresholds<typename R<V>::Limits>(bounds));
  const char* from = reinterpret_cast<const char*>(src);
  char* to = reinterpret_cast<char*>(dst);
  counts->elements += n;
  if (!streaming || reinterpret_cast<uintptr_t>(dst) % 2 != 0) {
    cast_all<V, R, false>(from, to, n, limits, counts);
    return;
  }
  const uint64_t head = elements_to_line(dst, n);
  cast_all<V, R, false>(from, to, head, limits, counts);
  cast_all<V, R, true>(from + 4 * head, to + 2 * head, n - head, limits, counts);
  V::finish_streaming();
}

}  // namespace
}  // namespace halve::kernels
