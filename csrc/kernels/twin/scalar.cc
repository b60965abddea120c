// The fused pass as its definition reads. Every other backend equals this one.

#include "../compare/definition.h"
#include "definition.h"
#include "kernels.h"

namespace halve::kernels {
namespace {

void round_f16(const float* x, float* rounded, uint64_t n) noexcept {
  define_rounded_array<RoundToFloat16>(x, rounded, n);
}

void round_bf16(const float* x, float* rounded, uint64_t n) noexcept {
  define_rounded_array<RoundToBFloat16>(x, rounded, n);
}

void compare_one_block(const float* a, const float* b, uint64_t n, uint64_t index, CompareRule rule,
                       CompareTotals* totals) noexcept {
  LaneSums sums;
  define_pairs<Float32, Float32>(reinterpret_cast<const char*>(a), reinterpret_cast<const char*>(b),
                                 n, index, rule, sums, *totals);
  add_block(*totals, sums);
}

}  // namespace

const TwinKernels halve_twin_scalar = {round_f16, round_bf16, compare_one_block, nullptr};

}  // namespace halve::kernels
