#include "cuda/memory.h"

namespace halve::cuda {

Memory::Memory(int device, std::uint64_t nbytes) : device_(device) {
  const DeviceGuard guard(device);
  buffer_.reserve(nbytes);
}

void copy(const Context& context, void* dst, const void* src, std::uint64_t nbytes, bool wait) {
  const DeviceGuard guard(context.device());
  HALVE_CUDA_CHECK(cudaMemcpyAsync(dst, src, nbytes, cudaMemcpyDefault, context.stream()));
  if (wait) HALVE_CUDA_CHECK(cudaStreamSynchronize(context.stream()));
}

Timer::Timer(const Context& context)
    : context_(context),
      begin_(context.device(), cudaEventDefault),
      end_(context.device(), cudaEventDefault) {}

void Timer::start() const { begin_.record(context_.stream()); }

float Timer::stop_ms() const {
  end_.record(context_.stream());
  HALVE_CUDA_CHECK(cudaEventSynchronize(end_.get()));
  float elapsed_ms = 0.0F;
  HALVE_CUDA_CHECK(cudaEventElapsedTime(&elapsed_ms, begin_.get(), end_.get()));
  return elapsed_ms;
}

}  // namespace halve::cuda
