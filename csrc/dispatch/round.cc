#include "halve/round.h"

#include <algorithm>
#include <atomic>

#include "registry.h"
#include "threads.h"

namespace halve {
namespace {

// A thread's unit of work: some ten times as long as starting the thread takes.
constexpr std::uint64_t kChunkElements = 1U << 18;

}  // namespace

Status round_threaded(Backend backend, HalfType type, const float* src, float* dst, std::uint64_t n,
                      unsigned threads) noexcept {
  if (type != HalfType::kFloat16 && type != HalfType::kBFloat16) return Status::kInvalidArgument;
  if (n > 0 && (src == nullptr || dst == nullptr)) return Status::kInvalidArgument;
  const BackendEntry* entry = find_backend(backend);
  if (entry == nullptr || !entry->usable) return Status::kUnsupportedBackend;
  // What they compute does not depend on the floating-point modes.
  const auto kernel = type == HalfType::kFloat16 ? entry->twin->round_f16 : entry->twin->round_bf16;
  const std::uint64_t chunks = n / kChunkElements + (n % kChunkElements != 0);
  if (chunks <= 1 || threads == 1) {
    kernel(src, dst, n);
    return Status::kOk;
  }
  std::atomic<std::uint64_t> next{0};
  const auto count =
      std::min<std::uint64_t>({threads != 0 ? threads : usable_cores(), chunks, kMaxThreads});
  run_on_threads(static_cast<unsigned>(count), [&] {
    for (std::uint64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < chunks;) {
      const std::uint64_t at = i * kChunkElements;
      kernel(src + at, dst + at, std::min(kChunkElements, n - at));
    }
  });
  return Status::kOk;
}

}  // namespace halve
