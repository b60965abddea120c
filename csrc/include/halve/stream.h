// Files to files: bytes copied or cast on their way, every output byte written once.
//
// The unit of work is an aligned block of an output. A worker takes the next block, fills a buffer
// from the pieces that overlap it and writes it in one go, so that many small tensors batch by
// themselves. What a block holds does not depend on who fills it: bytes and counts are the same
// for any number of threads and any budget.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "halve/cast.h"
#include "halve/caster.h"

namespace halve::stream {

// Where payload is read from: a file, or memory that the caller keeps alive and unchanged.
struct Origin {
  std::string path;
  const std::uint8_t* data = nullptr;  // null: read `path`
  std::uint64_t nbytes = 0;            // of `data`
};

// A run of payload bytes in an origin. With item 0 they are contiguous; otherwise every `item`
// bytes are preceded by one byte that is not payload, and `offset` is that of the first item.
struct Span {
  std::uint64_t offset = 0;
  std::uint64_t nbytes = 0;
  std::uint32_t item = 0;
};

enum class Action : std::uint8_t { kCopy = 0, kFloat16, kBFloat16 };

// The payload made up by `spans` in order, copied or cast from float32.
struct Job {
  std::uint32_t origin = 0;
  Action action = Action::kCopy;
  CastBounds bounds{};
  std::vector<Span> spans;
};

constexpr std::int64_t kLiteral = -1;

// A run of output bytes: the whole result of a job, or bytes that the caller keeps alive.
struct Piece {
  std::uint64_t offset = 0;
  std::uint64_t nbytes = 0;
  std::int64_t job = kLiteral;
  const std::uint8_t* literal = nullptr;
};

// An existing file that is overwritten from its start and ends at `nbytes`, or memory of that
// size. Pieces are in the order of their offsets and do not overlap; holes are zeros.
struct Output {
  std::string path;
  std::uint8_t* data = nullptr;  // null: write `path`
  std::uint64_t nbytes = 0;
  std::vector<Piece> pieces;
};

struct Task {
  std::vector<Origin> origins;
  std::vector<Job> jobs;
  std::vector<Output> outputs;
};

struct Settings {
  unsigned threads = 1;                     // at least 1: how many may compute at a time
  std::uint64_t budget_bytes = 64U << 20U;  // of all buffers together, at least 1 MiB
  bool direct = true;                       // bypass the page cache where that works and pays
  const Caster* caster = nullptr;           // who casts, in place of the processor's kernels
};

enum class Fault : std::uint8_t {
  kNone = 0,
  kInvalid,    // the task contradicts itself
  kOpenRead,   // an origin cannot be opened
  kRead,       // an origin cannot be read
  kShort,      // an origin ends before its payload does
  kOpenWrite,  // an output cannot be opened
  kReserve,    // there is no room for an output
  kWrite,      // an output cannot be written
  kBackend,    // the forced cast backend is not usable here
  kMemory,     // the buffers or threads cannot be had
  kCancelled,  // cancel() was called
  kDevice,     // the caster failed
};

struct Failure {
  Fault fault = Fault::kNone;
  std::uint64_t index = 0;   // of the origin or the output
  std::uint64_t offset = 0;  // there
  std::int64_t job = kLiteral;
  int error = 0;  // errno, or 0
};

struct Result {
  std::vector<CastCounts> counts;  // one a job; all zero for a copy
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
  Failure failure;  // the first; what the outputs hold then is undefined
};

// A task at work on its own threads. The task must outlive it and stay unchanged.
class Run {
 public:
  Run(const Task& task, Settings settings);
  ~Run();  // cancels and waits
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  // Waits until the work has ended, or for that long; returns whether it has ended.
  bool wait(std::chrono::milliseconds limit);
  void cancel() noexcept;  // workers stop after their current block
  [[nodiscard]] std::uint64_t done_bytes() const noexcept;  // of all outputs together
  Result finish();                                          // waits for the end; call it once

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace halve::stream
