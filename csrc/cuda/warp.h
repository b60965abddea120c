// What the threads of a warp tell each other. For the device only.
#pragma once

#include "cuda/vector.h"

namespace halve::cuda {
namespace {

inline constexpr unsigned kWholeWarp = 0xFFFFFFFFU;

// The value of the thread whose number differs in the bits of `mask`.
template <class T>
__device__ __forceinline__ T from_other(const T& value, unsigned mask) {
  constexpr unsigned kWords = (sizeof(T) + 3) / 4;
  uint32_t words[kWords] = {};
  memcpy(words, &value, sizeof value);
  HALVE_UNROLL_ALL
  for (unsigned i = 0; i < kWords; ++i) words[i] = __shfl_xor_sync(kWholeWarp, words[i], mask);
  T result;
  memcpy(&result, words, sizeof result);
  return result;
}

// All threads' values, joined by combine(total, part) in any order, in every thread.
template <class T, class Combine>
__device__ __forceinline__ T combine_warp(T value, const Combine& combine) {
  for (unsigned mask = 16; mask > 0; mask /= 2) {
    const T other = from_other(value, mask);
    combine(value, other);
  }
  return value;
}

}  // namespace
}  // namespace halve::cuda
