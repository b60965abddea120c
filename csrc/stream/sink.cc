#include "sink.h"

#include <cerrno>
#include <cstring>

namespace halve::stream {
namespace {

// Below this a file is cheaper to write through the page cache.
constexpr std::uint64_t kLeastDirect = 4U << 20U;

std::uint64_t round_up(std::uint64_t n) noexcept {
  return (n + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

Failure Sink::failure(Fault fault, std::uint64_t offset, int error) const noexcept {
  return {error == 0 ? Fault::kNone : fault, index_, offset, kLiteral, error};
}

Failure Sink::open(const Output& output, std::uint64_t index, bool direct) {
  index_ = index;
  if (output.data != nullptr) return {};
  if (const int error = file_.open_write(output.path); error != 0) {
    return failure(Fault::kOpenWrite, 0, error);
  }
  if (const int error = file_.reserve(output.nbytes); error != 0) {
    return failure(Fault::kReserve, output.nbytes, error);
  }
  // Some file systems refuse direct writes on opening, others on the first write.
  use_direct_ = direct && output.nbytes >= kLeastDirect && direct_.open_direct(output.path) == 0;
  return {};
}

Failure Sink::write(std::uint8_t* from, std::uint64_t begin, std::uint64_t n) {
  if (use_direct_.load(std::memory_order_relaxed)) {
    const std::uint64_t whole = round_up(n);
    std::memset(from + n, 0, whole - n);
    const int error = direct_.write_at(from, whole, begin);
    if (error != EINVAL) return failure(Fault::kWrite, begin, error);
    use_direct_ = false;
  }
  return failure(Fault::kWrite, begin, file_.write_at(from, n, begin));
}

Failure Sink::close(std::uint64_t nbytes) {
  if (!file_.is_open()) return {};
  return failure(Fault::kWrite, nbytes, file_.truncate(nbytes));
}

}  // namespace halve::stream
