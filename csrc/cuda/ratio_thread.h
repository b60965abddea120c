// What one thread of the tolerance kernel does: how much of a tolerance each element uses. See
// rows.h.
#pragma once

#include <math.h>

#include "cuda/ratio.h"
#include "cuda/rows.h"
#include "kernels/lanes/widen.h"

namespace halve::cuda {
namespace {

// 0 where equal, infinite where no number says it.
HALVE_INLINE double used_share(double x, double y, RatioRule rule) {
  if (x == y) return 0.0;
  const double ratio = fabs(x - y) / (rule.atol + rule.rtol * fabs(y));
  return ratio == ratio ? ratio : kernels::double_of(kernels::kInfinityBits);
}

template <class A, class B>
class RatioThread : public PlainThread<PairReader<A, B>, 1> {
  using Base = PlainThread<PairReader<A, B>, 1>;

 public:
  using Rule = RatioRule;
  using Totals = RatioTotals;
  using typename Base::Shared;

  static HALVE_INLINE void combine(Totals& total, const Totals& part) {
    total.worst = part.worst > total.worst ? part.worst : total.worst;
  }
  static HALVE_INLINE void combine(Shared& /*total*/, const Shared& /*part*/) {}

  HALVE_INLINE RatioThread(RatioRule rule, unsigned thread) : Base(thread), rule_(rule) {}

  HALVE_INLINE void begin(const ReduceTensor& tensor, const Task& task) {
    this->begin_row(tensor, task);
    totals_ = RatioTotals{};
  }

  HALVE_INLINE unsigned scan(const char* area, uint32_t step) {
    HALVE_UNROLL_8
    for (unsigned k = 0; k < Base::kLaneElements; ++k) {
      const unsigned i = kRowLanes * k + this->row_.lane;
      if (step * Base::kStepElements + i >= this->row_.count) break;
      const double x = this->reader_.x(area, this->row_, i);
      const double share = used_share(x, this->reader_.y(area, this->row_, i), rule_);
      totals_.worst = share > totals_.worst ? share : totals_.worst;
      const double scaled = share * rule_.scale;
      this->sums_[0] += scaled * scaled * (scaled * scaled);
    }
    return 0;
  }
  HALVE_INLINE const Totals& totals() const { return totals_; }

  static HALVE_INLINE Totals describe(Totals totals, const double* sums, uint64_t /*begin*/,
                                      uint64_t /*elements*/) {
    totals.sum_fourth = sums[0];
    return totals;
  }

 private:
  RatioRule rule_;
  RatioTotals totals_;
};

}  // namespace
}  // namespace halve::cuda
