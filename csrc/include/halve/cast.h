// The cast contract: float32 to float16 or bfloat16 with bounds and counts.
//
// For every element x, in this order (all comparisons in float32, subnormals never taken as 0):
//   1. NaN stays NaN: sign and top payload bits kept, the quiet bit set. +-inf and +-0 stay.
//   2. 0 < |x| < min_positive becomes +-min_positive (raised); finite |x| > max_finite becomes
//      +-max_finite (lowered). min_positive 0 and max_finite +inf switch a bound off.
//   3. The bounded value is rounded to nearest, ties to even; subnormal results are kept, and
//      what lies beyond the type's range becomes +-inf.
//
// Result and counts are the same bits for every backend, number of threads and store policy,
// whatever rounding or flush-to-zero mode the calling thread is in.
#pragma once

#include <cstdint>

#include "halve/backend.h"
#include "halve/status.h"

namespace halve {

enum class HalfType : std::uint8_t { kFloat16 = 0, kBFloat16 = 1 };

struct CastBounds {
  float min_positive;  // finite, >= 0 and <= max_finite; 0 means off
  float max_finite;    // > 0; +inf means off
};

// Integer counts and maxima: merging parts in any order gives the same result.
struct CastCounts {
  std::uint64_t elements = 0;
  std::uint64_t raised = 0;     // 0 < |x| < min_positive
  std::uint64_t lowered = 0;    // |x| finite and > max_finite
  std::uint64_t flushed = 0;    // bounded value not 0, result 0
  std::uint64_t subnormal = 0;  // result a nonzero subnormal of the target type
  std::uint64_t overflow = 0;   // bounded value finite, result infinite
  std::uint64_t nan = 0;        // x is NaN
  std::uint64_t inf = 0;        // x is +-inf
  float max_abs = 0.0F;         // max |x| over finite x; 0 where there is none
  float max_abs_error = 0.0F;   // max |result - x| over finite x with finite result, in float32
  float max_rel_error = 0.0F;   // max of that error / |x|, x != 0, in float32; may be +inf
};

// Where results are meant to lie afterwards. Only speed depends on it.
enum class StorePolicy : std::uint8_t {
  kAutomatic = 0,  // streaming for a result too large for the caches, else cached
  kCached,         // ordinary stores: somebody reads the result soon
  kStreaming,      // past the caches, where dst is aligned to 2 bytes and the backend can
};

// Adds `part` to `total`; commutative and associative.
void merge(CastCounts& total, const CastCounts& part) noexcept;

// Casts n elements with the best (or the forced) backend on the calling thread. `src` and `dst`
// may be misaligned to 4 and 2 bytes but must not overlap; they may be null where n is 0. Counts
// are added to `counts`.
//
// kInvalidArgument: a null pointer, an unknown type, or bounds outside the ranges above.
// kUnsupportedBackend: HALVE_FORCE_BACKEND names a backend that is unknown or not usable here.
// In both cases neither `dst` nor `counts` was touched.
Status cast(HalfType type, const float* src, std::uint16_t* dst, std::uint64_t n, CastBounds bounds,
            CastCounts& counts, StorePolicy policy = StorePolicy::kAutomatic) noexcept;

// The same with a backend chosen by the caller; HALVE_FORCE_BACKEND is not looked at.
Status cast_with(Backend backend, HalfType type, const float* src, std::uint16_t* dst,
                 std::uint64_t n, CastBounds bounds, CastCounts& counts,
                 StorePolicy policy = StorePolicy::kAutomatic) noexcept;

// The same as cast_with on up to `threads` threads, the calling one included (0: one a core that
// this process may use). Threads that cannot be started are done without.
Status cast_threaded(Backend backend, HalfType type, const float* src, std::uint16_t* dst,
                     std::uint64_t n, CastBounds bounds, CastCounts& counts, unsigned threads,
                     StorePolicy policy = StorePolicy::kAutomatic) noexcept;

}  // namespace halve
