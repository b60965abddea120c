// The comparison of one type with every other. For files that nvcc compiles.
#pragma once

#include <stdexcept>

#include "cuda/compare.h"
#include "cuda/compare_thread.h"
#include "cuda/reduce_launch.h"

namespace halve::cuda {
namespace {

template <class A>
std::vector<CompareTotals> compare_with(Context& context, FloatType b_type, const ReducePlan& plan,
                                        CompareRule rule) {
  switch (b_type) {
    case FloatType::kFloat32:
      return reduce_chunks_on<CompareThread<A, kernels::Float32>>(context, plan, rule);
    case FloatType::kFloat16:
      return reduce_chunks_on<CompareThread<A, kernels::Float16>>(context, plan, rule);
    case FloatType::kBFloat16:
      return reduce_chunks_on<CompareThread<A, kernels::BFloat16>>(context, plan, rule);
    case FloatType::kFloat64:
      return reduce_chunks_on<CompareThread<A, kernels::Float64>>(context, plan, rule);
  }
  throw std::invalid_argument("unknown element type");
}

}  // namespace
}  // namespace halve::cuda
