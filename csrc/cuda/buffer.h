// Memory that is freed by itself.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <utility>

#include "cuda/check.h"

namespace halve::cuda {

// Memory of one kind. It grows on demand, never shrinks, and does not keep its content.
template <cudaError_t (*Allocate)(void**, std::size_t), cudaError_t (*Free)(void*)>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::uint64_t nbytes) { reserve(nbytes); }
  ~Buffer() { static_cast<void>(Free(pointer_)); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  // Nothing that uses the old memory may be in flight.
  void reserve(std::uint64_t nbytes) {
    if (nbytes <= nbytes_) return;
    HALVE_CUDA_CHECK(Free(std::exchange(pointer_, nullptr)));
    nbytes_ = 0;
    HALVE_CUDA_CHECK(Allocate(&pointer_, nbytes));
    nbytes_ = nbytes;
  }
  [[nodiscard]] char* get() const noexcept { return static_cast<char*>(pointer_); }
  [[nodiscard]] std::uint64_t nbytes() const noexcept { return nbytes_; }

 private:
  void* pointer_ = nullptr;
  std::uint64_t nbytes_ = 0;
};

inline cudaError_t allocate_device(void** p, std::size_t n) { return cudaMalloc(p, n); }
inline cudaError_t allocate_pinned(void** p, std::size_t n) {
  return cudaHostAlloc(p, n, cudaHostAllocPortable);
}

using DeviceBuffer = Buffer<allocate_device, cudaFree>;
using PinnedBuffer = Buffer<allocate_pinned, cudaFreeHost>;

}  // namespace halve::cuda
