// The statistics contract: what one pass over a float array counts and sums.
//
// Every value x is widened to float64, which is exact. Minimum, maximum and the sum of squares
// are over finite elements; zero is never negative in them. Thresholds are compared in float64.
//
// The result is the same bits for every backend and number of threads (halve/reduce.h says how
// the sum is formed), whatever rounding or flush-to-zero mode the calling thread is in.
#pragma once

#include <cstdint>
#include <limits>

#include "halve/backend.h"
#include "halve/float_type.h"
#include "halve/status.h"

namespace halve {

struct StatsThresholds {
  double ge;  // not NaN
  double le;  // not NaN
};

struct StatsTotals {
  std::uint64_t elements = 0;
  std::uint64_t nan = 0;
  std::uint64_t inf = 0;
  std::uint64_t zero = 0;
  std::uint64_t subnormal = 0;  // of the array's own type
  std::uint64_t ge = 0;         // |x| >= ge, infinities included, NaN not
  std::uint64_t le = 0;         // |x| <= le, zeros included, NaN not
  double minimum = std::numeric_limits<double>::infinity();   // as it is where none is finite
  double maximum = -std::numeric_limits<double>::infinity();  // as it is where none is finite
  double sum_squares = 0.0;
};

// Makes `total` describe both arrays. Associative and commutative except for the sum's rounding.
void merge(StatsTotals& total, const StatsTotals& part) noexcept;

// Measures n elements of `x`, of any alignment, on up to `threads` threads, the calling one
// included (0: one a core that this process may use), and overwrites `totals`. `x` may be null
// where n is 0.
//
// kInvalidArgument: a null pointer, an unknown type, or a threshold that is NaN.
// kUnsupportedBackend: the backend is not compiled in or not usable here.
// In both cases `totals` is untouched.
Status stats_threaded(Backend backend, FloatType type, const void* x, std::uint64_t n,
                      StatsThresholds thresholds, StatsTotals& totals, unsigned threads) noexcept;

}  // namespace halve
