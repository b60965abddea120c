#include <cmath>
#include <stdexcept>

#include "cuda/compare.h"
#include "cuda/reduce_launch.h"
#include "cuda/stats_thread.h"

namespace halve::cuda {
namespace {

std::vector<StatsTotals> chunks_of(Context& context, FloatType type, const ReducePlan& plan,
                                   StatsThresholds rule) {
  switch (type) {
    case FloatType::kFloat32:
      return reduce_chunks_on<StatsThread<kernels::Float32>>(context, plan, rule);
    case FloatType::kFloat16:
      return reduce_chunks_on<StatsThread<kernels::Float16>>(context, plan, rule);
    case FloatType::kBFloat16:
      return reduce_chunks_on<StatsThread<kernels::BFloat16>>(context, plan, rule);
    case FloatType::kFloat64:
      return reduce_chunks_on<StatsThread<kernels::Float64>>(context, plan, rule);
  }
  throw std::invalid_argument("unknown element type");
}

}  // namespace

std::vector<StatsTotals> statistics(Context& context, FloatType type,
                                    const std::vector<ReduceItem>& items,
                                    StatsThresholds thresholds) {
  if (std::isnan(thresholds.ge) || std::isnan(thresholds.le)) {
    throw std::invalid_argument("a threshold is NaN");
  }
  const ReducePlan plan = plan_reduction(items, type, type);
  return join_chunks<StatsTotals>(
      plan, chunks_of(context, type, plan, thresholds),
      [](StatsTotals& total, const StatsTotals& part) { merge(total, part); });
}

}  // namespace halve::cuda
