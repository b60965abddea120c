// The cast contract of halve/cast.h on arrays in a device's memory, and through it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cuda/plan.h"
#include "halve/cast.h"

namespace halve::cuda {

class Context;

// Casts every item in one launch on the context's stream and returns the counts, one an item, when
// that stream has done all work so far. Bytes and counts are those of every other backend.
//
// Throws std::invalid_argument as plan_cast and check_bounds do, and CudaError; what `dst` holds
// after a CudaError is undefined.
[[nodiscard]] std::vector<CastCounts> cast(Context& context, HalfType type,
                                           const std::vector<CastItem>& items, CastBounds bounds);

// Casts up to `most` elements of host memory, of any alignment, at a time: by pinned buffers, there
// and back on a stream of its own.
class HostCast {
 public:
  // Throws CudaError.
  HostCast(int device, std::uint64_t most);
  ~HostCast();
  HostCast(const HostCast&) = delete;
  HostCast& operator=(const HostCast&) = delete;

  // Throws as `cast` does, and std::invalid_argument for more than `most` elements.
  [[nodiscard]] CastCounts run(HalfType type, const void* src, void* dst, std::uint64_t n,
                               CastBounds bounds);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Casts n elements from host memory to host memory, of any alignment, by way of the device: pieces
// of `piece` elements go through pinned buffers, two at a time, so that the copies in, the kernel
// and the copies out overlap. Memory for two pieces, on the device and pinned, is all that it
// takes; the context keeps it for the next call.
[[nodiscard]] CastCounts cast_through(Context& context, HalfType type, const void* src, void* dst,
                                      std::uint64_t n, CastBounds bounds, std::uint64_t piece);

}  // namespace halve::cuda
