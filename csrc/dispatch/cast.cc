#include "halve/cast.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>

#include "float_modes.h"
#include "registry.h"
#include "threads.h"

namespace halve {
namespace {

// Results from this size on do not stay in the caches anyway.
constexpr std::uint64_t kStreamingBytes = 8U << 20;
// A thread's unit of work: 2 MiB of input, whole cache lines of the result.
constexpr std::uint64_t kChunkElements = 1U << 19;

bool valid_bounds(CastBounds bounds) noexcept {
  return bounds.min_positive >= 0.0F && std::isfinite(bounds.min_positive) &&
         bounds.max_finite > 0.0F && bounds.min_positive <= bounds.max_finite;
}

struct Job {
  kernels::CastKernel* kernel;
  const float* src;
  std::uint16_t* dst;
  std::uint64_t n;
  CastBounds bounds;
  bool streaming;
};

// Checks the arguments and fills in `job`.
Status prepare(Backend backend, HalfType type, StorePolicy policy, Job& job) noexcept {
  if (type != HalfType::kFloat16 && type != HalfType::kBFloat16) return Status::kInvalidArgument;
  if (job.n > 0 && (job.src == nullptr || job.dst == nullptr)) return Status::kInvalidArgument;
  if (!valid_bounds(job.bounds)) return Status::kInvalidArgument;
  const BackendEntry* entry = find_backend(backend);
  if (entry == nullptr || !entry->usable) return Status::kUnsupportedBackend;
  job.kernel = type == HalfType::kFloat16 ? entry->cast_f16 : entry->cast_bf16;
  job.streaming = policy == StorePolicy::kStreaming ||
                  (policy == StorePolicy::kAutomatic && job.n >= kStreamingBytes / 2);
  return Status::kOk;
}

void run_part(const Job& job, std::uint64_t begin, std::uint64_t end, CastCounts& counts) noexcept {
  job.kernel(job.src + begin, job.dst + begin, end - begin, job.bounds, job.streaming, &counts);
}

// Takes chunks until none is left, then merges what it counted.
void work(const Job& job, std::atomic<std::uint64_t>& next, std::mutex& lock,
          CastCounts& total) noexcept {
  const DefaultFloatModes modes;
  CastCounts counts;
  for (;;) {
    const std::uint64_t begin = next.fetch_add(kChunkElements, std::memory_order_relaxed);
    if (begin >= job.n) break;
    run_part(job, begin, std::min(begin + kChunkElements, job.n), counts);
  }
  const std::lock_guard<std::mutex> guard(lock);
  merge(total, counts);
}

unsigned worker_count(std::uint64_t n, unsigned threads) noexcept {
  const unsigned wanted = threads != 0 ? threads : usable_cores();
  const std::uint64_t chunks = (n + kChunkElements - 1) / kChunkElements;
  return static_cast<unsigned>(std::min<std::uint64_t>({wanted, chunks, kMaxThreads}));
}

}  // namespace

void merge(CastCounts& total, const CastCounts& part) noexcept {
  total.elements += part.elements;
  total.raised += part.raised;
  total.lowered += part.lowered;
  total.flushed += part.flushed;
  total.subnormal += part.subnormal;
  total.overflow += part.overflow;
  total.nan += part.nan;
  total.inf += part.inf;
  total.max_abs = std::max(total.max_abs, part.max_abs);
  total.max_abs_error = std::max(total.max_abs_error, part.max_abs_error);
  total.max_rel_error = std::max(total.max_rel_error, part.max_rel_error);
}

Status cast(HalfType type, const float* src, std::uint16_t* dst, std::uint64_t n, CastBounds bounds,
            CastCounts& counts, StorePolicy policy) noexcept {
  Backend backend = Backend::kScalar;
  const Status status = chosen_backend(backend);
  if (status != Status::kOk) return status;
  return cast_with(backend, type, src, dst, n, bounds, counts, policy);
}

Status cast_with(Backend backend, HalfType type, const float* src, std::uint16_t* dst,
                 std::uint64_t n, CastBounds bounds, CastCounts& counts,
                 StorePolicy policy) noexcept {
  Job job{nullptr, src, dst, n, bounds, false};
  const Status status = prepare(backend, type, policy, job);
  if (status != Status::kOk || n == 0) return status;
  const DefaultFloatModes modes;
  run_part(job, 0, n, counts);
  return Status::kOk;
}

Status cast_threaded(Backend backend, HalfType type, const float* src, std::uint16_t* dst,
                     std::uint64_t n, CastBounds bounds, CastCounts& counts, unsigned threads,
                     StorePolicy policy) noexcept {
  Job job{nullptr, src, dst, n, bounds, false};
  const Status status = prepare(backend, type, policy, job);
  if (status != Status::kOk || n == 0) return status;
  std::atomic<std::uint64_t> next{0};
  std::mutex lock;
  run_on_threads(worker_count(n, threads), [&] { work(job, next, lock, counts); });
  return Status::kOk;
}

}  // namespace halve
