#include "halve/copy.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "threads.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <emmintrin.h>
#define HALVE_STREAMING_COPY 1
#endif

namespace halve {
namespace {

constexpr std::uint64_t kLineBytes = 64;

#ifdef HALVE_STREAMING_COPY

void stream_line(char* dst, const char* src) {
  const auto* from = reinterpret_cast<const __m128i*>(src);
  auto* to = reinterpret_cast<__m128i*>(dst);
  const __m128i a = _mm_loadu_si128(from), b = _mm_loadu_si128(from + 1);
  const __m128i c = _mm_loadu_si128(from + 2), d = _mm_loadu_si128(from + 3);
  _mm_stream_si128(to, a);
  _mm_stream_si128(to + 1, b);
  _mm_stream_si128(to + 2, c);
  _mm_stream_si128(to + 3, d);
}

void streaming_copy(char* dst, const char* src, std::uint64_t nbytes) {
  const std::uint64_t past = reinterpret_cast<std::uintptr_t>(dst) % kLineBytes;
  const std::uint64_t head = std::min((kLineBytes - past) % kLineBytes, nbytes);
  std::memcpy(dst, src, head);
  std::uint64_t done = head;
  for (; nbytes - done >= kLineBytes; done += kLineBytes) stream_line(dst + done, src + done);
  _mm_sfence();
  std::memcpy(dst + done, src + done, nbytes - done);
}

#else

void streaming_copy(char* dst, const char* src, std::uint64_t nbytes) {
  std::memcpy(dst, src, nbytes);
}

#endif

void copy_slice(CopyKind kind, char* dst, const char* src, std::uint64_t nbytes) {
  if (kind == CopyKind::kStreaming) {
    streaming_copy(dst, src, nbytes);
  } else {
    std::memcpy(dst, src, nbytes);
  }
}

}  // namespace

Status copy_threaded(CopyKind kind, void* dst, const void* src, std::uint64_t nbytes,
                     unsigned threads) noexcept {
  if (kind != CopyKind::kMemcpy && kind != CopyKind::kStreaming) return Status::kInvalidArgument;
  if (nbytes == 0) return Status::kOk;
  if (dst == nullptr || src == nullptr) return Status::kInvalidArgument;
  const unsigned workers = std::min(threads != 0 ? threads : usable_cores(), kMaxThreads);
  const std::uint64_t lines = (nbytes + kLineBytes - 1) / kLineBytes;
  const std::uint64_t slice = (lines + workers - 1) / workers * kLineBytes;
  std::atomic<std::uint64_t> next{0};
  run_on_threads(workers, [&] {
    for (std::uint64_t at; (at = next.fetch_add(slice)) < nbytes;) {
      copy_slice(kind, static_cast<char*>(dst) + at, static_cast<const char*>(src) + at,
                 std::min(slice, nbytes - at));
    }
  });
  return Status::kOk;
}

}  // namespace halve
