// How much of a tolerance the elements of an array use against a float32 reference.
#pragma once

#include <vector>

#include "cuda/plan.h"

namespace halve::cuda {

class Context;

// The share of an element is |a - b| / (atol + rtol * |b|) in float64: 0 where a equals b, infinite
// where it would be NaN. `scale` multiplies shares before they are raised to the fourth power.
struct RatioRule {
  double rtol;  // finite, >= 0
  double atol;  // finite, >= 0
  double scale;
};

struct RatioTotals {
  double worst = 0.0;       // the largest share
  double sum_fourth = 0.0;  // of (share * scale)^4, in the order of halve/reduce.h
};

// One result a pair, as `compare` of compare.h. `a_type` is a type of at most 32 bits.
//
// Throws as `compare` does.
[[nodiscard]] std::vector<RatioTotals> ratios(Context& context, FloatType a_type,
                                              const std::vector<ReduceItem>& items, RatioRule rule);

}  // namespace halve::cuda
