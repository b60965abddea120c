// The contracts of halve/compare.h and halve/stats.h on arrays in a device's memory.
#pragma once

#include <vector>

#include "cuda/plan.h"
#include "halve/compare.h"
#include "halve/stats.h"

namespace halve::cuda {

class Context;

// Compares every pair of items in one launch on the context's stream; one result a pair, when that
// stream has done all work so far. The bits are those of every other backend, whatever the device
// and the number of thread blocks: halve/reduce.h's order is kept.
//
// Throws std::invalid_argument as plan_reduction does, or for a rule outside the ranges of
// halve/compare.h, and CudaError.
[[nodiscard]] std::vector<CompareTotals> compare(Context& context, FloatType a_type,
                                                 FloatType b_type,
                                                 const std::vector<ReduceItem>& items,
                                                 CompareRule rule);

[[nodiscard]] std::vector<StatsTotals> statistics(Context& context, FloatType type,
                                                  const std::vector<ReduceItem>& items,
                                                  StatsThresholds thresholds);

// The chunks of pairs whose first type is the one named, in order. One translation unit each.
using CompareChunks = std::vector<CompareTotals>(Context& context, FloatType b_type,
                                                 const ReducePlan& plan, CompareRule rule);
CompareChunks compare_float32, compare_float16, compare_bfloat16, compare_float64;

}  // namespace halve::cuda
