#include "halve/widen.h"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "float_modes.h"
#include "registry.h"
#include "threads.h"

namespace halve {
namespace {

// A thread's unit of work: 2 MiB of float32.
constexpr std::uint64_t kChunkElements = 1U << 19;
// A piece that is cast and widened at a time: with its 16-bit form it stays in the nearest cache.
constexpr std::uint64_t kPieceElements = 2048;

bool is_half(HalfType type) noexcept {
  return type == HalfType::kFloat16 || type == HalfType::kBFloat16;
}

kernels::WidenKernel* widen_kernel(const BackendEntry& entry, HalfType type) noexcept {
  return type == HalfType::kFloat16 ? entry.widen_f16 : entry.widen_bf16;
}

// Calls work(begin, count) for every chunk of n elements on up to `threads` threads.
template <class Work>
void on_chunks(std::uint64_t n, unsigned threads, const Work& work) noexcept {
  const std::uint64_t chunks = (n + kChunkElements - 1) / kChunkElements;
  const unsigned wanted = threads != 0 ? threads : usable_cores();
  std::atomic<std::uint64_t> next{0};
  const auto count = std::min<std::uint64_t>({wanted, chunks, kMaxThreads});
  run_on_threads(static_cast<unsigned>(count), [&] {
    for (std::uint64_t at; (at = next.fetch_add(kChunkElements)) < n;) {
      work(at, std::min(kChunkElements, n - at));
    }
  });
}

}  // namespace

Status widen_threaded(Backend backend, HalfType type, const std::uint16_t* src, float* dst,
                      std::uint64_t n, unsigned threads) noexcept {
  if (!is_half(type) || (n > 0 && (src == nullptr || dst == nullptr))) {
    return Status::kInvalidArgument;
  }
  const BackendEntry* entry = find_backend(backend);
  if (entry == nullptr || !entry->usable) return Status::kUnsupportedBackend;
  kernels::WidenKernel* widen = widen_kernel(*entry, type);
  on_chunks(n, threads, [&](std::uint64_t begin, std::uint64_t count) {
    const DefaultFloatModes modes;
    widen(src + begin, dst + begin, count);
  });
  return Status::kOk;
}

Status cast_and_widen_threaded(Backend backend, HalfType type, const float* src, float* dst,
                               std::uint64_t n, CastBounds bounds, CastCounts& counts,
                               unsigned threads) noexcept {
  if (n > 0 && dst == nullptr) return Status::kInvalidArgument;
  // Every argument is looked at before the threads start, where nothing can fail any more.
  std::uint16_t none;
  const Status status = cast_with(backend, type, src, &none, 0, bounds, counts);
  if (status != Status::kOk || (n > 0 && src == nullptr)) {
    return status != Status::kOk ? status : Status::kInvalidArgument;
  }
  const BackendEntry* entry = find_backend(backend);
  kernels::CastKernel* cast = type == HalfType::kFloat16 ? entry->cast_f16 : entry->cast_bf16;
  kernels::WidenKernel* widen = widen_kernel(*entry, type);
  std::mutex lock;
  on_chunks(n, threads, [&](std::uint64_t begin, std::uint64_t count) {
    const DefaultFloatModes modes;
    alignas(64) std::uint16_t half[kPieceElements];
    CastCounts mine;
    for (std::uint64_t done = 0; done < count; done += kPieceElements) {
      const std::uint64_t part = std::min(kPieceElements, count - done);
      cast(src + begin + done, half, part, bounds, false, &mine);
      widen(half, dst + begin + done, part);
    }
    const std::lock_guard<std::mutex> guard(lock);
    merge(counts, mine);
  });
  return Status::kOk;
}

}  // namespace halve
