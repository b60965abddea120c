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

struct Nothing {};

template <class T>
class StatsThread {
 public:
  using Rule = StatsThresholds;
  using Totals = StatsTotals;
  using Shared = Nothing;
  static constexpr unsigned kSums = 1;
  static constexpr unsigned kLaneElements = lane_elements(T::kBytes);
  using Reader = RowReader<T, kLaneElements>;
  static constexpr uint64_t kStepElements = Reader::kStepElements;
  static constexpr uint64_t kRowsBytes = kTaskRows * Reader::kStride;
  static constexpr uint64_t kAreaBytes = kRowsBytes > sums_area_bytes<kSums>()
                                             ? kRowsBytes
                                             : sums_area_bytes<kSums>();

  static HALVE_INLINE void combine(Totals& total, const Totals& part) { take_counts(total, part); }
  static HALVE_INLINE void combine(Shared& /*total*/, const Shared& /*part*/) {}

  HALVE_INLINE StatsThread(StatsThresholds rule, unsigned thread) : rule_(rule), thread_(thread) {}

  HALVE_INLINE void begin(const ReduceTensor& tensor, const Task& task) {
    row_.begin(task, thread_);
    x_.begin(tensor.a, tensor.elements, row_.first);
    totals_ = StatsTotals{};
    sums_[0] = 0.0;
  }

  HALVE_INLINE bool more(uint64_t step) const { return step * kStepElements < row_.count; }
  HALVE_INLINE void fetch(uint64_t step) {
    if (more(step)) x_.fetch(step, row_.lane);
  }
  HALVE_INLINE void place(char* area, uint64_t step) const {
    if (more(step)) x_.place(area + Reader::kStride * row_.number, row_.lane);
  }

  HALVE_INLINE unsigned scan(const char* area, uint64_t step) {
    const char* row = area + Reader::kStride * row_.number;
    for (unsigned k = 0; k < kLaneElements; ++k) {
      const unsigned i = kRowLanes * k + row_.lane;
      if (step * kStepElements + i >= row_.count) break;
      definition::define_element(x_.at(row, i), T::kMinNormal, rule_, sums_[0], totals_);
    }
    return 0;
  }
  // scan leaves nothing.
  HALVE_INLINE void settle(const char* /*area*/, uint64_t /*step*/, unsigned /*found*/) {}
  HALVE_INLINE Shared shared() const { return {}; }
  HALVE_INLINE void follow(const Shared& /*bound*/) {}

  HALVE_INLINE const Row& row() const { return row_; }
  HALVE_INLINE const Totals& totals() const { return totals_; }
  HALVE_INLINE void put_sums(char* area) const {
    put_lane_sums<kSums>(reinterpret_cast<double*>(area), row_, sums_);
  }

  static HALVE_INLINE Totals describe(Totals totals, const double* sums, uint64_t /*begin*/,
                                      uint64_t elements) {
    totals.elements = elements;
    totals.sum_squares = sums[0];
    return totals;
  }

 private:
  StatsThresholds rule_;
  unsigned thread_;
  Row row_{};
  Reader x_;
  StatsTotals totals_;
  double sums_[kSums];
};

}  // namespace
}  // namespace halve::cuda
