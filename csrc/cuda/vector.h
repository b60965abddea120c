// Sixteen bytes in one access, and what else a kernel does with memory that the host's tests of the
// same code do with plain loads and stores.
#pragma once

#include <stdint.h>
#include <string.h>

#include "kernels/inline.h"

#if defined(__CUDACC__)
#include <vector_types.h>
// Unrolls the loop that follows, so that arrays it indexes stay in registers.
#define HALVE_UNROLL_ALL _Pragma("unroll")
#define HALVE_UNROLL_8 _Pragma("unroll 8")
#define HALVE_UNROLL_16 _Pragma("unroll 16")
#define HALVE_UNROLL_NOT _Pragma("unroll 1")
#else
#define HALVE_UNROLL_ALL
#define HALVE_UNROLL_8
#define HALVE_UNROLL_16
#define HALVE_UNROLL_NOT
#endif

namespace halve::cuda {
namespace {

inline constexpr uint64_t kVectorBytes = 16;

#if defined(__CUDACC__)
using Vector = uint4;
#else
struct alignas(16) Vector {
  uint32_t x, y, z, w;
};
#endif

HALVE_INLINE uint64_t address_of(const void* p) { return reinterpret_cast<uintptr_t>(p); }

HALVE_INLINE Vector vector_of(uint64_t low, uint64_t high) {
  return Vector{static_cast<uint32_t>(low), static_cast<uint32_t>(low >> 32),
                static_cast<uint32_t>(high), static_cast<uint32_t>(high >> 32)};
}

// `p` is a multiple of 16. Past the nearest cache: what is read here is read once.
HALVE_INLINE Vector load_once(const char* p) {
#if defined(__CUDA_ARCH__)
  return __ldcs(reinterpret_cast<const Vector*>(p));
#else
  Vector v;
  memcpy(&v, p, sizeof v);
  return v;
#endif
}

HALVE_INLINE void store_vector(char* p, Vector v) {
#if defined(__CUDA_ARCH__)
  *reinterpret_cast<Vector*>(p) = v;
#else
  memcpy(p, &v, sizeof v);
#endif
}

// `p` is a multiple of the size of T.
template <class T>
HALVE_INLINE T load_aligned(const char* p) {
  T value;
  memcpy(&value, HALVE_ALIGNED(p, sizeof(T)), sizeof value);
  return value;
}

template <class T>
HALVE_INLINE void store_aligned(char* p, T value) {
  memcpy(HALVE_ALIGNED(p, sizeof(T)), &value, sizeof value);
}

// The 16 bytes at `p`, a multiple of 16, where only [begin, end) may be read: zeros outside. Both
// ends are multiples of 2.
HALVE_INLINE Vector load_within(const char* p, const char* begin, const char* end) {
  const uint64_t at = address_of(p), first = address_of(begin), last = address_of(end);
  if (at >= first && at + kVectorBytes <= last) return load_once(p);
  uint64_t low = 0, high = 0;
  HALVE_UNROLL_NOT
  for (uint32_t i = 0; i < kVectorBytes; i += 2) {
    if (at + i < first || at + i + 2 > last) continue;
    const uint64_t piece = load_aligned<uint16_t>(p + i);
    (i < sizeof low ? low : high) |= piece << (8 * (i % sizeof low));
  }
  return vector_of(low, high);
}

// What another thread block wrote in the same launch: not from a cache that may be older.
template <class T>
HALVE_INLINE T load_fresh(const T* p) {
#if defined(__CUDA_ARCH__)
  static_assert(sizeof(T) % sizeof(uint64_t) == 0);
  T value;
  uint64_t words[sizeof(T) / sizeof(uint64_t)];
  const auto* from = reinterpret_cast<const unsigned long long*>(p);
  for (unsigned i = 0; i < sizeof(T) / sizeof(uint64_t); ++i) words[i] = __ldcg(from + i);
  memcpy(&value, words, sizeof value);
  return value;
#else
  return *p;
#endif
}

HALVE_INLINE void add_shared(uint64_t* total, uint64_t part) {
  if (part == 0) return;
#if defined(__CUDA_ARCH__)
  atomicAdd(reinterpret_cast<unsigned long long*>(total), static_cast<unsigned long long>(part));
#else
  *total += part;
#endif
}

HALVE_INLINE void raise_shared(uint32_t* most, uint32_t part) {
  if (part == 0) return;
#if defined(__CUDA_ARCH__)
  atomicMax(most, part);
#else
  *most = part > *most ? part : *most;
#endif
}

}  // namespace
}  // namespace halve::cuda
