// Rounding float32 values to a 16-bit type and back, without bounds or counts.
#pragma once

#include <cstdint>

#include "halve/backend.h"
#include "halve/cast.h"
#include "halve/status.h"

namespace halve {

// Every result is the one of the cast (halve/cast.h) without bounds, widened again. `src` and `dst`
// may be one array, and null where n is 0. On up to `threads` threads, the calling one included (0:
// one a core that this process may use).
//
// kInvalidArgument: a null pointer or an unknown type; kUnsupportedBackend: not usable here.
Status round_threaded(Backend backend, HalfType type, const float* src, float* dst, std::uint64_t n,
                      unsigned threads) noexcept;

}  // namespace halve
