#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "filler.h"
#include "halve/stream.h"
#include "sink.h"

namespace halve::stream {
namespace {

constexpr std::uint64_t kLeastBlock = 64U << 10U;
// Small enough that a block stays in a core's cache between cast and write, large enough for a disk
// that is kept busy by several at a time; larger ones were slower.
constexpr std::uint64_t kMostBlock = 512U << 10U;
// Workers a computing thread: while some wait for the disk, others read and cast.
constexpr unsigned kOverlap = 4;
// A worker's memory besides its block and what it casts at a time.
constexpr std::uint64_t kScratch = 160U << 10U;

// How a budget is shared out.
struct Shares {
  unsigned workers;
  std::uint64_t block_bytes;
};

Shares share_out(const Settings& settings, std::uint64_t total_bytes) noexcept {
  const std::uint64_t scratch =
      kScratch + Filler::elements_at_a_time(settings.caster) * sizeof(float);
  const std::uint64_t most =
      std::max<std::uint64_t>(1, settings.budget_bytes / (kLeastBlock + scratch));
  const std::uint64_t wanted = std::uint64_t{std::max(1U, settings.threads)} * kOverlap;
  const std::uint64_t useful = total_bytes / kLeastBlock + 1;
  const std::uint64_t workers = std::min({most, wanted, useful});
  const std::uint64_t share = settings.budget_bytes / workers;
  std::uint64_t block = kLeastBlock;
  while (block < kMostBlock && block * 2 + scratch <= share) block *= 2;
  return {static_cast<unsigned>(workers), block};
}

bool fits(const Task& task, const Output& output, const std::vector<JobIndex>& jobs) {
  std::uint64_t end = 0;
  for (const Piece& piece : output.pieces) {
    if (piece.offset < end ||
        piece.nbytes > output.nbytes - std::min(piece.offset, output.nbytes)) {
      return false;
    }
    end = piece.offset + piece.nbytes;
    if (piece.job == kLiteral) continue;
    const auto job = static_cast<std::size_t>(piece.job);
    if (piece.job < 0 || job >= jobs.size()) return false;
    const std::uint64_t scale = task.jobs[job].action == Action::kCopy ? 1 : 2;
    if (jobs[job].nbytes() != piece.nbytes * scale) return false;
  }
  return true;
}

bool is_valid(const Task& task, const std::vector<JobIndex>& jobs) {
  for (const Job& job : task.jobs) {
    if (job.origin >= task.origins.size()) return false;
  }
  return std::all_of(task.outputs.begin(), task.outputs.end(),
                     [&](const Output& output) { return fits(task, output, jobs); });
}

// A buffer for one block, aligned for direct transfers.
struct Free {
  void operator()(std::uint8_t* memory) const noexcept {
    ::operator delete[](memory, std::align_val_t{kAlignment});
  }
};
using Block = std::unique_ptr<std::uint8_t, Free>;

Block allocate(std::uint64_t nbytes) {
  return Block(static_cast<std::uint8_t*>(::operator new[](nbytes, std::align_val_t{kAlignment})));
}

std::vector<JobIndex> index_jobs(const Task& task) { return {task.jobs.begin(), task.jobs.end()}; }

}  // namespace

struct Run::State {
  State(const Task& all, Settings settings)
      : task(all),
        indices(index_jobs(all)),
        tally(all.jobs.size()),
        direct(settings.direct),
        caster(settings.caster) {
    for (const Output& output : task.outputs) total_bytes += output.nbytes;
    shares = share_out(settings, total_bytes);
    running = shares.workers;
  }

  void fail(const Failure& failure) {
    const std::lock_guard lock(mutex);
    if (first.fault == Fault::kNone) first = failure;
    stop = true;
  }

  Failure prepare();
  bool next(std::uint64_t& output, std::uint64_t& begin);
  Failure do_block(Filler& filler, std::uint8_t* block, std::uint64_t output, std::uint64_t begin);
  void work() noexcept;
  void work_or_throw();
  void leave();

  const Task& task;
  const std::vector<JobIndex> indices;
  Tally tally;
  const bool direct;
  const Caster* const caster;
  Shares shares{};
  std::uint64_t total_bytes = 0;
  Origins origins;
  std::deque<Sink> sinks;
  std::vector<std::thread> threads;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> done_bytes{0};

