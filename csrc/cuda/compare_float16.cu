#include "cuda/compare_pairs.h"

namespace halve::cuda {

std::vector<CompareTotals> compare_float16(Context& context, FloatType b_type,
                                           const ReducePlan& plan, CompareRule rule) {
  return compare_with<kernels::Float16>(context, b_type, plan, rule);
}

}  // namespace halve::cuda
