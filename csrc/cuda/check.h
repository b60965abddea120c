// Every CUDA call goes through HALVE_CUDA_CHECK: a failed one becomes a CudaError that names the
// call, the place and the runtime's own words.
#pragma once

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace halve::cuda {

class CudaError : public std::runtime_error {
 public:
  CudaError(cudaError_t code, const std::string& message)
      : std::runtime_error(message), code_(code) {}
  [[nodiscard]] cudaError_t code() const noexcept { return code_; }

 private:
  cudaError_t code_;
};

// "device.cu" of "/where/it/was/built/device.cu": a message shows no paths of the build machine.
constexpr const char* base_name(const char* path) noexcept {
  const char* name = path;
  for (const char* at = path; *at != '\0'; ++at) {
    if (*at == '/' || *at == '\\') name = at + 1;
  }
  return name;
}

// Throws CudaError unless `code` is cudaSuccess.
inline void check(cudaError_t code, const char* call, const char* file, int line) {
  if (code == cudaSuccess) return;
  // Clears the error where the runtime keeps it, so that the next call does not report it again.
  static_cast<void>(cudaGetLastError());
  throw CudaError(code, std::string(call) + " failed: " + cudaGetErrorString(code) + " (" +
                            cudaGetErrorName(code) + ") at " + file + ":" + std::to_string(line));
}

}  // namespace halve::cuda

#define HALVE_CUDA_CHECK(call) \
  ::halve::cuda::check((call), #call, ::halve::cuda::base_name(__FILE__), __LINE__)
