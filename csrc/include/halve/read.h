// Plain reads of memory: what the comparison and the statistics are measured against.
#pragma once

#include <cstdint>

namespace halve {

// The exclusive or of the 8-byte words of nbytes at `p`, of any alignment; the bytes after the last
// whole word are left out. One thread; `p` may be null where nbytes is 0.
std::uint64_t xor_words(const void* p, std::uint64_t nbytes) noexcept;

}  // namespace halve
