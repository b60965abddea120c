#include "cpu_features.h"

#include <cstdint>

#if defined(__x86_64__) || defined(_M_X64)
#define HALVE_X86_64 1
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

namespace halve {
namespace {

#ifdef HALVE_X86_64

struct CpuidLeaf {
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// All zero where the processor does not have the leaf.
CpuidLeaf cpuid(std::uint32_t leaf) noexcept {
  CpuidLeaf r;
#if defined(_MSC_VER) && !defined(__clang__)
  int regs[4];
  __cpuid(regs, 0);
  if (static_cast<std::uint32_t>(regs[0]) < leaf) return r;
  __cpuidex(regs, static_cast<int>(leaf), 0);
  r = {static_cast<std::uint32_t>(regs[0]), static_cast<std::uint32_t>(regs[1]),
       static_cast<std::uint32_t>(regs[2]), static_cast<std::uint32_t>(regs[3])};
#else
  if (!__get_cpuid_count(leaf, 0, &r.eax, &r.ebx, &r.ecx, &r.edx)) return {};
#endif
  return r;
}

// The register sets that the system saves (XCR0). Only legal where CPUID reports OSXSAVE.
std::uint64_t saved_state() noexcept {
#if defined(_MSC_VER) && !defined(__clang__)
  return _xgetbv(0);
#else
  std::uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
#endif
}

constexpr bool has_all(std::uint64_t value, std::uint64_t bits) { return (value & bits) == bits; }

constexpr std::uint32_t bit(int index) { return std::uint32_t{1} << index; }

CpuFeatures detect() noexcept {
  constexpr std::uint32_t kFma = bit(12), kOsxsave = bit(27), kAvx = bit(28), kF16c = bit(29);
  constexpr std::uint32_t kAvx2 = bit(5);
  constexpr std::uint32_t kAvx512 = bit(16) | bit(17) | bit(30) | bit(31);  // F, DQ, BW, VL
  constexpr std::uint64_t kYmmState = 0x06;                                 // SSE, AVX
  constexpr std::uint64_t kZmmState = 0xE6;  // and masks, upper halves, registers 16 to 31
  CpuFeatures features;
  const CpuidLeaf basic = cpuid(1);
  if (!has_all(basic.ecx, kOsxsave | kAvx)) return features;
  const std::uint64_t saved = saved_state();
  const std::uint32_t extended = cpuid(7).ebx;
  features.avx2_f16c_fma =
      has_all(basic.ecx, kFma | kF16c) && has_all(extended, kAvx2) && has_all(saved, kYmmState);
  features.avx512 =
      features.avx2_f16c_fma && has_all(extended, kAvx512) && has_all(saved, kZmmState);
  return features;
}

#else

CpuFeatures detect() noexcept {
  CpuFeatures features;
#if defined(__aarch64__) || defined(_M_ARM64)
  features.neon = true;
#endif
  return features;
}

#endif

}  // namespace

const CpuFeatures& cpu_features() noexcept {
  static const CpuFeatures features = detect();
  return features;
}

}  // namespace halve
