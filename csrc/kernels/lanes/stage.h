// A group's elements as float32 in memory. Loads that widen float32 to float64 on their way cost
// half of widening a register, so 16-bit values take a turn through the nearest cache.
#pragma once

#include "widen.h"

namespace halve::kernels {
namespace {

constexpr uint64_t kGroupElements = 256;  // takes a fast path or is left to the definition
constexpr uint64_t kStrideElements = 32;  // whole cache lines of every type
constexpr uint64_t kLineBytes = 64;
// One page ahead, because the processor's own prefetching stops at the end of a page. Reaching
// past the array is harmless: a prefetch never faults.
constexpr uint64_t kPrefetchBytes = 4096;

// Room for a group.
struct Stage {
  alignas(64) float values[kGroupElements];
};

// Values of T as they are read: where they are, or widened to float32, which holds them all.
template <class T, bool kIsHalf = T::kBytes == 2>
struct Staged : T {};

template <class T>
struct Staged<T, true> : Float32 {
  static constexpr double kMinNormal = T::kMinNormal;
};

// Where the group at `p` is as Staged<T>: there, or in `stage` once its strides are.
template <class T>
HALVE_INLINE const char* staged(const char* p, const Stage& stage) {
  if constexpr (T::kBytes != 2) return p;
  return reinterpret_cast<const char*>(stage.values);
}

// Brings the stride at element i of the group at `p` into `stage` where need be, and fetches what
// lies `ahead` of it.
template <class V, class T>
HALVE_INLINE void stage_stride(const char* p, uint64_t i, Stage& stage,
                               uint64_t ahead = kPrefetchBytes) {
  const char* at = p + T::kBytes * i;
  for (uint64_t line = 0; line < T::kBytes * kStrideElements; line += kLineBytes) {
    V::prefetch(at + line + ahead);
  }
  if constexpr (T::kBytes == 2) {
    V::store(stage.values + i, V::load_float(T{}, at));
    V::store(stage.values + i + 16, V::load_float(T{}, at + 32));
  }
}

}  // namespace
}  // namespace halve::kernels
