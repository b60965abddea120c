// What one thread of the statistics kernel does; see rows.h.
#pragma once

#include "cuda/rows.h"
#include "kernels/stats/definition.h"

namespace halve::cuda {
namespace {

namespace definition = halve::kernels;

HALVE_INLINE void take_counts(StatsTotals& total, const StatsTotals& part) {
  total.nan += part.nan;
  total.inf += part.inf;
  total.zero += part.zero;
  total.subnormal += part.subnormal;
  total.ge += part.ge;
  total.le += part.le;
  total.minimum = part.minimum < total.minimum ? part.minimum : total.minimum;
  total.maximum = part.maximum > total.maximum ? part.maximum : total.maximum;
}

template <class T>
class StatsThread : public PlainThread<ArrayReader<T>, 1> {
  using Base = PlainThread<ArrayReader<T>, 1>;

 public:
  using Rule = StatsThresholds;
  using Totals = StatsTotals;
  using typename Base::Shared;

  static HALVE_INLINE void combine(Totals& total, const Totals& part) { take_counts(total, part); }
  static HALVE_INLINE void combine(Shared& /*total*/, const Shared& /*part*/) {}

  HALVE_INLINE StatsThread(StatsThresholds rule, unsigned thread) : Base(thread), rule_(rule) {}

  HALVE_INLINE void begin(const ReduceTensor& tensor, const Task& task) {
    this->begin_row(tensor, task);
    totals_ = StatsTotals{};
  }

  HALVE_INLINE unsigned scan(const char* area, uint64_t step) {
    HALVE_UNROLL_8
    for (unsigned k = 0; k < Base::kLaneElements; ++k) {
      const unsigned i = kRowLanes * k + this->row_.lane;
      if (step * Base::kStepElements + i >= this->row_.count) break;
      const double x = this->reader_.x(area, this->row_, i);
      definition::define_element(x, T::kMinNormal, rule_, this->sums_[0], totals_);
    }
    return 0;
  }
  HALVE_INLINE const Totals& totals() const { return totals_; }

  static HALVE_INLINE Totals describe(Totals totals, const double* sums, uint64_t /*begin*/,
                                      uint64_t elements) {
    totals.elements = elements;
    totals.sum_squares = sums[0];
    return totals;
  }

 private:
  StatsThresholds rule_;
  StatsTotals totals_;
};

}  // namespace
}  // namespace halve::cuda
