// The cast as its definition reads, one element at a time. Every other backend equals this one.

#include <string.h>

#include "definition.h"
#include "kernels.h"

namespace halve::kernels {
namespace {

template <class Half>
void cast_all(const float* src, uint16_t* dst, uint64_t n, CastBounds bounds, CastCounts* total) {
  CastCounts counts = *total;  // a local copy, which dst cannot alias
  const char* from = reinterpret_cast<const char*>(src);
  char* to = reinterpret_cast<char*>(dst);
  for (uint64_t i = 0; i < n; ++i) {
    uint32_t x;
    memcpy(&x, from + 4 * i, sizeof x);
    const uint32_t sign = (x & kSignBit) >> 16;
    const uint32_t half = cast_magnitude<Half>(x & ~kSignBit, bounds, counts);
    const uint16_t result = static_cast<uint16_t>(sign | half);
    memcpy(to + 2 * i, &result, sizeof result);
  }
  counts.elements += n;
  *total = counts;
}

}  // namespace

void halve_cast_f32_f16_scalar(const float* src, uint16_t* dst, uint64_t n, CastBounds bounds,
                               bool /*streaming*/, CastCounts* counts) noexcept {
  cast_all<ToFloat16>(src, dst, n, bounds, counts);
}

void halve_cast_f32_bf16_scalar(const float* src, uint16_t* dst, uint64_t n, CastBounds bounds,
                                bool /*streaming*/, CastCounts* counts) noexcept {
  cast_all<ToBFloat16>(src, dst, n, bounds, counts);
}

}  // namespace halve::kernels
