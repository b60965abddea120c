// Which instruction sets this build has kernels for, which of them run here, and which is chosen.
#pragma once

#include <cstdint>

#include "halve/status.h"

namespace halve {

enum class Backend : std::uint8_t { kScalar = 0, kAvx2, kAvx512, kNeon };

inline constexpr int kBackendCount = 4;

// The name that HALVE_FORCE_BACKEND takes: "scalar", "avx2", "avx512" or "neon".
const char* backend_name(Backend backend) noexcept;

// Whether this build contains the backend's kernels.
bool backend_compiled(Backend backend) noexcept;

// Whether they can run: compiled in, known to the processor, registers saved by the system.
bool backend_usable(Backend backend) noexcept;

// The backend that casts use: the fastest usable one, or what the environment variable
// HALVE_FORCE_BACKEND names. The variable is read once, at the first call; empty counts as unset.
//
// kUnsupportedBackend: the variable names a backend that is unknown or not usable.
Status chosen_backend(Backend& backend) noexcept;

// The value of HALVE_FORCE_BACKEND as it was read, or nullptr where it is unset.
const char* forced_backend_name() noexcept;

}  // namespace halve
