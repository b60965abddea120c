// The vector statistics, written once over a trait V of eight float64 lanes (lanes/README.md).
// README.md beside this file says why the results are those of the definition.
#pragma once

#include "definition.h"

namespace halve::kernels {
namespace {

constexpr uint64_t kGroupElements = 128;  // takes the fast path or is left to the definition
constexpr uint64_t kLineBytes = 64;
// One page ahead, because the processor's own prefetching stops at the end of a page. Reaching
// past the array is harmless: a prefetch never faults.
constexpr uint64_t kPrefetchBytes = 4096;

template <class V>
struct Limits {
  typename V::D ge, le, min_normal;
};

// Of the groups on the fast path.
template <class V>
struct State {
  typename V::D squares, minimum, maximum;
  typename V::C ge, le, zero, tiny;  // tiny: zero or subnormal
};

template <class V, class T>
HALVE_INLINE void fast_step(const char* p, const Limits<V>& limits, State<V>& state) {
  const auto x = V::load(T{}, p);
  const auto size = V::abs(x);
  state.minimum = V::min(x, state.minimum);
  state.maximum = V::max(x, state.maximum);
  state.ge = V::count_less_equal(state.ge, limits.ge, size);
  state.le = V::count_less_equal(state.le, size, limits.le);
  state.tiny = V::count_less(state.tiny, size, limits.min_normal);
  state.zero = V::count_less_equal(state.zero, size, V::set(0.0));
  // An exact product may be fused: rounding it first changes nothing.
  if constexpr (T::kExact) {
    state.squares = V::plus_product(state.squares, x, x);
  } else {
    state.squares = V::add(state.squares, V::mul(x, x));
  }
}

template <class V, class T>
HALVE_INLINE void fast_group(const char* p, const Limits<V>& limits, State<V>& state) {
  for (uint64_t i = 0; i < kGroupElements; i += kSumLanes) {
    if (i % (kLineBytes / T::kBytes) == 0) V::prefetch(p + T::kBytes * i + kPrefetchBytes);
    fast_step<V, T>(p + T::kBytes * i, limits, state);
  }
}

// Whole groups by vector; one with a NaN or an infinity (or squares beyond float64), and what is
// left of the last group, by the definition.
template <class V, class T>
HALVE_INLINE void measure_block(const char* p, uint64_t n, StatsThresholds thresholds,
                                const Limits<V>& limits, State<V>& state, StatsTotals& totals) {
  SquareLanes lanes;
  state.squares = V::set(0.0);
  uint64_t done = 0;
  for (; n - done >= kGroupElements; done += kGroupElements) {
    State<V> next = state;
    fast_group<V, T>(p + T::kBytes * done, limits, next);
    if (V::all_finite(next.squares)) [[likely]] {
      state = next;
      continue;
    }
    V::store(lanes.sum, state.squares);
    define_elements<T>(p + T::kBytes * done, kGroupElements, thresholds, lanes, totals);
    state.squares = V::load(Float64{}, reinterpret_cast<const char*>(lanes.sum));
  }
  V::store(lanes.sum, state.squares);
  define_elements<T>(p + T::kBytes * done, n - done, thresholds, lanes, totals);
  add_block(totals, lanes);
}

template <class V>
HALVE_INLINE uint64_t total(typename V::C counts) {
  uint64_t lanes[kSumLanes], sum = 0;
  V::store_counts(lanes, counts);
  for (const uint64_t lane : lanes) sum += lane;
  return sum;
}

template <class V>
HALVE_INLINE void add_state(StatsTotals& totals, const State<V>& state) {
  const uint64_t zero = total<V>(state.zero);
  totals.ge += total<V>(state.ge);
  totals.le += total<V>(state.le);
  totals.zero += zero;
  totals.subnormal += total<V>(state.tiny) - zero;
  double low[kSumLanes], high[kSumLanes];
  V::store(low, state.minimum);
  V::store(high, state.maximum);
  for (const double x : low) totals.minimum = x < totals.minimum ? x : totals.minimum;
  for (const double x : high) totals.maximum = x > totals.maximum ? x : totals.maximum;
}

template <class V, class T>
HALVE_NOINLINE void measure_chunk(const char* p, uint64_t n, StatsThresholds thresholds,
                                  StatsTotals& totals) {
  const Limits<V> limits{V::set(thresholds.ge), V::set(thresholds.le), V::set(T::kMinNormal)};
  const auto none = V::no_count();
  State<V> state{V::set(0.0), V::set(totals.minimum), V::set(totals.maximum), none, none, none,
                 none};
  for (uint64_t done = 0; done < n; done += kBlockElements) {
    const uint64_t part = n - done < kBlockElements ? n - done : kBlockElements;
    measure_block<V, T>(p + T::kBytes * done, part, thresholds, limits, state, totals);
  }
  add_state<V>(totals, state);
}

template <class V>
HALVE_INLINE void stats_array(FloatType type, const void* x, uint64_t n, StatsThresholds thresholds,
                              StatsTotals* totals) {
  StatsTotals result;
  result.elements = n;
  with_type(type, [&]<class T>() {
    measure_chunk<V, T>(static_cast<const char*>(x), n, thresholds, result);
  });
  *totals = result;
}

}  // namespace
}  // namespace halve::kernels
