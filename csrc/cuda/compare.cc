#include "cuda/compare.h"

#include <cmath>
#include <stdexcept>

namespace halve::cuda {
namespace {

void check_rule(CompareRule rule) {
  for (const double value : {rule.rtol, rule.atol}) {
    if (!(std::isfinite(value) && value >= 0.0)) {
      throw std::invalid_argument("a tolerance is negative or not finite");
    }
  }
}

CompareChunks* chunks_of(FloatType type) {
  constexpr CompareChunks* kByType[kFloatTypeCount] = {compare_float32, compare_float16,
                                                       compare_bfloat16, compare_float64};
  return kByType[static_cast<int>(type)];
}

}  // namespace

std::vector<CompareTotals> compare(Context& context, FloatType a_type, FloatType b_type,
                                   const std::vector<ReduceItem>& items, CompareRule rule) {
  check_rule(rule);
  const ReducePlan plan = plan_reduction(items, a_type, b_type);
  return join_chunks<CompareTotals>(
      plan, chunks_of(a_type)(context, b_type, plan, rule),
      [](CompareTotals& total, const CompareTotals& part) { append(total, part); });
}

}  // namespace halve::cuda
