// What one thread of the comparison kernel does; see rows.h.
#pragma once

#include <math.h>

#include "cuda/rows.h"
#include "kernels/compare/definition.h"

namespace halve::cuda {
namespace {

namespace definition = halve::kernels;

HALVE_INLINE void take_first_largest(double& most, uint64_t& index, double other,
                                     uint64_t other_index) {
  if (other > most || (other == most && other_index < index)) {
    most = other;
    index = other_index;
  }
}

// The next smaller value of one above 0; 0 for 0.
HALVE_INLINE double just_below(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return definition::double_of(bits - (bits != 0));
}

// The maxima of a warp so far, so that an element is looked at closely only where it may change
// them.
struct Maxima {
  double abs = 0.0, rel = 0.0;
  uint64_t abs_index = kNoIndex, rel_index = kNoIndex;
};

HALVE_INLINE void take_larger(Maxima& total, const Maxima& part) {
  take_first_largest(total.abs, total.abs_index, part.abs, part.abs_index);
  take_first_largest(total.rel, total.rel_index, part.rel, part.rel_index);
}

// Counts and maxima; sums are formed elsewhere, in their order.
HALVE_INLINE void take_counts(CompareTotals& total, const CompareTotals& part) {
  total.a_nan += part.a_nan;
  total.a_inf += part.a_inf;
  total.b_nan += part.b_nan;
  total.b_inf += part.b_inf;
  total.mismatches += part.mismatches;
  take_first_largest(total.max_abs_error, total.max_abs_index, part.max_abs_error,
                     part.max_abs_index);
  take_first_largest(total.max_rel_error, total.max_rel_index, part.max_rel_error,
                     part.max_rel_index);
}

template <class A, class B>
class CompareThread : public RowThread<PairReader<A, B>, 4> {
  using Base = RowThread<PairReader<A, B>, 4>;

 public:
  using Rule = CompareRule;
  using Totals = CompareTotals;
  using Shared = Maxima;
  using Base::kLaneElements, Base::kStepElements, Base::kSums;
  // What scan finds.
  static constexpr unsigned kUnusual = 1, kExceeds = 2;

  static HALVE_INLINE void combine(Totals& total, const Totals& part) { take_counts(total, part); }
  static HALVE_INLINE void combine(Shared& total, const Shared& part) { take_larger(total, part); }

  HALVE_INLINE CompareThread(CompareRule rule, unsigned thread) : Base(thread), rule_(rule) {}

  HALVE_INLINE void begin(const ReduceTensor& tensor, const Task& task) {
    if (task.tensor != tensor_) bound_ = Maxima{};
    tensor_ = task.tensor;
    this->begin_row(tensor, task);
    totals_ = CompareTotals{};
    set_bounds();
  }

  // The wide path of kernels/compare/README.md. Where it finds something unusual, nothing was
  // counted; where only maxima may change, all else was.
  HALVE_INLINE unsigned scan(const char* area, uint32_t step) {
    if (!this->more(step)) return 0;
    if ((step + 1) * kStepElements > row_.count) return kUnusual;
    constexpr bool kExact = A::kExact && B::kExact;
    double next[kSums];
    HALVE_UNROLL_ALL
    for (unsigned k = 0; k < kSums; ++k) next[k] = sums_[k];
    uint32_t mismatches = 0;
    bool exceeds = false;
    HALVE_UNROLL_16
    for (unsigned i = 0; i < kLaneElements; ++i) {
      const double x = reader_.x(area, row_, kRowLanes * i + row_.lane);
      const double y = reader_.y(area, row_, kRowLanes * i + row_.lane);
      const double error = fabs(x - y), size = fabs(y);
      mismatches += error > rule_.atol + rule_.rtol * size;
      exceeds |= error > abs_bound_;
      exceeds |= kExact ? fma(-rel_bound_, size, error) > 0.0 : error / size > rel_bound_;
      next[0] = add_product<A::kExact>(next[0], x, x);
      next[1] = add_product<B::kExact>(next[1], y, y);
      next[2] = add_product<kExact>(next[2], x, y);
      next[3] = next[3] + error * error;
    }
    if (!definition::is_finite(next[3])) return kUnusual;
    HALVE_UNROLL_ALL
    for (unsigned k = 0; k < kSums; ++k) sums_[k] = next[k];
    totals_.mismatches += mismatches;
    return exceeds ? kExceeds : 0;
  }

  // Does by the definition what scan has left.
  HALVE_INLINE void settle(const char* area, uint32_t step, unsigned found) {
    HALVE_UNROLL_NOT
    for (unsigned k = 0; k < kLaneElements && found != 0; ++k) {
      const unsigned i = kRowLanes * k + row_.lane;
      const uint32_t at = step * kStepElements + i;
      if (at >= row_.count) break;
      const double x = reader_.x(area, row_, i), y = reader_.y(area, row_, i);
      if (found == kUnusual) {
        define(x, y, row_.first + at);
      } else {
        definition::raise_maxima(definition::difference(x, y, false), y, row_.first + at, totals_);
      }
    }
  }

  HALVE_INLINE Shared shared() const {
    Maxima found = bound_;
    combine(found, {totals_.max_abs_error, totals_.max_rel_error, totals_.max_abs_index,
                    totals_.max_rel_index});
    return found;
  }
  HALVE_INLINE void follow(const Shared& bound) {
    bound_ = bound;
    set_bounds();
  }

  HALVE_INLINE const Totals& totals() const { return totals_; }

  // A chunk's totals: of `elements` from element `begin` of the tensor.
  static HALVE_INLINE Totals describe(Totals totals, const double* sums, uint64_t begin,
                                      uint64_t elements) {
    totals.elements = elements;
    totals.max_abs_index -= totals.max_abs_index == kNoIndex ? 0 : begin;
    totals.max_rel_index -= totals.max_rel_index == kNoIndex ? 0 : begin;
    totals.sum_aa = sums[0];
    totals.sum_bb = sums[1];
    totals.sum_ab = sums[2];
    totals.sum_ee = sums[3];
    return totals;
  }

 private:
  // An equal value counts where it may come first.
  HALVE_INLINE void set_bounds() {
    abs_bound_ = row_.first < bound_.abs_index ? just_below(bound_.abs) : bound_.abs;
    rel_bound_ = row_.first < bound_.rel_index ? just_below(bound_.rel) : bound_.rel;
  }

  template <bool kIsExact>
  static HALVE_INLINE double add_product(double sum, double x, double y) {
    // An exact product may be fused: rounding it first changes nothing.
    return kIsExact ? fma(x, y, sum) : sum + x * y;
  }

  HALVE_INLINE void define(double x, double y, uint64_t index) {
    const double error = definition::define_pair(x, y, index, rule_, totals_);
    sums_[0] += x * x;
    sums_[1] += y * y;
    sums_[2] += x * y;
    sums_[3] += error * error;
  }

  using Base::row_, Base::reader_, Base::sums_;
  CompareRule rule_;
  uint64_t tensor_ = kNoIndex;
  Maxima bound_;
  double abs_bound_, rel_bound_;
  CompareTotals totals_;
};

}  // namespace
}  // namespace halve::cuda
