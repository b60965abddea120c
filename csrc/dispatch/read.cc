#include "halve/read.h"

#include <cstring>

namespace halve {
namespace {

constexpr std::uint64_t kLineBytes = 64;
constexpr std::uint64_t kWords = kLineBytes / sizeof(std::uint64_t);
// As the kernels prefetch: one page ahead. Reaching past the array is harmless.
constexpr std::uint64_t kPrefetchBytes = 4096;

void prefetch(const char* p) noexcept {
#if defined(__GNUC__)
  __builtin_prefetch(p + kPrefetchBytes);
#else
  static_cast<void>(p);
#endif
}

}  // namespace

std::uint64_t xor_words(const void* p, std::uint64_t nbytes) noexcept {
  const char* at = static_cast<const char*>(p);
  std::uint64_t sums[kWords] = {};
  for (; nbytes >= kLineBytes; nbytes -= kLineBytes, at += kLineBytes) {
    std::uint64_t line[kWords];
    prefetch(at);
    std::memcpy(line, at, kLineBytes);
    for (std::uint64_t i = 0; i < kWords; ++i) sums[i] ^= line[i];
  }
  std::uint64_t sum = 0;
  for (const std::uint64_t part : sums) sum ^= part;
  for (; nbytes >= sizeof sum; nbytes -= sizeof sum, at += sizeof sum) {
    std::uint64_t word;
    std::memcpy(&word, at, sizeof word);
    sum ^= word;
  }
  return sum;
}

}  // namespace halve
