// Work that goes through a few lanes in turn, so that one lane's transfers overlap with another's.
// No CUDA headers: tested without a device.
#pragma once

#include <cstddef>
#include <cstdint>

namespace halve::cuda {

// Calls lane.start(begin, count) for every piece of at most `piece` of n elements, each on the next
// lane, and lane.finish() before the lane is started again and at the end, in the order of the
// pieces. `lanes` is a container of at least one. An exception leaves at once: lanes that were
// started wait for their own work when they are destroyed.
template <class Lanes>
void run_pipeline(std::uint64_t n, std::uint64_t piece, Lanes& lanes) {
  const std::size_t count = lanes.size();
  const std::uint64_t pieces = n / piece + (n % piece != 0);
  for (std::uint64_t i = 0; i < pieces + count; ++i) {
    auto& lane = lanes[i % count];
    if (i >= count && i - count < pieces) lane.finish();
    if (i < pieces) {
      const std::uint64_t begin = i * piece;
      lane.start(begin, n - begin < piece ? n - begin : piece);
    }
  }
}

}  // namespace halve::cuda
