// What one thread of the statistics kernel does; see rows.h.
#pragma once

#include <math.h>

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

// The smallest float32 that is not less than x: a float32 is at least that where it is at least x.
HALVE_INLINE float float_at_least(double x) {
  float near = static_cast<float>(x);
  if (static_cast<double>(near) >= x) return near;
  uint32_t bits;
  memcpy(&bits, &near, sizeof bits);
  bits = near == 0.0F ? 1U : near > 0.0F ? bits + 1U : bits - 1U;
  memcpy(&near, &bits, sizeof bits);
  return near;
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

  HALVE_INLINE StatsThread(StatsThresholds rule, unsigned thread)
      : Base(thread),
        rule_(rule),
        least_ge_(float_at_least(rule.ge)),
        most_le_(-float_at_least(-rule.le)) {}

  HALVE_INLINE void begin(const ReduceTensor& tensor, const Task& task) {
    this->begin_row(tensor, task);
    totals_ = StatsTotals{};
  }

  HALVE_INLINE unsigned scan(const char* area, uint32_t step) {
    if constexpr (T::kExact) {
      const bool whole = (step + 1) * Base::kStepElements <= this->row_.count;
      if (whole && narrow(area)) return 0;
    }
    HALVE_UNROLL_NOT
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
  // A whole step of a type whose values float32 has, too: compared there, and squared in float64,
  // which is exact. False, and nothing is counted, where a value is not finite.
  HALVE_INLINE bool narrow(const char* area) {
    constexpr auto kMinNormal = static_cast<float>(T::kMinNormal);
    auto low = static_cast<float>(totals_.minimum), high = static_cast<float>(totals_.maximum);
    double sum = this->sums_[0];
    uint32_t zero = 0, small = 0, ge = 0, le = 0;
    HALVE_UNROLL_8
    for (unsigned k = 0; k < Base::kLaneElements; ++k) {
      const double x = this->reader_.x(area, this->row_, kRowLanes * k + this->row_.lane);
      const auto value = static_cast<float>(x);
      const float size = fabsf(value);
      zero += size == 0.0F;
      small += size < kMinNormal;
      ge += size >= least_ge_;
      le += size <= most_le_;
      low = value < low ? value : low;
      high = value > high ? value : high;
      sum = fma(x, x, sum);
    }
    if (!(sum - sum == 0.0)) return false;
    this->sums_[0] = sum;
    totals_.zero += zero;
    totals_.subnormal += small - zero;
    totals_.ge += ge;
    totals_.le += le;
    totals_.minimum = low;
    totals_.maximum = high;
    return true;
  }

  StatsThresholds rule_;
  float least_ge_, most_le_;
  StatsTotals totals_;
};

}  // namespace
}  // namespace halve::cuda
