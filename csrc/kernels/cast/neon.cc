// The cast with the vector instructions that every aarch64 has.

#include <arm_neon.h>

#include "body.h"

namespace halve::kernels {
namespace {

struct Neon {
  using F = float32x4_t;
  using I = int32x4_t;
  using M = uint32x4_t;  // all ones in the lanes that hold
  using H = uint16x4_t;
  static constexpr int kLanes = 4;

  static HALVE_INLINE F load(const char* p) {
    return vreinterpretq_f32_u8(vld1q_u8(reinterpret_cast<const uint8_t*>(p)));
  }
  static HALVE_INLINE void prefetch(const char* p) { __builtin_prefetch(p); }
  static HALVE_INLINE I bits(F x) { return vreinterpretq_s32_f32(x); }
  static HALVE_INLINE F floats(I x) { return vreinterpretq_f32_s32(x); }
  static HALVE_INLINE I set(int32_t x) { return vdupq_n_s32(x); }
  static HALVE_INLINE F setf(float x) { return vdupq_n_f32(x); }
  static HALVE_INLINE I and_(I a, I b) { return vandq_s32(a, b); }
  static HALVE_INLINE I or_(I a, I b) { return vorrq_s32(a, b); }
  static HALVE_INLINE I xor_(I a, I b) { return veorq_s32(a, b); }
  static HALVE_INLINE I add(I a, I b) { return vaddq_s32(a, b); }
  static HALVE_INLINE I min(I a, I b) { return vminq_s32(a, b); }
  static HALVE_INLINE I max(I a, I b) { return vmaxq_s32(a, b); }
  template <int kBits>
  static HALVE_INLINE I shift_right(I x) {
    return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(x), kBits));
  }
  static HALVE_INLINE M less(I a, I b) { return vcltq_s32(a, b); }
  static HALVE_INLINE M greater_zero(F x) { return vcgtq_f32(x, vdupq_n_f32(0.0F)); }
  static HALVE_INLINE M or_m(M a, M b) { return vorrq_u32(a, b); }
  static HALVE_INLINE bool any(M m) { return vmaxvq_u32(m) != 0; }
  static HALVE_INLINE I select(M m, I yes, I no) { return vbslq_s32(m, yes, no); }
  static HALVE_INLINE I count(I counts, M m) { return vsubq_s32(counts, vreinterpretq_s32_u32(m)); }
  static HALVE_INLINE F sub(F a, F b) { return vsubq_f32(a, b); }
  static HALVE_INLINE F mul(F a, F b) { return vmulq_f32(a, b); }
  static HALVE_INLINE F div(F a, F b) { return vdivq_f32(a, b); }
  // The operand that is a number where the other is NaN.
  static HALVE_INLINE F maxf(F a, F b) { return vmaxnmq_f32(a, b); }
  static HALVE_INLINE F minus_product(F c, F a, F b) { return vfmsq_f32(c, a, b); }
  static HALVE_INLINE H to_half(F x) { return vreinterpret_u16_f16(vcvt_f16_f32(x)); }
  static HALVE_INLINE F from_half(H x) { return vcvt_f32_f16(vreinterpret_f16_u16(x)); }
  static HALVE_INLINE uint16x8_t join(H a, H b) { return vcombine_u16(a, b); }
  // The upper halves of the lanes of a, then of b.
  static HALVE_INLINE uint16x8_t join(I a, I b) {
    return vuzp2q_u16(vreinterpretq_u16_s32(a), vreinterpretq_u16_s32(b));
  }
  template <bool kStream>
  static HALVE_INLINE void store(char* p, uint16x8_t x) {
    vst1q_u8(reinterpret_cast<uint8_t*>(p), vreinterpretq_u8_u16(x));
  }
  static HALVE_INLINE void finish_streaming() {}
};

}  // namespace

void halve_cast_f32_f16_neon(const float* src, uint16_t* dst, uint64_t n, CastBounds bounds,
                             bool streaming, CastCounts* counts) noexcept {
  cast_array<Neon, Float16Rounding>(src, dst, n, bounds, streaming, counts);
}

void halve_cast_f32_bf16_neon(const float* src, uint16_t* dst, uint64_t n, CastBounds bounds,
                              bool streaming, CastCounts* counts) noexcept {
  cast_array<Neon, BFloat16Rounding>(src, dst, n, bounds, streaming, counts);
}

}  // namespace halve::kernels
