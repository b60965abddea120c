// The vector form of the fused pass.
#pragma once

#include "fused.h"

namespace halve::kernels {
namespace {

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

// Sixteen elements at a time, and what is left by the definition.
template <class V, class R>
void round_array(const float* x, float* rounded, uint64_t n) noexcept {
  uint64_t i = 0;
  for (; i + kFusedStep <= n; i += kFusedStep) {
    const auto value = V::load_float(Float32{}, reinterpret_cast<const char*>(x + i));
    V::store(rounded + i, R::many(value));
  }
  for (; i < n; ++i) rounded[i] = R::one(x[i]);
}

}  // namespace
}  // namespace halve::kernels