  std::mutex mutex;
  std::condition_variable ended;
  unsigned running = 0;
  std::uint64_t next_output = 0;  // the next block to do: output and place there
  std::uint64_t next_begin = 0;
  Failure first;
};

Failure Run::State::prepare() {
  if (!is_valid(task, indices)) return {Fault::kInvalid, 0, 0, kLiteral, 0};
  if (Failure failure = origins.open(task); failure.fault != Fault::kNone) return failure;
  for (std::size_t i = 0; i < task.outputs.size(); ++i) {
    const Failure failure = sinks.emplace_back().open(task.outputs[i], i, direct);
    if (failure.fault != Fault::kNone) return failure;
  }
  return {};
}

bool Run::State::next(std::uint64_t& output, std::uint64_t& begin) {
  const std::lock_guard lock(mutex);
  while (next_output < task.outputs.size() && next_begin >= task.outputs[next_output].nbytes) {
    ++next_output;
    next_begin = 0;
  }
  if (stop || next_output == task.outputs.size()) return false;
  output = next_output;
  begin = next_begin;
  next_begin += shares.block_bytes;
  return true;
}

Failure Run::State::do_block(Filler& filler, std::uint8_t* block, std::uint64_t output,
                             std::uint64_t begin) {
  const Output& to = task.outputs[output];
  const std::uint64_t end = std::min(begin + shares.block_bytes, to.nbytes);
  // By the time that this block is done, the next ones that nobody has begun are in memory.
  const std::uint64_t ahead = std::min(begin + shares.workers * shares.block_bytes, to.nbytes);
  filler.prefetch(to, ahead, std::min(ahead + shares.block_bytes, to.nbytes));
  if (to.data != nullptr) return filler.fill(to, begin, end, to.data + begin);
  if (Failure failure = filler.fill(to, begin, end, block); failure.fault != Fault::kNone) {
    return failure;
  }
  return sinks[output].write(block, begin, end - begin);
}

void Run::State::work_or_throw() {
  Filler filler(origins, task, indices, tally, caster);
  const Block block = allocate(shares.block_bytes);
  std::uint64_t output = 0;
  for (std::uint64_t begin = 0; next(output, begin);) {
    const Failure failure = do_block(filler, block.get(), output, begin);
    if (failure.fault != Fault::kNone) return fail(failure);
    const std::uint64_t left = task.outputs[output].nbytes - begin;
    done_bytes.fetch_add(std::min(left, shares.block_bytes), std::memory_order_relaxed);
  }
}

void Run::State::work() noexcept {
  try {
    work_or_throw();
  } catch (const std::bad_alloc&) {
    fail({Fault::kMemory, 0, 0, kLiteral, 0});
  }
  leave();
}

void Run::State::leave() {
  const std::lock_guard lock(mutex);
  if (--running == 0) ended.notify_all();
}

Run::Run(const Task& task, Settings settings) : state_(std::make_unique<State>(task, settings)) {
  State& state = *state_;
  if (const Failure failure = state.prepare(); failure.fault != Fault::kNone) state.fail(failure);
  for (unsigned i = 0; i < state.shares.workers; ++i) {
    try {
      state.threads.emplace_back([&state] { state.work(); });
    } catch (const std::system_error&) {
      // Fewer workers do the same job, but one is needed.
      if (i == 0) state.fail({Fault::kMemory, 0, 0, kLiteral, 0});
      state.leave();
    }
  }
}

Run::~Run() {
  cancel();
  for (std::thread& thread : state_->threads) thread.join();
}

bool Run::wait(std::chrono::milliseconds limit) {
  std::unique_lock lock(state_->mutex);
  return state_->ended.wait_for(lock, limit, [this] { return state_->running == 0; });
}

void Run::cancel() noexcept { state_->stop = true; }

std::uint64_t Run::done_bytes() const noexcept { return state_->done_bytes; }

Result Run::finish() {
  State& state = *state_;
  for (std::thread& thread : state.threads) thread.join();
  state.threads.clear();
  Failure failure = state.first;
  if (failure.fault == Fault::kNone && state.done_bytes < state.total_bytes) {
    failure.fault = Fault::kCancelled;
  }
  for (std::size_t i = 0; i < state.sinks.size() && failure.fault == Fault::kNone; ++i) {
    failure = state.sinks[i].close(state.task.outputs[i].nbytes);
  }
  return {state.tally.take(), state.origins.bytes_read(), state.done_bytes, failure};
}

}  // namespace halve::stream
