#include <cmath>
#include <stdexcept>

#include "cuda/ratio.h"
#include "cuda/ratio_thread.h"
#include "cuda/reduce_launch.h"

namespace halve::cuda {
namespace {

std::vector<RatioTotals> chunks_of(Context& context, FloatType type, const ReducePlan& plan,
                                   RatioRule rule) {
  using kernels::Float32;
  switch (type) {
    case FloatType::kFloat32:
      return reduce_chunks_on<RatioThread<Float32, Float32>>(context, plan, rule);
    case FloatType::kFloat16:
      return reduce_chunks_on<RatioThread<kernels::Float16, Float32>>(context, plan, rule);
    case FloatType::kBFloat16:
      return reduce_chunks_on<RatioThread<kernels::BFloat16, Float32>>(context, plan, rule);
    case FloatType::kFloat64:
      break;
  }
  throw std::invalid_argument("the first type has more than 32 bits");
}

}  // namespace

std::vector<RatioTotals> ratios(Context& context, FloatType a_type,
                                const std::vector<ReduceItem>& items, RatioRule rule) {
  for (const double value : {rule.rtol, rule.atol, rule.scale}) {
    if (!(std::isfinite(value) && value >= 0.0)) {
      throw std::invalid_argument("a tolerance is negative or not finite");
    }
  }
  const ReducePlan plan = plan_reduction(items, a_type, FloatType::kFloat32);
  return join_chunks<RatioTotals>(plan, chunks_of(context, a_type, plan, rule),
                                  [](RatioTotals& total, const RatioTotals& part) {
                                    total.worst = std::fmax(total.worst, part.worst);
                                    total.sum_fourth += part.sum_fourth;
                                  });
}

}  // namespace halve::cuda
