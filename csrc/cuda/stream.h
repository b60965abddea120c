// Handles that are freed by themselves, and the device that a thread's calls go to.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/check.h"

namespace halve::cuda {

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

// A stream of its own on a device, which the legacy default stream does not wait for.
class Stream {
 public:
  explicit Stream(int device) {
    const DeviceGuard guard(device);
    HALVE_CUDA_CHECK(cudaStreamCreateWithFlags(&handle_, cudaStreamNonBlocking));
  }
  ~Stream() { static_cast<void>(cudaStreamDestroy(handle_)); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  [[nodiscard]] cudaStream_t get() const noexcept { return handle_; }
  void wait() const { HALVE_CUDA_CHECK(cudaStreamSynchronize(handle_)); }

 private:
  cudaStream_t handle_ = nullptr;
};

class Event {
 public:
  explicit Event(int device, unsigned flags = cudaEventDisableTiming) {
    const DeviceGuard guard(device);
    HALVE_CUDA_CHECK(cudaEventCreateWithFlags(&handle_, flags));
  }
  ~Event() { static_cast<void>(cudaEventDestroy(handle_)); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  [[nodiscard]] cudaEvent_t get() const noexcept { return handle_; }
  void record(cudaStream_t stream) const { HALVE_CUDA_CHECK(cudaEventRecord(handle_, stream)); }

 private:
  cudaEvent_t handle_ = nullptr;
};

// How long a kernel takes by the device's own clock: marks before and behind it in its stream.
class Span {
 public:
  explicit Span(int device) : begin_(device, cudaEventDefault), end_(device, cudaEventDefault) {}
  void begin(cudaStream_t stream) const { begin_.record(stream); }
  void end(cudaStream_t stream) const { end_.record(stream); }

  // Waits for the end. Throws CudaError where nothing was marked.
  [[nodiscard]] float elapsed_ms() const {
    HALVE_CUDA_CHECK(cudaEventSynchronize(end_.get()));
    float elapsed_ms = 0.0F;
    HALVE_CUDA_CHECK(cudaEventElapsedTime(&elapsed_ms, begin_.get(), end_.get()));
    return elapsed_ms;
  }

 private:
  Event begin_, end_;
};

}  // namespace halve::cuda
