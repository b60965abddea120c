// The vector widening, written once over the lanes of one instruction set.
//
// Included once by each vector kernel: everything here has internal linkage, because it is
// compiled with that kernel's instruction set.
#pragma once

#include "../lanes/widen.h"
#include "definition.h"
#include "kernels.h"

namespace halve::kernels {
namespace {

constexpr uint64_t kLoadElements = 16;
constexpr uint64_t kStrideElements = 2 * kLoadElements;  // a cache line of what is read
// One page ahead, because the processor's own prefetching stops at the end of a page. Reaching
// past the array is harmless: a prefetch never faults.
constexpr uint64_t kPrefetchBytes = 4096;

template <class V, class T, class Half>
HALVE_INLINE void widen_array(const uint16_t* src, float* dst, uint64_t n) {
  const char* from = reinterpret_cast<const char*>(src);
  char* to = reinterpret_cast<char*>(dst);
  uint64_t i = 0;
  for (; n - i >= kStrideElements; i += kStrideElements) {
    const char* at = from + 2 * i;
    V::prefetch(at + kPrefetchBytes);
    float* out = reinterpret_cast<float*>(to + 4 * i);
    V::store(out, V::load_float(T{}, at));
    V::store(out + kLoadElements, V::load_float(T{}, at + 2 * kLoadElements));
  }
  widen_elements<Half>(from + 2 * i, to + 4 * i, n - i);
}

}  // namespace
}  // namespace halve::kernels
