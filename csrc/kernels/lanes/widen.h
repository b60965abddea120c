// Element types and how one element of each is widened to float64; everything is internal,
// because it is compiled once an instruction set.
#pragma once

#include <stdint.h>
#include <string.h>

#include "../inline.h"

// Unrolls the loop that follows, so that what depends on its counter is decided by the compiler.
#if defined(__clang__)
#define HALVE_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define HALVE_UNROLL _Pragma("GCC unroll 4")
#else
#define HALVE_UNROLL
#endif

namespace halve::kernels {
namespace {

template <class T>
HALVE_INLINE T read_as(const char* p) {
  T value;
  memcpy(&value, p, sizeof value);
  return value;
}

HALVE_INLINE double double_of(uint64_t bits) {
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

constexpr uint64_t kInfinityBits = 0x7FF0000000000000;
constexpr uint64_t kLargestBits = 0x7FEFFFFFFFFFFFFF;  // of finite numbers

HALVE_INLINE double magnitude(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return double_of(bits & 0x7FFFFFFFFFFFFFFF);
}

// Products of two values are exact in float64 where kExact holds for both.
struct Float32 {
  static constexpr uint64_t kBytes = 4;
  static constexpr bool kExact = true;
  static constexpr double kMinNormal = 0x1p-126;
  using Bits = uint32_t;
  static HALVE_INLINE double of(Bits bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
  }
  static HALVE_INLINE double widen(const char* p) { return read_as<float>(p); }
};

struct Float64 {
  static constexpr uint64_t kBytes = 8;
  static constexpr bool kExact = false;
  static constexpr double kMinNormal = 0x1p-1022;
  using Bits = uint64_t;
  static HALVE_INLINE double of(Bits bits) { return double_of(bits); }
  static HALVE_INLINE double widen(const char* p) { return read_as<double>(p); }
};

struct BFloat16 {
  static constexpr uint64_t kBytes = 2;
  static constexpr bool kExact = true;
  static constexpr uint16_t kInfinityWord = 0x7F80;
  static constexpr double kMinNormal = 0x1p-126;
  using Bits = uint16_t;
  static HALVE_INLINE double of(Bits half) {
    const uint32_t bits = static_cast<uint32_t>(half) << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
  }
  static HALVE_INLINE double widen(const char* p) { return of(read_as<Bits>(p)); }
};

struct Float16 {
  static constexpr uint64_t kBytes = 2;
  static constexpr bool kExact = true;
  static constexpr uint16_t kInfinityWord = 0x7C00;
  static constexpr double kMinNormal = 0x1p-14;
  using Bits = uint16_t;
  static HALVE_INLINE double of(Bits half) {
#if defined(__CUDA_ARCH__)
    double value;  // the same value; a NaN is a NaN
    asm("cvt.f64.f16 %0, %1;" : "=d"(value) : "h"(half));
    return value;
#else
    const uint64_t bits = half;
    const uint64_t sign = (bits & 0x8000) << 48;
    const uint64_t size = bits & 0x7FFF;
    if (size >= 0x7C00) return double_of(sign | kInfinityBits | (size << 42));
    if (size >= 0x0400) return double_of(sign | ((size << 42) + (uint64_t{1008} << 52)));
    const double value = static_cast<double>(static_cast<int32_t>(size)) * 0x1p-24;
    return sign != 0 ? -value : value;
#endif
  }
  static HALVE_INLINE double widen(const char* p) { return of(read_as<Bits>(p)); }
};

}  // namespace
}  // namespace halve::kernels
