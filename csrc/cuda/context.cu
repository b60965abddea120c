#include "cuda/context.h"

namespace halve::cuda {
namespace {

int count_multiprocessors(int device) {
  int count = 0;
  HALVE_CUDA_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count;
}

}  // namespace

Context::Context(int device)
    : kernel(device),
      device_(device),
      stream_(device),
      multiprocessors_(count_multiprocessors(device)) {}

void Context::follow(std::uintptr_t producer) const {
  const DeviceGuard guard(device_);
  const Event reached(device_);
  reached.record(reinterpret_cast<cudaStream_t>(producer));
  HALVE_CUDA_CHECK(cudaStreamWaitEvent(stream_.get(), reached.get(), 0));
}

}  // namespace halve::cuda
