// 16-bit values as float32, and float32 values as a 16-bit type holds them.
//
// Widening is exact. A float16 NaN keeps its sign and payload and gets the quiet bit; a bfloat16
// NaN keeps every bit. Results are the same bits for every backend and number of threads, whatever
// mode the calling thread is in.
#pragma once

#include <cstdint>

#include "halve/backend.h"
#include "halve/cast.h"
#include "halve/status.h"

namespace halve {

// Widens n elements on up to `threads` threads, the calling one included (0: one a core that this
// process may use). `src` and `dst` may be misaligned but must not overlap; they may be null where
// n is 0.
//
// kInvalidArgument: a null pointer or an unknown type. kUnsupportedBackend: a backend that is not
// usable here. In both cases `dst` was not touched.
Status widen_threaded(Backend backend, HalfType type, const std::uint16_t* src, float* dst,
                      std::uint64_t n, unsigned threads) noexcept;

// Casts n elements (halve/cast.h) and widens the results, in one pass over memory; counts are added
// to `counts`. `dst` may be `src`, but must not overlap it otherwise. Errors as of cast_threaded.
Status cast_and_widen_threaded(Backend backend, HalfType type, const float* src, float* dst,
                               std::uint64_t n, CastBounds bounds, CastCounts& counts,
                               unsigned threads) noexcept;

}  // namespace halve
