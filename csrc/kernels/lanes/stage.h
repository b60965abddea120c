// A group's elements as float32 in memory. Loads that widen float32 to float64 on their way cost half
// of widening a register, so 16-bit values take a turn through the nearest cache.
#pragma once

#include "widen.h"

namespace halve::kernels {
namespace {

constexpr uint64_t kGroupElements = 128;  // takes a fast path or is left to the definition
constexpr uint64_t kLineBytes = 64;
// One page ahead, because the processor's own prefetching stops at the end of a page. Reaching
// past the array is harmless: a prefetch never faults.
constexpr uint64_t kPrefetchBytes = 4096;

// Room for a group.
struct Stage {
  alignas(64) float values[kGroupElements];
};

// Values of T that have been widened to float32, which holds them all.
template <class T>
struct Staged : Float32 {
  static constexpr double kMinNormal = T::kMinNormal;
};

template <>
struct Staged<Float64> : Float64 {};

// Where the group at `p` is as Staged<T>: there, or widened in `stage`.
template <class V, class T>
HALVE_INLINE const char* staged(T, const char* p, Stage& stage) {
  constexpr uint64_t kStep = 16;
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 1
#endif
  for (uint64_t i = 0; i < kGroupElements; i += 2 * kStep) {
    const char* at = p + T::kBytes * i;
    V::prefetch(at + kPrefetchBytes);
    V::store(stage.values + i, V::load_float(T{}, at));
    V::store(stage.values + i + kStep, V::load_float(T{}, at + T::kBytes * kStep));
  }
  return reinterpret_cast<const char*>(stage.values);
}

template <class V>
HALVE_INLINE const char* staged(Float32, const char* p, Stage& /*stage*/) {
  return p;
}

template <class V>
HALVE_INLINE const char* staged(Float64, const char* p, Stage& /*stage*/) {
  return p;
}

}  // namespace
}  // namespace halve::kernels
