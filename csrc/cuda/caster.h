// The stream's casts by way of a device.
#pragma once

#include <mutex>
#include <string>

#include "halve/caster.h"

namespace halve::cuda {

// Casts host memory for the stream's workers. Each worker has a stream and pinned buffers of its
// own, so that the copies and kernels of one overlap with those of the others and with their files.
class StreamCaster {
 public:
  explicit StreamCaster(int device);
  StreamCaster(const StreamCaster&) = delete;
  StreamCaster& operator=(const StreamCaster&) = delete;

  [[nodiscard]] const Caster& caster() const noexcept { return caster_; }
  // What the first failure was; empty where there was none.
  [[nodiscard]] std::string problem() const;

 private:
  static Status run(void* self, HalfType type, const void* src, void* dst, std::uint64_t n,
                    CastBounds bounds, CastCounts& counts) noexcept;
  void note(const char* problem) noexcept;

  int device_;
  Caster caster_;
  mutable std::mutex mutex_;
  std::string problem_;
};

}  // namespace halve::cuda
