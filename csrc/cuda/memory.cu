#include "cuda/memory.h"

namespace halve::cuda {

Memory::Memory(int device, std::uint64_t nbytes) : device_(device) {
  const DeviceGuard guard(device);
  buffer_.reserve(nbytes);
}

void copy(const Context& context, void* dst, const void* src, std::uint64_t nbytes, bool wait) {
  const DeviceGuard guard(context.device());
  context.kernel.begin(context.stream());
  HALVE_CUDA_CHECK(cudaMemcpyAsync(dst, src, nbytes, cudaMemcpyDefault, context.stream()));
  context.kernel.end(context.stream());
  if (wait) HALVE_CUDA_CHECK(cudaStreamSynchronize(context.stream()));
}

}  // namespace halve::cuda
