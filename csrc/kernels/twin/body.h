// The vector form of the fused pass; it is the comparison's own, block by block (README.md).
#pragma once

#include "../compare/body.h"
#include "definition.h"
#include "kernels.h"

namespace halve::kernels {
namespace {

void round_bf16(const float* x, float* rounded, uint64_t n) noexcept {
  for (uint64_t i = 0; i < n; ++i) rounded[i] = round_to_bfloat16(x[i]);
}

template <class V>
void compare_one_block(const float* a, const float* b, uint64_t n, uint64_t index, CompareRule rule,
                       CompareTotals* totals) noexcept {
  Limits<V> limits(rule, *totals);
  typename V::C mismatches = V::no_count();
  compare_block<V, Float32, Float32>(reinterpret_cast<const char*>(a),
                                     reinterpret_cast<const char*>(b), n, index, rule, limits,
                                     mismatches, *totals);
  uint64_t lanes[kSumLanes];
  V::store_counts(lanes, mismatches);
  for (const uint64_t count : lanes) totals->mismatches += count;
}

}  // namespace
}  // namespace halve::kernels
