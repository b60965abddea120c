// What a native function reports besides its result: a value, never an exception.
#pragma once

#include <cstdint>

namespace halve {

enum class [[nodiscard]] Status : std::uint8_t {
  kOk = 0,
  kInvalidArgument,     // a null pointer, a negative bound, an unknown type
  kUnsupportedBackend,  // a backend that this machine or build does not have
  kDeviceFailed,        // a device that somebody casts with
};

}  // namespace halve
