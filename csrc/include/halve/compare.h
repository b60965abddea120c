// The comparison contract: two float arrays of any pairing of types, in one pass.
//
// Both values of a pair (x, y) are widened to float64, which is exact, and y is the reference.
//   difference  0 where x == y (equal infinities are), or where both are NaN and equal_nan holds;
//               else |x - y| in float64, and +inf where that is NaN.
//   relative    0 where the difference is 0; else difference / |y|, and +inf where that is NaN.
//               So a difference from a reference of 0 is +inf.
//   mismatch    unless the difference is 0, or y is finite and |x - y| <= atol + rtol * |y|, where
//               product, sum and comparison are in float64: numpy.isclose of the widened arrays.
// Products are summed as they are: a NaN or an infinity makes a norm NaN or infinite.
//
// The result is the same bits for every backend and number of threads (halve/reduce.h says how
// sums are formed), whatever rounding or flush-to-zero mode the calling thread is in. A sum that
// is NaN is the positive quiet NaN.
#pragma once

#include <cstdint>

#include "halve/backend.h"
#include "halve/float_type.h"
#include "halve/status.h"

namespace halve {

inline constexpr std::uint64_t kNoIndex = ~std::uint64_t{0};

struct CompareRule {
  double rtol;  // finite, >= 0
  double atol;  // finite, >= 0
  bool equal_nan;
};

struct CompareTotals {
  std::uint64_t elements = 0;
  std::uint64_t a_nan = 0;
  std::uint64_t a_inf = 0;
  std::uint64_t b_nan = 0;
  std::uint64_t b_inf = 0;
  std::uint64_t mismatches = 0;
  double max_abs_error = 0.0;              // largest difference
  std::uint64_t max_abs_index = kNoIndex;  // of the first such element; kNoIndex where it is 0
  double max_rel_error = 0.0;              // largest relative difference
  std::uint64_t max_rel_index = kNoIndex;
  double sum_aa = 0.0;
  double sum_bb = 0.0;
  double sum_ab = 0.0;
  double sum_ee = 0.0;  // of squared differences
};

// Makes `total` describe its own array followed by that of `part`: indices of `part` are counted
// on from total.elements. Associative except for the rounding of the sums.
void append(CompareTotals& total, const CompareTotals& part) noexcept;

// Compares n elements of `a` with as many of the reference `b`, of any alignment, on up to
// `threads` threads, the calling one included (0: one a core that this process may use), and
// overwrites `totals`. Pointers may be null where n is 0.
//
// kInvalidArgument: a null pointer, an unknown type, or a tolerance outside the ranges above.
// kUnsupportedBackend: the backend is not compiled in or not usable here.
// In both cases `totals` is untouched.
Status compare_threaded(Backend backend, FloatType a_type, const void* a, FloatType b_type,
                        const void* b, std::uint64_t n, CompareRule rule, CompareTotals& totals,
                        unsigned threads) noexcept;

}  // namespace halve
