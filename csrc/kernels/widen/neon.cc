// The widening with the vector instructions that every aarch64 has.

#include <arm_neon.h>

#include "definition.h"
#include "kernels.h"

namespace halve::kernels {
namespace {

constexpr uint64_t kLoadElements = 8;

struct Float16Lanes : FromFloat16 {
  static HALVE_INLINE uint32x4_t wide(uint16x4_t x) {
    return vreinterpretq_u32_f32(vcvt_f32_f16(vreinterpret_f16_u16(x)));
  }
};

struct BFloat16Lanes : FromBFloat16 {
  static HALVE_INLINE uint32x4_t wide(uint16x4_t x) { return vshll_n_u16(x, 16); }
};

HALVE_INLINE void store(char* p, uint32x4_t x) {
  vst1q_u8(reinterpret_cast<uint8_t*>(p), vreinterpretq_u8_u32(x));
}

template <class Lanes>
HALVE_INLINE void widen_array(const uint16_t* src, float* dst, uint64_t n) {
  const char* from = reinterpret_cast<const char*>(src);
  char* to = reinterpret_cast<char*>(dst);
  uint64_t i = 0;
  for (; n - i >= kLoadElements; i += kLoadElements) {
    const uint8x16_t bytes = vld1q_u8(reinterpret_cast<const uint8_t*>(from + 2 * i));
    const uint16x8_t x = vreinterpretq_u16_u8(bytes);
    store(to + 4 * i, Lanes::wide(vget_low_u16(x)));
    store(to + 4 * i + 16, Lanes::wide(vget_high_u16(x)));
  }
  widen_elements<Lanes>(from + 2 * i, to + 4 * i, n - i);
}

}  // namespace

void halve_widen_f16_neon(const uint16_t* src, float* dst, uint64_t n) noexcept {
  widen_array<Float16Lanes>(src, dst, n);
}

void halve_widen_bf16_neon(const uint16_t* src, float* dst, uint64_t n) noexcept {
  widen_array<BFloat16Lanes>(src, dst, n);
}

}  // namespace halve::kernels
