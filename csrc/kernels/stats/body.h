// The vector statistics, written once over a trait V of eight float64 lanes (lanes/README.md).
// README.md beside this file says why the results are those of the definition.
#pragma once

#include "../lanes/directed.h"
#include "../lanes/stage.h"
#include "definition.h"

namespace halve::kernels {
namespace {

// Sixteen staged elements of at most 32 bits, as float32.
template <class V, class T>
struct Elements {
  using X = typename V::F;
  using Scalar = float;
  static constexpr uint64_t kStep = 16;

  static HALVE_INLINE X load(const char* p) { return V::load_float(Float32{}, p); }
  static HALVE_INLINE X set(double x) { return V::setf(static_cast<float>(x)); }
  // Exact products, so that fusing changes nothing.
  static HALVE_INLINE typename V::D add_squares(typename V::D sums, X /*x*/, const char* p) {
    const auto first = V::load(Float32{}, p), second = V::load(Float32{}, p + 32);
    return V::plus_product(V::plus_product(sums, first, first), second, second);
  }
  // The threshold among float32 values that as many magnitudes reach; 0 and less are all one.
  static HALVE_INLINE double from(double ge) { return float_at_least(ge > 0.0 ? ge : 0.0); }
  // The last float32 value that is not above the threshold; no magnitude is below 0.
  static HALVE_INLINE double to(double le) { return le < 0.0 ? -1.0 : float_at_most(le); }
};

template <class V>
struct Elements<V, Float64> {
  using X = typename V::D;
  using Scalar = double;
  static constexpr uint64_t kStep = 8;

  static HALVE_INLINE X load(const char* p) { return V::load(Float64{}, p); }
  static HALVE_INLINE X set(double x) { return V::set(x); }
  static HALVE_INLINE X add_squares(X sums, X x, const char* /*p*/) {
    return V::add(sums, V::mul(x, x));
  }
  static HALVE_INLINE double from(double ge) { return ge; }
  static HALVE_INLINE double to(double le) { return le; }
};

// How many magnitudes of a 16-bit type, the infinite one included, are less than `bound`, or equal.
template <class T>
HALVE_INLINE uint16_t magnitudes_below(double bound, bool or_equal) {
  uint32_t below = 0, beyond = uint32_t{T::kInfinityWord} + 1;  // the answer is in this range
  while (below < beyond) {
    const uint32_t middle = (below + beyond) / 2;
    const double size = T::of(static_cast<uint16_t>(middle));
    if (size < bound || (or_equal && size == bound)) {
      below = middle + 1;
    } else {
      beyond = middle;
    }
  }
  return static_cast<uint16_t>(below);
}

// What a magnitude's bits are less than where the magnitude is below or, for `le`, up to a limit.
template <class T, bool kIsHalf = T::kBytes == 2>
struct WordLimits {
  HALVE_INLINE explicit WordLimits(StatsThresholds /*thresholds*/) {}
};

template <class T>
struct WordLimits<T, true> {
  uint16_t ge, le, min_normal;

  HALVE_INLINE explicit WordLimits(StatsThresholds thresholds)
      : ge(magnitudes_below<T>(thresholds.ge, false)),
        le(magnitudes_below<T>(thresholds.le, true)),
        min_normal(magnitudes_below<T>(T::kMinNormal, false)) {}
};

template <class V, class T>
struct Limits {
  typename Elements<V, T>::X ge, le, min_normal;
  WordLimits<T> words;

  HALVE_INLINE explicit Limits(StatsThresholds thresholds)
      : ge(Elements<V, T>::set(Elements<V, T>::from(thresholds.ge))),
        le(Elements<V, T>::set(Elements<V, T>::to(thresholds.le))),
        min_normal(Elements<V, T>::set(T::kMinNormal)),
        words(thresholds) {}
};

// Takes a finite value, or an infinity that stands for none, into the extremes.
HALVE_INLINE void add_extreme(double x, StatsTotals& totals) {
  totals.minimum = x < totals.minimum ? x : totals.minimum;
  totals.maximum = x > totals.maximum ? x : totals.maximum;
}

// The extremes of finite values; of none so far.
template <class V, class T, bool kIsHalf = T::kBytes == 2>
struct Extremes {
  using E = Elements<V, T>;
  typename E::X minimum = E::set(double_of(kInfinityBits));
  typename E::X maximum = E::set(-double_of(kInfinityBits));
  typename E::X smallest = minimum;  // magnitude

