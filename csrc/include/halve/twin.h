// One tensor of two runs, a float32 one and one that rounds to 16 bits: rounding, the statistics of
// both values and up to two comparisons, in one pass over memory.
//
// Every number is the one that the separate passes give (halve/cast.h, halve/stats.h and
// halve/compare.h, on float32 values), to the last bit: for every backend and any number of
// threads.
#pragma once

#include <cstdint>

#include "halve/backend.h"
#include "halve/cast.h"
#include "halve/compare.h"
#include "halve/stats.h"
#include "halve/status.h"

namespace halve {

enum class TwinRounding : std::uint8_t { kNone, kFloat16, kBFloat16 };

// What the second comparison is of: nothing; the half value with itself before it was rounded;
// `local`, rounded as `half` is, with `exact`; `local` as it is with `exact`.
enum class TwinLocal : std::uint8_t { kNone, kOwn, kRounded, kPlain };

struct TwinTensors {
  const float* exact = nullptr;  // the float32 run's; null: that run has none
  const float* half = nullptr;   // the other run's, before `rounding`; null: that run has none
  const float* local = nullptr;  // n elements where `second` reads it
  float* rounded = nullptr;      // room for n elements, which may be `half`'s own; null: not kept
  std::uint64_t n = 0;           // of every array
  TwinRounding rounding = TwinRounding::kNone;
  TwinLocal second = TwinLocal::kNone;  // needs `half`, and all but kOwn `exact`
};

struct TwinRule {
  StatsThresholds thresholds;
  double limit;  // a result beyond it does not fit; not NaN
  CompareRule compare;
};

struct TwinTotals {
  StatsTotals exact;
  StatsTotals half;              // after rounding
  CompareTotals total;           // half with exact, where there are both
  CompareTotals local;           // see TwinLocal
  std::uint64_t exact_over = 0;  // |exact| > limit, infinities included
  std::uint64_t half_over = 0;   // likewise of half before it was rounded
};

[[nodiscard]] Status twin_threaded(Backend backend, const TwinTensors& tensors,
                                   const TwinRule& rule, TwinTotals& totals,
                                   unsigned threads) noexcept;

}  // namespace halve
