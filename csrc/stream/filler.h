// Fills a range of an output from the pieces that overlap it.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "reader.h"

namespace halve::stream {

// Float32 elements that the processor reads and casts at a time: they stay in a core's own cache.
constexpr std::uint64_t kChunkElements = 1U << 15U;

// The merged counts of all jobs.
class Tally {
 public:
  explicit Tally(std::size_t jobs) : counts_(jobs) {}
  void add(std::int64_t job, const CastCounts& part);
  std::vector<CastCounts> take() { return std::move(counts_); }

 private:
  std::mutex mutex_;
  std::vector<CastCounts> counts_;
};

// Each worker has its own.
class Filler {
 public:
  Filler(Origins& origins, const Task& task, const std::vector<JobIndex>& indices, Tally& tally,
         const Caster* caster)
      : reader_(origins, task, indices),
        task_(task),
        tally_(tally),
        caster_(caster),
        floats_(elements_at_a_time(caster)) {}

  // Elements that are read and cast at a time.
  static std::uint64_t elements_at_a_time(const Caster* caster) noexcept {
    return caster == nullptr ? kChunkElements : caster->elements;
  }

  // Makes to[0, end - begin) equal output bytes [begin, end).
  Failure fill(const Output& output, std::uint64_t begin, std::uint64_t end, std::uint8_t* to);
  // Asks the system to read ahead what fill() of that range will need.
  void prefetch(const Output& output, std::uint64_t begin, std::uint64_t end) noexcept;

 private:
  Failure fill_piece(const Piece& piece, std::uint64_t begin, std::uint64_t end, std::uint8_t* to);
  Failure fill_cast(std::int64_t job, std::uint64_t begin, std::uint64_t end, std::uint8_t* to);
  Failure cast_whole(std::int64_t job, std::uint64_t first, std::uint64_t n, std::uint8_t* to,
                     CastCounts& counts);
  Status cast_part(const Job& job, const void* from, std::uint8_t* to, std::uint64_t n,
                   CastCounts& counts) const noexcept;
  Failure cast_half(std::int64_t job, std::uint64_t element, std::uint64_t which, std::uint8_t* to,
                    CastCounts& counts);

  Reader reader_;
  const Task& task_;
  Tally& tally_;
  const Caster* caster_;
  std::vector<float> floats_;
};

}  // namespace halve::stream
