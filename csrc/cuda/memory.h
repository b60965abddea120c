// Memory of a device, and copies: what tests and benchmarks need beside the kernels.
#pragma once

#include <cstdint>

#include "cuda/buffer.h"
#include "cuda/context.h"

namespace halve::cuda {

// Throws CudaError where there is not so much memory.
class Memory {
 public:
  Memory(int device, std::uint64_t nbytes);
  [[nodiscard]] int device() const noexcept { return device_; }
  [[nodiscard]] char* get() const noexcept { return buffer_.get(); }
  [[nodiscard]] std::uint64_t nbytes() const noexcept { return buffer_.nbytes(); }

 private:
  int device_;
  DeviceBuffer buffer_;
};

// Copies in the context's stream, between any two memories, and waits for that where asked to.
void copy(const Context& context, void* dst, const void* src, std::uint64_t nbytes, bool wait);

}  // namespace halve::cuda
