// Runs a reduction over an array: chunks on threads, results joined in the order of the array.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "float_modes.h"
#include "halve/reduce.h"
#include "threads.h"

namespace halve {

// Room for a part, made only where a chunk is done: most arrays have one, and room for hundreds.
template <class Part>
union ChunkSlot {
  ChunkSlot() noexcept {}
  Part part;
};

// Calls reduce(begin, count, part) for every chunk of n elements on up to `threads` threads (0:
// one a usable core), then join(part) in order on the calling thread. Every thread has a copy of
// `reduce`, which sees its chunks in order and may keep what it has seen. There is no allocation:
// chunk_elements keeps the number of parts bounded.
template <class Part, class Reduce, class Join>
void reduce_chunks(std::uint64_t n, unsigned threads, const Reduce& reduce,
                   const Join& join) noexcept {
  static_assert(std::is_trivially_destructible_v<Part>);
  const std::uint64_t length = chunk_elements(n);
  const std::uint64_t chunks = n / length + (n % length != 0);
  std::array<ChunkSlot<Part>, kMaxChunks> slots;
  std::atomic<std::uint64_t> next{0};
  const auto work = [&]() noexcept {
    const DefaultFloatModes modes;
    Reduce mine = reduce;
    for (std::uint64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < chunks;) {
      mine(i * length, std::min(length, n - i * length), *std::construct_at(&slots[i].part));
    }
  };
  const unsigned wanted = threads != 0 ? threads : usable_cores();
  const auto count = std::min<std::uint64_t>({wanted, chunks, kMaxThreads});
  run_on_threads(static_cast<unsigned>(count), work);
  const DefaultFloatModes modes;
  for (std::uint64_t i = 0; i < chunks; ++i) join(slots[i].part);
}

}  // namespace halve
