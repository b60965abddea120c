// Runs a reduction over an array: chunks on threads, results joined in the order of the array.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

#include "float_modes.h"
#include "halve/reduce.h"
#include "threads.h"

namespace halve {

// Calls reduce(begin, count, part) for every chunk of n elements on up to `threads` threads (0:
// one a usable core), then join(part) in order on the calling thread. There is no allocation:
// chunk_elements keeps the number of parts bounded.
template <class Part, class Reduce, class Join>
void reduce_chunks(std::uint64_t n, unsigned threads, const Reduce& reduce,
                   const Join& join) noexcept {
  const std::uint64_t length = chunk_elements(n);
  const std::uint64_t chunks = n / length + (n % length != 0);
  std::array<Part, kMaxChunks> parts;
  std::atomic<std::uint64_t> next{0};
  const auto work = [&]() noexcept {
    const DefaultFloatModes modes;
    for (std::uint64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < chunks;) {
      reduce(i * length, std::min(length, n - i * length), parts[i]);
    }
  };
  const unsigned wanted = threads != 0 ? threads : usable_cores();
  const auto count = std::min<std::uint64_t>({wanted, chunks, kMaxThreads});
  run_on_threads(static_cast<unsigned>(count), work);
  const DefaultFloatModes modes;
  for (std::uint64_t i = 0; i < chunks; ++i) join(parts[i]);
}

}  // namespace halve