  HALVE_INLINE void take(typename E::X x) {
    minimum = V::min(x, minimum);
    maximum = V::max(x, maximum);
    smallest = V::min(V::abs(x), smallest);
  }
  HALVE_INLINE void take(const Extremes& other) {
    minimum = V::min(other.minimum, minimum);
    maximum = V::max(other.maximum, maximum);
  }
  // Whether there is anything to count among the values.
  HALVE_INLINE bool has_counts(const Limits<V, T>& limits) const {
    const auto largest = V::max(V::abs(minimum), V::abs(maximum));
    return (V::less_equal(limits.ge, largest) | V::less_equal(smallest, limits.le) |
            V::less(smallest, limits.min_normal)) != 0;
  }
  HALVE_INLINE void add_to(StatsTotals& totals) const {
    typename E::Scalar low[E::kStep], high[E::kStep];
    V::store(low, minimum);
    V::store(high, maximum);
    for (const double x : low) totals.minimum = x < totals.minimum ? x : totals.minimum;
    for (const double x : high) totals.maximum = x > totals.maximum ? x : totals.maximum;
  }
};

// Those of 16-bit values by their words, a sign and the rank of a magnitude: as unsigned numbers
// the negative values' are the largest, in the order of their magnitudes, and as signed ones the
// others'.
template <class V, class T>
struct Extremes<V, T, true> {
  typename V::W most_unsigned = V::same_words(0), most_signed = V::same_words(kSignWord);
  typename V::W least_doubled = V::same_words(0xFFFF);  // of magnitudes, whose signs shift out

  static constexpr uint16_t kSignWord = 0x8000;

