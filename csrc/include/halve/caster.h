// A cast that somebody else carries out: how the stream's casts reach a device without knowing of
// it.
#pragma once

#include <cstdint>

#include "halve/cast.h"
#include "halve/status.h"

namespace halve {

// Like halve::cast, for arrays of any alignment; called from several threads at a time. A status
// other than kOk ends the stream; `state`'s owner knows why.
struct Caster {
  Status (*cast)(void* state, HalfType type, const void* src, void* dst, std::uint64_t n,
                 CastBounds bounds, CastCounts& counts) noexcept;
  void* state;
  std::uint64_t elements;  // at a time: more would not be faster
};

// The name of a Python capsule that holds one.
inline constexpr const char* kCasterName = "halve.Caster";

}  // namespace halve
