// Payload bytes of a job, wherever its spans lie.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <vector>

#include "file.h"
#include "halve/stream.h"

namespace halve::stream {

// The opened origins of a task; shared by all workers.
class Origins {
 public:
  Failure open(const Task& task);
  Failure read(std::uint32_t origin, std::uint64_t offset, void* to, std::uint64_t n);
  // The bytes themselves where the origin is memory, else null.
  [[nodiscard]] const std::uint8_t* view(std::uint32_t origin, std::uint64_t offset,
                                         std::uint64_t n) const;
  void prefetch(std::uint32_t origin, std::uint64_t offset, std::uint64_t n) noexcept;
  [[nodiscard]] std::uint64_t bytes_read() const noexcept { return bytes_read_; }

 private:
  const Task* task_ = nullptr;
  std::deque<File> files_;  // one an origin; closed for memory
  std::atomic<std::uint64_t> bytes_read_{0};
};

// Where each span of a job begins in its payload.
class JobIndex {
 public:
  explicit JobIndex(const Job& job);
  [[nodiscard]] std::uint64_t nbytes() const noexcept { return starts_.back(); }
  // The span that holds payload byte `at`, which must be below nbytes().
  [[nodiscard]] std::size_t find(std::uint64_t at) const noexcept;
  [[nodiscard]] std::uint64_t start(std::size_t span) const noexcept { return starts_[span]; }

 private:
  std::vector<std::uint64_t> starts_;
};

// Reads ranges of a job's payload; each worker has its own.
class Reader {
 public:
  Reader(Origins& origins, const Task& task, const std::vector<JobIndex>& indices)
      : origins_(origins), task_(task), indices_(indices) {}

  Failure read(std::size_t job, std::uint64_t at, std::uint8_t* to, std::uint64_t n);
  // The n bytes without a copy, or null where they are not contiguous in memory.
  [[nodiscard]] const std::uint8_t* view(std::size_t job, std::uint64_t at, std::uint64_t n) const;
  void prefetch(std::size_t job, std::uint64_t at, std::uint64_t n) noexcept;

 private:
  Failure read_strided(std::uint32_t origin, const Span& span, std::uint64_t at, std::uint8_t* to,
                       std::uint64_t n);

  Origins& origins_;
  const Task& task_;
  const std::vector<JobIndex>& indices_;
  std::vector<std::uint8_t> staging_;
};

}  // namespace halve::stream
