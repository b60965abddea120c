// A device, a stream and the scratch memory of launches on it.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda/buffer.h"
#include "cuda/stream.h"

namespace halve::cuda {

class CastLanes;

// Safe to use from several threads: one launch at a time. A context of its own for each thread
// keeps them from waiting for each other.
class Context {
 public:
  // Throws CudaError where there is no such device.
  explicit Context(int device);

  [[nodiscard]] int device() const noexcept { return device_; }
  [[nodiscard]] cudaStream_t stream() const noexcept { return stream_.get(); }
  [[nodiscard]] int multiprocessors() const noexcept { return multiprocessors_; }

  // Work launched from now on waits for what was put into a producer's stream before (a
  // cudaStream_t as a number; 1 is the legacy default stream, 2 the thread's default stream).
  void follow(std::uintptr_t producer) const;

  // Thread blocks that the device holds at once.
  template <class Kernel>
  [[nodiscard]] std::uint64_t resident(Kernel* kernel, int threads) const {
    int blocks = 0;
    HALVE_CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, 0));
    return static_cast<std::uint64_t>(blocks) * static_cast<std::uint64_t>(multiprocessors_);
  }

  std::mutex mutex;  // held by whoever launches
  Span kernel;       // of the last launch or copy
  DeviceBuffer scratch;
  PinnedBuffer staging;
  std::shared_ptr<CastLanes> lanes;  // of cast_through, for the next call

 private:
  int device_;
  Stream stream_;
  int multiprocessors_ = 0;
};

}  // namespace halve::cuda
