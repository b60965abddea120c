// The vector statistics, written once over a trait V of eight float64 lanes (lanes/README.md).
// README.md beside this file says why the results are those of the definition.
#pragma once

#include "../lanes/stage.h"
#include "definition.h"

namespace halve::kernels {
namespace {


// Sixteen elements as float32, which every type of at most 32 bits fits.
template <class V, class T>
struct Elements {
  using X = typename V::F;
  using Scalar = float;
  static constexpr uint64_t kStep = 16;

  static HALVE_INLINE X load(const char* p) { return V::load_float(T{}, p); }
  static HALVE_INLINE X set(double x) { return V::setf(static_cast<float>(x)); }
  static HALVE_INLINE typename V::D add_squares(typename V::D sums, X x) {
    const auto first = V::first_half(x), second = V::second_half(x);
    // Exact products, so that fusing changes nothing.
    return V::plus_product(V::plus_product(sums, first, first), second, second);
  }
  // The threshold among float32 values that as many magnitudes reach; 0 and less are all one.
  static HALVE_INLINE double from(double ge) {
    const float nearest = static_cast<float>(ge > 0.0 ? ge : 0.0);
    return nearest < ge ? beside(nearest, 1) : nearest;
  }
  // The last float32 value that is not above the threshold; no magnitude is below 0.
  static HALVE_INLINE double to(double le) {
    if (le < 0.0) return -1.0;
    const float nearest = static_cast<float>(le);
    return nearest > le ? beside(nearest, -1) : nearest;
  }

 private:
  static HALVE_INLINE float beside(float x, int32_t step) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits += step;
    memcpy(&x, &bits, sizeof x);
    return x;
  }
};

template <class V>
struct Elements<V, Float64> {
  using X = typename V::D;
  using Scalar = double;
  static constexpr uint64_t kStep = 8;

  static HALVE_INLINE X load(const char* p) { return V::load(Float64{}, p); }
  static HALVE_INLINE X set(double x) { return V::set(x); }
  static HALVE_INLINE X add_squares(X sums, X x) { return V::add(sums, V::mul(x, x)); }
  static HALVE_INLINE double from(double ge) { return ge; }
  static HALVE_INLINE double to(double le) { return le; }
};

template <class V, class T>
struct Limits {
  typename Elements<V, T>::X ge, le, min_normal;

