#include "halve/twin.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "chunks.h"
#include "registry.h"

namespace halve {
namespace {

const float* past(const float* array, std::uint64_t elements) noexcept {
  return array == nullptr ? nullptr : array + elements;
}

double largest(const StatsTotals& found) noexcept {
  return std::max(std::fabs(found.minimum), std::fabs(found.maximum));
}

// One chunk of the tensors, block by block: each stays in the nearest cache while it is used.
class Chunk {
 public:
  Chunk(const BackendEntry& entry, const TwinTensors& tensors, const TwinRule& rule,
        TwinTotals& totals) noexcept
      : entry_(entry), tensors_(tensors), rule_(rule), totals_(totals) {}

  void run(std::uint64_t begin, std::uint64_t count) noexcept {
    begin_ = begin;
    for (std::uint64_t done = 0; done < count; done += kBlockElements) {
      block(begin + done, std::min(kBlockElements, count - done));
    }
    if (paired()) totals_.total.elements = count;
    if (tensors_.second != TwinLocal::kNone) totals_.local.elements = count;
  }

 private:
  bool paired() const noexcept { return tensors_.exact != nullptr && tensors_.half != nullptr; }

  void block(std::uint64_t at, std::uint64_t n) noexcept {
    const float* exact = past(tensors_.exact, at);
    const float* raw = past(tensors_.half, at);
    float* kept = tensors_.rounded == nullptr ? nullptr : tensors_.rounded + at;
    // The second comparison may need what is replaced.
    float* room = kept == nullptr || kept == raw ? scratch_ : kept;
    const float* half = room;
    if (!paired() || !fused(exact, raw, room, at, n)) half = apart(exact, raw, room, at, n);
    if (kept != nullptr && kept != half) std::memmove(kept, half, n * sizeof *kept);
  }

  bool fused(const float* exact, const float* raw, float* room, std::uint64_t at,
             std::uint64_t n) noexcept {
    if (entry_.twin->fused == nullptr) return false;
    StatsTotals exact_part, half_part;
    const kernels::TwinBlock block{exact, raw,         past(tensors_.local, at), room,
                                   n,     at - begin_, tensors_.rounding,        tensors_.second};
    if (!entry_.twin->fused(block, rule_, &exact_part, &half_part, &totals_.total,
                            &totals_.local)) {
      return false;
    }
    merge(totals_.exact, exact_part);
    merge(totals_.half, half_part);
    return true;
  }

  // A block by the separate passes; returns the values after rounding.
  const float* apart(const float* exact, const float* raw, float* room, std::uint64_t at,
                     std::uint64_t n) noexcept {
    if (exact != nullptr) totals_.exact_over += measure(exact, exact, n, totals_.exact);
    if (raw == nullptr) return nullptr;
    const float* half = rounded(raw, room, n);
    totals_.half_over += measure(half, raw, n, totals_.half);
    if (exact != nullptr) compare(half, exact, at, n, totals_.total);
    second(half, exact, at, n);
    return half;
  }

  const float* rounded(const float* x, float* room, std::uint64_t n) noexcept {
    if (tensors_.rounding == TwinRounding::kNone) return x;
    const bool f16 = tensors_.rounding == TwinRounding::kFloat16;
    (f16 ? entry_.twin->round_f16 : entry_.twin->round_bf16)(x, room, n);
    return room;
  }

  // Adds a block's statistics; returns how much of `raw`, of which `x` was made, is over the limit.
  std::uint64_t measure(const float* x, const float* raw, std::uint64_t n,
                        StatsTotals& totals) noexcept {
    StatsTotals part;
    entry_.stats(FloatType::kFloat32, x, n, rule_.thresholds, &part);
    merge(totals, part);
    // Rounding is monotonic, so that what is over the limit does not end below it.
    if (part.inf == 0 && !(largest(part) >= rule_.limit)) return 0;
    const double above = std::nextafter(rule_.limit, std::numeric_limits<double>::infinity());
    entry_.stats(FloatType::kFloat32, raw, n, {above, -1.0}, &part);
    return part.ge;
  }

  void compare(const float* a, const float* b, std::uint64_t at, std::uint64_t n,
               CompareTotals& totals) noexcept {
    entry_.twin->compare_block(a, b, n, at - begin_, rule_.compare, &totals);
  }

  void second(const float* half, const float* exact, std::uint64_t at, std::uint64_t n) noexcept {
    switch (tensors_.second) {
      case TwinLocal::kNone:
        return;
      case TwinLocal::kOwn:
        return compare(half, tensors_.half + at, at, n, totals_.local);
      case TwinLocal::kRounded:
        return compare(rounded(tensors_.local + at, second_scratch_, n), exact, at, n,
                       totals_.local);
      case TwinLocal::kPlain:
        return compare(tensors_.local + at, exact, at, n, totals_.local);
    }
  }

  const BackendEntry& entry_;
  const TwinTensors& tensors_;
  const TwinRule& rule_;
  TwinTotals& totals_;
  std::uint64_t begin_ = 0;
  alignas(64) float scratch_[kBlockElements];
  alignas(64) float second_scratch_[kBlockElements];
};

bool valid(const TwinTensors& tensors) noexcept {
  if (tensors.n == 0) return true;
  const bool local = tensors.local != nullptr || tensors.second < TwinLocal::kRounded;
  const bool exact = tensors.exact != nullptr || tensors.second < TwinLocal::kRounded;
  const bool half =
      tensors.half != nullptr || (tensors.second == TwinLocal::kNone && tensors.rounded == nullptr);
  return local && exact && half;
}

bool valid(const TwinRule& rule) noexcept {
  const auto tolerance = [](double value) { return std::isfinite(value) && value >= 0.0; };
  return !std::isnan(rule.thresholds.ge) && !std::isnan(rule.thresholds.le) &&
         !std::isnan(rule.limit) && tolerance(rule.compare.rtol) && tolerance(rule.compare.atol);
}

void append(TwinTotals& total, const TwinTotals& part) noexcept {
  merge(total.exact, part.exact);
  merge(total.half, part.half);
  append(total.total, part.total);
  append(total.local, part.local);
  total.exact_over += part.exact_over;
  total.half_over += part.half_over;
}

}  // namespace

Status twin_threaded(Backend backend, const TwinTensors& tensors, const TwinRule& rule,
                     TwinTotals& totals, unsigned threads) noexcept {
  if (!valid(tensors) || !valid(rule)) return Status::kInvalidArgument;
  const BackendEntry* entry = find_backend(backend);
  if (entry == nullptr || !entry->usable) return Status::kUnsupportedBackend;
  totals = {};
  reduce_chunks<TwinTotals>(
      tensors.n, threads,
      [&](std::uint64_t begin, std::uint64_t count, TwinTotals& part) {
        Chunk(*entry, tensors, rule, part).run(begin, count);
      },
      [&](const TwinTotals& part) { append(totals, part); });
  return Status::kOk;
}

}  // namespace halve
