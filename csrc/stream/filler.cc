#include "filler.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace halve::stream {
namespace {

static_assert(std::endian::native == std::endian::little, "payloads are little-endian");

constexpr std::uint64_t kFrom = sizeof(float);
constexpr std::uint64_t kTo = sizeof(std::uint16_t);

HalfType half_type(Action action) noexcept {
  return action == Action::kBFloat16 ? HalfType::kBFloat16 : HalfType::kFloat16;
}

Fault fault_of(Status status) noexcept {
  if (status == Status::kDeviceFailed) return Fault::kDevice;
  return status == Status::kUnsupportedBackend ? Fault::kBackend : Fault::kInvalid;
}

// The first piece that ends after `begin`; pieces are sorted and do not overlap.
std::vector<Piece>::const_iterator first_after(const Output& output, std::uint64_t begin) {
  return std::partition_point(
      output.pieces.begin(), output.pieces.end(),
      [begin](const Piece& piece) { return piece.offset + piece.nbytes <= begin; });
}

}  // namespace

void Tally::add(std::int64_t job, const CastCounts& part) {
  const std::lock_guard lock(mutex_);
  merge(counts_[static_cast<std::size_t>(job)], part);
}

Failure Filler::fill(const Output& output, std::uint64_t begin, std::uint64_t end,
                     std::uint8_t* to) {
  std::uint64_t at = begin;
  for (auto piece = first_after(output, begin); piece != output.pieces.end(); ++piece) {
    if (piece->offset >= end) break;
    const std::uint64_t first = std::max(piece->offset, begin);
    const std::uint64_t last = std::min(piece->offset + piece->nbytes, end);
    std::memset(to + (at - begin), 0, first - at);
    const Failure failure =
        fill_piece(*piece, first - piece->offset, last - piece->offset, to + (first - begin));
    if (failure.fault != Fault::kNone) return failure;
    at = last;
  }
  std::memset(to + (at - begin), 0, end - at);
  return {};
}

Failure Filler::fill_piece(const Piece& piece, std::uint64_t begin, std::uint64_t end,
                           std::uint8_t* to) {
  if (piece.job == kLiteral) {
    std::memcpy(to, piece.literal + begin, end - begin);
    return {};
  }
  const auto job = static_cast<std::size_t>(piece.job);
  if (task_.jobs[job].action == Action::kCopy) return reader_.read(job, begin, to, end - begin);
  return fill_cast(piece.job, begin, end, to);
}

// An element that lies across a border is counted where its first byte is.
Failure Filler::fill_cast(std::int64_t job, std::uint64_t begin, std::uint64_t end,
                          std::uint8_t* to) {
  CastCounts counts;
  if (begin % kTo != 0) {
    CastCounts counted_before;
    const Failure failure = cast_half(job, begin / kTo, 1, to, counted_before);
    if (failure.fault != Fault::kNone) return failure;
    ++begin;
    ++to;
  }
  const std::uint64_t whole = (end - begin) / kTo;
  Failure failure = cast_whole(job, begin / kTo, whole, to, counts);
  if (failure.fault == Fault::kNone && begin + whole * kTo < end) {
    failure = cast_half(job, end / kTo, 0, to + whole * kTo, counts);
  }
  if (failure.fault == Fault::kNone) tally_.add(job, counts);
  return failure;
}

Failure Filler::cast_whole(std::int64_t job, std::uint64_t first, std::uint64_t n, std::uint8_t* to,
                           CastCounts& counts) {
  const auto index = static_cast<std::size_t>(job);
  const Job& from = task_.jobs[index];
  while (n > 0) {
    const std::uint64_t part = std::min<std::uint64_t>(n, floats_.size());
    const void* bytes = reader_.view(index, first * kFrom, part * kFrom);
    if (bytes == nullptr) {
      const Failure failure = reader_.read(
          index, first * kFrom, reinterpret_cast<std::uint8_t*>(floats_.data()), part * kFrom);
      if (failure.fault != Fault::kNone) return failure;
      bytes = floats_.data();
    }
    const Status status = cast_part(from, bytes, to, part, counts);
    if (status != Status::kOk) return {fault_of(status), from.origin, 0, job, 0};
    first += part;
    to += part * kTo;
    n -= part;
  }
  return {};
}

// Any address will do for the kernels, on both sides.
Status Filler::cast_part(const Job& job, const void* from, std::uint8_t* to, std::uint64_t n,
                         CastCounts& counts) const noexcept {
  const HalfType type = half_type(job.action);
  // An element that lies across a border is not worth a way to the device.
  if (caster_ != nullptr && n > 1) {
    return caster_->cast(caster_->state, type, from, to, n, job.bounds, counts);
  }
  return cast(type, static_cast<const float*>(from), reinterpret_cast<std::uint16_t*>(to), n,
              job.bounds, counts, StorePolicy::kCached);
}

Failure Filler::cast_half(std::int64_t job, std::uint64_t element, std::uint64_t which,
                          std::uint8_t* to, CastCounts& counts) {
  std::uint8_t both[kTo];
  const Failure failure = cast_whole(job, element, 1, both, counts);
  *to = both[which];
  return failure;
}

void Filler::prefetch(const Output& output, std::uint64_t begin, std::uint64_t end) noexcept {
  for (auto piece = first_after(output, begin); piece != output.pieces.end(); ++piece) {
    if (piece->offset >= end) return;
    if (piece->job == kLiteral) continue;
    const auto job = static_cast<std::size_t>(piece->job);
    const std::uint64_t scale = task_.jobs[job].action == Action::kCopy ? 1 : kFrom / kTo;
    const std::uint64_t first = std::max(piece->offset, begin) - piece->offset;
    const std::uint64_t last = std::min(piece->offset + piece->nbytes, end) - piece->offset;
    reader_.prefetch(job, first * scale, (last - first) * scale);
  }
}

}  // namespace halve::stream
