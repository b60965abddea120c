// The order in which sums over an array are formed: one tree for every backend and any number of
// threads, so that the bits of a sum depend on nothing but the array.
//
// Element i belongs to lane i % kSumLanes of block i / kBlockElements. A lane adds its elements in
// order, from 0. A block's lanes are added as a tree: lane k and k + 4, then k and k + 2, then
// the two that are left. A chunk of chunk_elements(n) elements adds its blocks in order, the
// array its chunks in order. Every product and every sum is rounded to float64 by itself.
//
// For terms t_i the error is at most (kBlockElements / kSumLanes + 3 + blocks a chunk + chunks + 1)
// * 2^-53 * sum |t_i|, to first order, the rounding of each term included.
#pragma once

#include <cstdint>

namespace halve {

inline constexpr std::uint64_t kSumLanes = 8;
inline constexpr std::uint64_t kBlockElements = 4096;
inline constexpr std::uint64_t kMaxChunks = 512;

// Elements of a chunk, a thread's unit of work: whole blocks, at most kMaxChunks of them.
constexpr std::uint64_t chunk_elements(std::uint64_t n) noexcept {
  constexpr std::uint64_t kLeast = 1U << 18;
  const std::uint64_t share = n / kMaxChunks + (n % kMaxChunks != 0);
  const std::uint64_t blocks = share / kBlockElements + (share % kBlockElements != 0);
  return blocks * kBlockElements > kLeast ? blocks * kBlockElements : kLeast;
}

}  // namespace halve
