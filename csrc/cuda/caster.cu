#include <exception>
#include <memory>

#include "cuda/cast.h"
#include "cuda/caster.h"
#include "cuda/context.h"

namespace halve::cuda {
namespace {

// A worker's block of 16-bit results is half as many megabytes as this has elements.
constexpr std::uint64_t kElements = std::uint64_t{1} << 18;

// A worker's own; it goes with the thread.
struct Worker {
  int device = -1;
  std::unique_ptr<HostCast> cast;
};

}  // namespace

StreamCaster::StreamCaster(int device) : device_(device), caster_{&run, this, kElements} {
  // A device that is not there is an error now, not in a worker.
  const Context context(device);
  static_cast<void>(context);
}

std::string StreamCaster::problem() const {
  const std::lock_guard lock(mutex_);
  return problem_;
}

void StreamCaster::note(const char* problem) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    if (problem_.empty()) problem_ = problem;
  } catch (const std::exception&) {
    // No memory for the words: the status alone has to do.
  }
}

Status StreamCaster::run(void* self, HalfType type, const void* src, void* dst, std::uint64_t n,
                         CastBounds bounds, CastCounts& counts) noexcept {
  auto* caster = static_cast<StreamCaster*>(self);
  thread_local Worker worker;
  try {
    if (worker.device != caster->device_) {
      worker.cast = std::make_unique<HostCast>(caster->device_, kElements);
      worker.device = caster->device_;
    }
    merge(counts, worker.cast->run(type, src, dst, n, bounds));
    return Status::kOk;
  } catch (const std::exception& error) {
    caster->note(error.what());
    return Status::kDeviceFailed;
  }
}

}  // namespace halve::cuda
