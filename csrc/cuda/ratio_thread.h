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
class RatioThread {
 public:
  using Rule = RatioRule;
  using Totals = RatioTotals;
  struct Shared {};
  static constexpr unsigned kSums = 1;
  static constexpr unsigned kLaneElements = lane_elements(A::kBytes + B::kBytes);
  using AReader = RowReader<A, kLaneElements>;
  using BReader = RowReader<B, kLaneElements>;
  static constexpr uint64_t kStepElements = AReader::kStepElements;
  static constexpr uint64_t kRowsBytes = kTaskRows * (AReader::kStride + BReader::kStride);
  static constexpr uint64_t kAreaBytes = kRowsBytes > sums_area_bytes<kSums>()
                                             ? kRowsBytes
                                             : sums_area_bytes<kSums>();

  static HALVE_INLINE void combine(Totals& total, const Totals& part) {
    total.worst = part.worst > total.worst ? part.worst : total.worst;
  }
  static HALVE_INLINE void combine(Shared& /*total*/, const Shared& /*part*/) {}

  HALVE_INLINE RatioThread(RatioRule rule, unsigned thread) : rule_(rule), thread_(thread) {}

  HALVE_INLINE void begin(const ReduceTensor& tensor, const Task& task) {
    row_.begin(task, thread_);
    a_.begin(tensor.a, tensor.elements, row_.first);
    b_.begin(tensor.b, tensor.elements, row_.first);
    totals_ = RatioTotals{};
    sums_[0] = 0.0;
  }

  HALVE_INLINE bool more(uint64_t step) const { return step * kStepElements < row_.count; }
  HALVE_INLINE void fetch(uint64_t step) {
    if (!more(step)) return;
    a_.fetch(step, row_.lane);
    b_.fetch(step, row_.lane);
  }
  HALVE_INLINE void place(char* area, uint64_t step) const {
    if (!more(step)) return;
    a_.place(area + AReader::kStride * row_.number, row_.lane);
    b_.place(b_row(area), row_.lane);
  }

  HALVE_INLINE unsigned scan(const char* area, uint64_t step) {
    const char* a_row = area + AReader::kStride * row_.number;
    for (unsigned k = 0; k < kLaneElements; ++k) {
      const unsigned i = kRowLanes * k + row_.lane;
      if (step * kStepElements + i >= row_.count) break;
      const double share = used_share(a_.at(a_row, i), b_.at(b_row(area), i), rule_);
      totals_.worst = share > totals_.worst ? share : totals_.worst;
      const double scaled = share * rule_.scale;
      sums_[0] += scaled * scaled * (scaled * scaled);
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
                                      uint64_t /*elements*/) {
    totals.sum_fourth = sums[0];
    return totals;
  }

 private:
  template <class Char>
  HALVE_INLINE Char* b_row(Char* area) const {
    return area + kTaskRows * AReader::kStride + BReader::kStride * row_.number;
  }

  RatioRule rule_;
  unsigned thread_;
  Row row_{};
  AReader a_;
  BReader b_;
  RatioTotals totals_;
  double sums_[kSums];
};

}  // namespace
}  // namespace halve::cuda
