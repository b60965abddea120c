#include "cuda/buffer.h"
#include "cuda/device.h"
#include "cuda/stream.h"

namespace halve::cuda {
namespace {

__global__ void report_architecture(int* result) {
#ifdef __CUDA_ARCH__
  *result = __CUDA_ARCH__;
#endif
}

Device describe(int index) {
  cudaDeviceProp properties{};
  HALVE_CUDA_CHECK(cudaGetDeviceProperties(&properties, index));
  return Device{index,
                properties.name,
                properties.major,
                properties.minor,
                properties.totalGlobalMem,
                properties.multiProcessorCount};
}

}  // namespace

Versions versions() {
  Versions found{};
  HALVE_CUDA_CHECK(cudaRuntimeGetVersion(&found.runtime));
  HALVE_CUDA_CHECK(cudaDriverGetVersion(&found.driver));
  return found;
}

std::vector<Device> devices() {
  int count = 0;
  HALVE_CUDA_CHECK(cudaGetDeviceCount(&count));
  std::vector<Device> found;
  for (int index = 0; index < count; ++index) found.push_back(describe(index));
  return found;
}

int executed_architecture(int device) {
  const DeviceGuard guard(device);
  const Stream stream(device);
  const DeviceBuffer result(sizeof(int));
  report_architecture<<<1, 1, 0, stream.get()>>>(reinterpret_cast<int*>(result.get()));
  HALVE_CUDA_CHECK(cudaGetLastError());
  int architecture = 0;
  HALVE_CUDA_CHECK(cudaMemcpyAsync(&architecture, result.get(), sizeof(int), cudaMemcpyDeviceToHost,
                                   stream.get()));
  stream.wait();
  return architecture;
}

std::optional<int> pointer_device(std::uintptr_t address) {
  cudaPointerAttributes found{};
  HALVE_CUDA_CHECK(cudaPointerGetAttributes(&found, reinterpret_cast<const void*>(address)));
  if (found.type == cudaMemoryTypeDevice || found.type == cudaMemoryTypeManaged) {
    return found.device;
  }
  return std::nullopt;
}

}  // namespace halve::cuda
