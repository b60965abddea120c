// Plain copies of memory: what the cast kernel is measured against.
#pragma once

#include <cstdint>

#include "halve/status.h"

namespace halve {

enum class CopyKind : std::uint8_t {
  kMemcpy = 0,  // the C library's
  kStreaming,   // stores past the caches; the same as kMemcpy where the processor has none
};

// Copies nbytes in equal slices on `threads` threads, the calling one included (0: one a core
// that this process may use). The ranges must not overlap.
//
// kInvalidArgument: a null pointer with nbytes > 0, or an unknown kind.
Status copy_threaded(CopyKind kind, void* dst, const void* src, std::uint64_t nbytes,
                     unsigned threads) noexcept;

}  // namespace halve
