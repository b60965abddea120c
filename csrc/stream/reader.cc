#include "reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace halve::stream {
namespace {

// Items of a strided span that are read at a time: 9 bytes each at most.
constexpr std::uint64_t kItemsAtOnce = 1U << 14U;

}  // namespace

Failure Origins::open(const Task& task) {
  task_ = &task;
  for (std::size_t i = 0; i < task.origins.size(); ++i) {
    File& file = files_.emplace_back();
    if (task.origins[i].data != nullptr) continue;
    if (const int error = file.open_read(task.origins[i].path); error != 0) {
      return {Fault::kOpenRead, i, 0, kLiteral, error};
    }
  }
  return {};
}

Failure Origins::read(std::uint32_t origin, std::uint64_t offset, void* to, std::uint64_t n) {
  bytes_read_.fetch_add(n, std::memory_order_relaxed);
  if (task_->origins[origin].data != nullptr) {
    const auto* from = view(origin, offset, n);
    if (from == nullptr) return {Fault::kShort, origin, offset, kLiteral, 0};
    std::memcpy(to, from, n);
    return {};
  }
  std::uint64_t got = 0;
  const int error = files_[origin].read_at(to, n, offset, got);
  if (error != 0) return {Fault::kRead, origin, offset + got, kLiteral, error};
  if (got < n) return {Fault::kShort, origin, offset + got, kLiteral, 0};
  return {};
}

const std::uint8_t* Origins::view(std::uint32_t origin, std::uint64_t offset,
                                  std::uint64_t n) const {
  const Origin& from = task_->origins[origin];
  const bool inside = offset <= from.nbytes && n <= from.nbytes - offset;
  return from.data != nullptr && inside ? from.data + offset : nullptr;
}

void Origins::prefetch(std::uint32_t origin, std::uint64_t offset, std::uint64_t n) noexcept {
  if (files_[origin].is_open()) files_[origin].prefetch(offset, n);
}

JobIndex::JobIndex(const Job& job) : starts_(1, 0) {
  for (const Span& span : job.spans) starts_.push_back(starts_.back() + span.nbytes);
}

std::size_t JobIndex::find(std::uint64_t at) const noexcept {
  const auto next = std::upper_bound(starts_.begin(), starts_.end(), at);
  return static_cast<std::size_t>(next - starts_.begin()) - 1;
}

Failure Reader::read(std::size_t job, std::uint64_t at, std::uint8_t* to, std::uint64_t n) {
  const Job& from = task_.jobs[job];
  const JobIndex& index = indices_[job];
  for (std::size_t i = n > 0 ? index.find(at) : 0; n > 0; ++i) {
    const Span& span = from.spans[i];
    const std::uint64_t inside = at - index.start(i);
    const std::uint64_t part = std::min(n, span.nbytes - inside);
    Failure failure = span.item == 0 ? origins_.read(from.origin, span.offset + inside, to, part)
                                     : read_strided(from.origin, span, inside, to, part);
    if (failure.fault != Fault::kNone) {
      failure.job = static_cast<std::int64_t>(job);
      return failure;
    }
    at += part;
    to += part;
    n -= part;
  }
  return {};
}

Failure Reader::read_strided(std::uint32_t origin, const Span& span, std::uint64_t at,
                             std::uint8_t* to, std::uint64_t n) {
  const std::uint64_t item = span.item;
  while (n > 0) {
    const std::uint64_t skip = at % item;  // the range may begin inside an item
    const std::uint64_t items = std::min((skip + n + item - 1) / item, kItemsAtOnce);
    const std::uint64_t raw = items * (item + 1) - 1;
    staging_.resize(kItemsAtOnce * (item + 1));
    const std::uint64_t offset = span.offset + at / item * (item + 1);
    if (Failure failure = origins_.read(origin, offset, staging_.data(), raw);
        failure.fault != Fault::kNone) {
      return failure;
    }
    for (std::uint64_t i = 0, from = skip; i < items; ++i, from = 0) {
      const std::uint64_t part = std::min(item - from, n);
      std::memcpy(to, staging_.data() + i * (item + 1) + from, part);
      to += part;
      at += part;
      n -= part;
    }
  }
  return {};
}

const std::uint8_t* Reader::view(std::size_t job, std::uint64_t at, std::uint64_t n) const {
  if (n == 0) return nullptr;
  const Job& from = task_.jobs[job];
  const std::size_t i = indices_[job].find(at);
  const Span& span = from.spans[i];
  const std::uint64_t inside = at - indices_[job].start(i);
  if (span.item != 0 || n > span.nbytes - inside) return nullptr;
  return origins_.view(from.origin, span.offset + inside, n);
}

void Reader::prefetch(std::size_t job, std::uint64_t at, std::uint64_t n) noexcept {
  if (n == 0) return;
  const Job& from = task_.jobs[job];
  const std::size_t i = indices_[job].find(at);
  const Span& span = from.spans[i];
  const std::uint64_t inside = at - indices_[job].start(i);
  // Strided spans lie denser in payload than in the file; the first part is enough of a hint.
  origins_.prefetch(from.origin, span.offset + inside, std::min(n, span.nbytes - inside));
}

}  // namespace halve::stream