  HALVE_INLINE explicit Limits(StatsThresholds thresholds)
      : ge(Elements<V, T>::set(Elements<V, T>::from(thresholds.ge))),
        le(Elements<V, T>::set(Elements<V, T>::to(thresholds.le))),
        min_normal(Elements<V, T>::set(T::kMinNormal)) {}
};

template <class V, class T>
struct Extremes {
  typename Elements<V, T>::X minimum, maximum;
};

// Adds a group's squares; returns its extremes, and its smallest magnitude a lane.
template <class V, class T>
HALVE_INLINE Extremes<V, T> fast_group(const char* p, typename V::D& squares,
                                       typename Elements<V, T>::X& smallest) {
  using E = Elements<V, T>;
  Extremes<V, T> found{E::set(double_of(kInfinityBits)), E::set(-double_of(kInfinityBits))};
  smallest = found.minimum;
  HALVE_UNROLL
  for (uint64_t i = 0; i < kGroupElements; i += E::kStep) {
    const char* at = p + T::kBytes * i;
    if (T::kBytes * i % kLineBytes == 0) V::prefetch(at + kPrefetchBytes);
    const auto x = E::load(at);
    found.minimum = V::min(x, found.minimum);
    found.maximum = V::max(x, found.maximum);
    smallest = V::min(V::abs(x), smallest);
    squares = E::add_squares(squares, x);
  }
  return found;
}

// Whether a finite group holds anything to count, which its extremes tell.
template <class V, class T>
HALVE_INLINE bool has_counts(const Extremes<V, T>& found, typename Elements<V, T>::X smallest,
                             const Limits<V, T>& limits) {
  const auto largest = V::max(V::abs(found.minimum), V::abs(found.maximum));
  return (V::less_equal(limits.ge, largest) | V::less_equal(smallest, limits.le) |
          V::less(smallest, limits.min_normal)) != 0;
}

// The counts of a finite group.
template <class V, class T>
HALVE_INLINE void count_group(const char* p, const Limits<V, T>& limits, StatsTotals& totals) {
  using E = Elements<V, T>;
  const auto none = E::set(0.0);
  int ge = 0, le = 0, zero = 0, tiny = 0;  // tiny: zero or subnormal
  for (uint64_t i = 0; i < kGroupElements; i += E::kStep) {
    const auto size = V::abs(E::load(p + T::kBytes * i));
    ge += V::less_equal(limits.ge, size);
    le += V::less_equal(size, limits.le);
    zero += V::less_equal(size, none);
    tiny += V::less(size, limits.min_normal);
  }
  totals.ge += static_cast<uint64_t>(ge);
  totals.le += static_cast<uint64_t>(le);
  totals.zero += static_cast<uint64_t>(zero);
  totals.subnormal += static_cast<uint64_t>(tiny - zero);
}

// A group with a NaN or an infinity (or squares beyond float64): each lane as the definition.
template <class V, class T>
HALVE_NOINLINE void special_group(const char* p, StatsThresholds thresholds, typename V::D& squares,
                                  StatsTotals& totals) {
  const auto above = V::set(double_of(kInfinityBits)), largest = V::set(double_of(kLargestBits));
  const auto none = V::set(0.0), min_normal = V::set(T::kMinNormal);
  const auto ge = V::set(thresholds.ge), le = V::set(thresholds.le);
  auto minimum = V::set(totals.minimum), maximum = V::set(totals.maximum);
  int reach = 0, within = 0, numbers = 0, finite = 0, zero = 0, tiny = 0;
  for (uint64_t i = 0; i < kGroupElements; i += kSumLanes) {
    const auto x = V::load(T{}, p + T::kBytes * i);
    const auto size = V::abs(x);
    reach += V::less_equal(ge, size);
    within += V::less_equal(size, le);
    numbers += V::less_equal(size, above);
    finite += V::less_equal(size, largest);
    zero += V::less_equal(size, none);
    tiny += V::less(size, min_normal);
    // NaN where x is not finite, which minimum and maximum drop.
    const auto only = V::add(x, V::sub(x, x));
    minimum = V::min(only, minimum);
    maximum = V::max(only, maximum);
    squares = V::add(squares, V::max(V::mul(only, only), none));
  }
  totals.ge += static_cast<uint64_t>(reach);
  totals.le += static_cast<uint64_t>(within);
  totals.nan += kGroupElements - static_cast<uint64_t>(numbers);
  totals.inf += static_cast<uint64_t>(numbers - finite);
  totals.zero += static_cast<uint64_t>(zero);
  totals.subnormal += static_cast<uint64_t>(tiny - zero);
  double low[kSumLanes], high[kSumLanes];
  V::store(low, minimum);
  V::store(high, maximum);
  for (const double x : low) totals.minimum = x < totals.minimum ? x : totals.minimum;
  for (const double x : high) totals.maximum = x > totals.maximum ? x : totals.maximum;
}

// Whole groups by vector, and what is left of the last one by the definition.
template <class V, class T>
HALVE_INLINE void measure_block(const char* p, uint64_t n, StatsThresholds thresholds,
                                const Limits<V, T>& limits, Extremes<V, T>& extremes,
                                StatsTotals& totals) {
  SquareLanes lanes;
  auto squares = V::set(0.0);
  uint64_t done = 0;
  for (; n - done >= kGroupElements; done += kGroupElements) {
    const char* group = p + T::kBytes * done;
    auto next = squares;
    typename Elements<V, T>::X smallest;
    const auto found = fast_group<V, T>(group, next, smallest);
    if (!V::all_finite(next)) [[unlikely]] {
      special_group<V, T>(group, thresholds, squares, totals);
      continue;
    }
    squares = next;
    extremes.minimum = V::min(found.minimum, extremes.minimum);
    extremes.maximum = V::max(found.maximum, extremes.maximum);
    if (has_counts<V, T>(found, smallest, limits)) count_group<V, T>(group, limits, totals);
  }
  V::store(lanes.sum, squares);
  define_elements<T>(p + T::kBytes * done, n - done, thresholds, lanes, totals);
  add_block(totals, lanes);
}

template <class V, class T>
HALVE_INLINE void add_extremes(StatsTotals& totals, const Extremes<V, T>& extremes) {
  typename Elements<V, T>::Scalar low[Elements<V, T>::kStep], high[Elements<V, T>::kStep];
  V::store(low, extremes.minimum);
  V::store(high, extremes.maximum);
  for (const double x : low) totals.minimum = x < totals.minimum ? x : totals.minimum;
  for (const double x : high) totals.maximum = x > totals.maximum ? x : totals.maximum;
}

template <class V, class T>
HALVE_NOINLINE void measure_chunk(const char* p, uint64_t n, StatsThresholds thresholds,
                                  StatsTotals& totals) {
  using E = Elements<V, T>;
  const Limits<V, T> limits(thresholds);
  Extremes<V, T> extremes{E::set(totals.minimum), E::set(totals.maximum)};
  for (uint64_t done = 0; done < n; done += kBlockElements) {
    const uint64_t part = n - done < kBlockElements ? n - done : kBlockElements;
    measure_block<V, T>(p + T::kBytes * done, part, thresholds, limits, extremes, totals);
  }
  add_extremes<V, T>(totals, extremes);
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