  HALVE_INLINE void take(typename V::W x) {
    most_unsigned = V::max_unsigned(x, most_unsigned);
    most_signed = V::max_signed(x, most_signed);
    least_doubled = V::min_unsigned(V::doubled(x), least_doubled);
  }
  HALVE_INLINE void take(const Extremes& other) {
    most_unsigned = V::max_unsigned(other.most_unsigned, most_unsigned);
    most_signed = V::max_signed(other.most_signed, most_signed);
    least_doubled = V::min_unsigned(other.least_doubled, least_doubled);
  }
  HALVE_INLINE bool has_counts(const Limits<V, T>& limits) const {
    const auto& words = limits.words;
    const uint16_t small = words.le > words.min_normal ? words.le : words.min_normal;
    return V::any_from(most_unsigned, static_cast<uint16_t>(kSignWord | words.ge)) |
           V::any_from_signed(most_signed, words.ge) |
           V::any_below(least_doubled, static_cast<uint16_t>(2 * small));
  }
  HALVE_INLINE void add_to(StatsTotals& totals) const {
    uint16_t negative[32], positive[32], least[32];
    V::store(negative, most_unsigned);
    V::store(positive, most_signed);
    V::store(least, least_doubled);
    for (unsigned i = 0; i < 32; ++i) {
      const bool below = negative[i] >= kSignWord, above = positive[i] < kSignWord;
      if (!below && !above) continue;  // there was no value
      // Where all have one sign, the other end is the least magnitude.
      const double nearest = T::of(static_cast<uint16_t>(least[i] / 2));
      add_extreme(below ? T::of(negative[i]) : nearest, totals);
      add_extreme(above ? T::of(positive[i]) : -nearest, totals);
    }
  }
};

// What is found in a group of each of kBlocks blocks.
template <class V, class T, unsigned kBlocks>
struct Found {
  Extremes<V, T> extremes;
  typename V::D squares[kBlocks];  // with those so far
};

// A stride at `p`, which is at `at` as Staged<T>.
template <class V, class T, unsigned kBlocks>
HALVE_INLINE void fast_stride(const char* p, const char* at, typename V::D& squares,
                              Found<V, T, kBlocks>& found) {
  using E = Elements<V, T>;
  if constexpr (T::kBytes == 2) found.extremes.take(V::words(p));
  HALVE_UNROLL
  for (uint64_t i = 0; i < kStrideElements; i += E::kStep) {
    const char* step = at + Staged<T>::kBytes * i;
    const auto x = E::load(step);
    if constexpr (T::kBytes != 2) found.extremes.take(x);
    squares = E::add_squares(squares, x, step);
  }
}

// Several blocks in turn, because a lane's additions wait for each other. Stages one stride ahead,
// so that its stores are done when it is loaded.
template <class V, class T, unsigned kBlocks>
HALVE_INLINE void fast_groups(const char* p, uint64_t ahead, Stage* stages,
                              Found<V, T, kBlocks>& found) {
  constexpr uint64_t kBlockBytes = T::kBytes * kBlockElements;
  constexpr uint64_t kLast = kGroupElements - kStrideElements;
  for (unsigned k = 0; k < kBlocks; ++k) {
    stage_stride<V, T>(p + kBlockBytes * k, 0, stages[k], ahead);
  }
  for (uint64_t i = 0; i < kGroupElements; i += kStrideElements) {
    HALVE_UNROLL
    for (unsigned k = 0; k < kBlocks; ++k) {
      const char* group = p + kBlockBytes * k;
      if (i < kLast) stage_stride<V, T>(group, i + kStrideElements, stages[k], ahead);
      const char* at = staged<T>(group, stages[k]) + Staged<T>::kBytes * i;
      fast_stride<V, T, kBlocks>(group + T::kBytes * i, at, found.squares[k], found);
    }
  }
}

struct GroupCounts {
  int ge = 0, le = 0, zero = 0, tiny = 0;  // tiny: zero or subnormal
};

// The counts of a finite group of 16-bit values: magnitudes are in the order of their bits.
template <class V, class T>
HALVE_INLINE GroupCounts counts_of_words(const char* p, const WordLimits<T>& limits) {
  GroupCounts counts;
  int below_ge = 0;
  for (uint64_t i = 0; i < kGroupElements; i += 32) {
    const auto size = V::magnitudes(V::words(p + T::kBytes * i));
    below_ge += V::less(size, limits.ge);
    counts.le += V::less(size, limits.le);
    counts.zero += V::less(size, uint16_t{1});
    counts.tiny += V::less(size, limits.min_normal);
  }
  counts.ge = static_cast<int>(kGroupElements) - below_ge;
  return counts;
}

template <class V, class T>
HALVE_INLINE GroupCounts counts_of_values(const char* p, const Limits<V, T>& limits) {
  using E = Elements<V, T>;
  const auto none = E::set(0.0);
  GroupCounts counts;
  for (uint64_t i = 0; i < kGroupElements; i += E::kStep) {
    const auto size = V::abs(E::load(p + T::kBytes * i));
    counts.ge += V::less_equal(limits.ge, size);
    counts.le += V::less_equal(size, limits.le);
    counts.zero += V::less_equal(size, none);
    counts.tiny += V::less(size, limits.min_normal);
  }
  return counts;
}

template <class V, class T>
HALVE_INLINE void count_group(const char* p, const Limits<V, T>& limits, StatsTotals& totals) {
  GroupCounts counts;
  if constexpr (T::kBytes == 2) {
    counts = counts_of_words<V, T>(p, limits.words);
  } else {
    counts = counts_of_values<V, T>(p, limits);
  }
  totals.ge += static_cast<uint64_t>(counts.ge);
  totals.le += static_cast<uint64_t>(counts.le);
  totals.zero += static_cast<uint64_t>(counts.zero);
  totals.subnormal += static_cast<uint64_t>(counts.tiny - counts.zero);
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

// How far ahead of a group, at byte `begin` of its block, what is as far ahead in the order of
// reading lies: in the same block, or in that of the next kBlocks.
template <class T, unsigned kBlocks>
HALVE_INLINE uint64_t fetch_ahead(uint64_t begin) {
  constexpr uint64_t kBlockBytes = T::kBytes * kBlockElements;
  constexpr uint64_t kShare = kPrefetchBytes / kBlocks;
  return kShare + (begin + kShare < kBlockBytes ? 0 : kBlockBytes * (kBlocks - 1));
}

// The groups at the same place of kBlocks blocks.
template <class V, class T, unsigned kBlocks>
HALVE_INLINE void measure_groups(const char* p, uint64_t ahead, StatsThresholds thresholds,
                                 const Limits<V, T>& limits, typename V::D* squares,
                                 Extremes<V, T>& extremes, StatsTotals& totals) {
  constexpr uint64_t kBlockBytes = T::kBytes * kBlockElements;
  Stage stages[kBlocks];
  Found<V, T, kBlocks> found;
  for (unsigned k = 0; k < kBlocks; ++k) found.squares[k] = squares[k];
  fast_groups<V, T, kBlocks>(p, ahead, stages, found);
  bool finite = true;
  for (unsigned k = 0; k < kBlocks; ++k) finite &= V::all_finite(found.squares[k]);
  if (!finite) [[unlikely]] {
    for (unsigned k = 0; k < kBlocks; ++k) {
      const char* group = staged<T>(p + kBlockBytes * k, stages[k]);
      special_group<V, Staged<T>>(group, thresholds, squares[k], totals);
    }
    return;
  }
  for (unsigned k = 0; k < kBlocks; ++k) squares[k] = found.squares[k];
  extremes.take(found.extremes);
  if (!found.extremes.has_counts(limits)) return;
  for (unsigned k = 0; k < kBlocks; ++k) count_group<V, T>(p + kBlockBytes * k, limits, totals);
}

// kBlocks whole blocks, or n elements of one: whole groups by vector, and what is left of the last
// one by the definition.
template <class V, class T, unsigned kBlocks>
HALVE_INLINE void measure_blocks(const char* p, uint64_t n, StatsThresholds thresholds,
                                 const Limits<V, T>& limits, Extremes<V, T>& extremes,
                                 StatsTotals& totals) {
  typename V::D squares[kBlocks];
  for (auto& sum : squares) sum = V::set(0.0);
  uint64_t done = 0;
  for (; n - done >= kGroupElements; done += kGroupElements) {
    const uint64_t begin = T::kBytes * done;
    measure_groups<V, T, kBlocks>(p + begin, fetch_ahead<T, kBlocks>(begin), thresholds, limits,
                                  squares, extremes, totals);
  }
  for (unsigned k = 0; k < kBlocks; ++k) {
    SquareLanes lanes;
    V::store(lanes.sum, squares[k]);
    if (kBlocks == 1) {
      define_elements<T>(p + T::kBytes * done, n - done, thresholds, lanes, totals);
    }
    add_block(totals, lanes);
  }
}

// As many whole blocks as there are from `done` on, kBlocks together; returns where it ended.
template <class V, class T, unsigned kBlocks>
HALVE_INLINE uint64_t measure_together(const char* p, uint64_t n, uint64_t done,
                                       StatsThresholds thresholds, const Limits<V, T>& limits,
                                       Extremes<V, T>& extremes, StatsTotals& totals) {
  constexpr uint64_t kElements = kBlocks * kBlockElements;
  for (; n - done >= kElements; done += kElements) {
    measure_blocks<V, T, kBlocks>(p + T::kBytes * done, kBlockElements, thresholds, limits,
                                  extremes, totals);
  }
  return done;
}

template <class V, class T>
HALVE_NOINLINE void measure_chunk(const char* p, uint64_t n, StatsThresholds thresholds,
                                  StatsTotals& totals) {
  const Limits<V, T> limits(thresholds);
  Extremes<V, T> extremes;
  uint64_t done = 0;
  if constexpr (T::kBytes == 2) {
    done = measure_together<V, T, 4>(p, n, done, thresholds, limits, extremes, totals);
  }
  done = measure_together<V, T, 2>(p, n, done, thresholds, limits, extremes, totals);
  for (; done < n; done += kBlockElements) {
    const uint64_t part = n - done < kBlockElements ? n - done : kBlockElements;
    measure_blocks<V, T, 1>(p + T::kBytes * done, part, thresholds, limits, extremes, totals);
  }
  extremes.add_to(totals);
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
