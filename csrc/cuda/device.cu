#include "cuda/check.h"
#include "cuda/device.h"

namespace halve::cuda {
namespace {

__global__ void report_architecture(int* result) {
#ifdef __CUDA_ARCH__
  *result = __CUDA_ARCH__;
#endif
}

// Makes a device current and restores the former one.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) {
    HALVE_CUDA_CHECK(cudaGetDevice(&former_));
    HALVE_CUDA_CHECK(cudaSetDevice(device));
  }
  ~DeviceGuard() { static_cast<void>(cudaSetDevice(former_)); }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int former_ = 0;
};

class Stream {
 public:
  Stream() { HALVE_CUDA_CHECK(cudaStreamCreateWithFlags(&handle_, cudaStreamNonBlocking)); }
  ~Stream() { static_cast<void>(cudaStreamDestroy(handle_)); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  [[nodiscard]] cudaStream_t get() const noexcept { return handle_; }

 private:
  cudaStream_t handle_ = nullptr;
};

class DeviceInt {
 public:
  DeviceInt() { HALVE_CUDA_CHECK(cudaMalloc(&pointer_, sizeof(int))); }
  ~DeviceInt() { static_cast<void>(cudaFree(pointer_)); }
  DeviceInt(const DeviceInt&) = delete;
  DeviceInt& operator=(const DeviceInt&) = delete;
  [[nodiscard]] int* get() const noexcept { return static_cast<int*>(pointer_); }

 private:
  void* pointer_ = nullptr;
};

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
  const Stream stream;
  const DeviceInt result;
  report_architecture<<<1, 1, 0, stream.get()>>>(result.get());
  HALVE_CUDA_CHECK(cudaGetLastError());
  int architecture = 0;
  HALVE_CUDA_CHECK(cudaMemcpyAsync(&architecture, result.get(), sizeof(int), cudaMemcpyDeviceToHost,
                                   stream.get()));
  HALVE_CUDA_CHECK(cudaStreamSynchronize(stream.get()));
  return architecture;
}

}  // namespace halve::cuda
