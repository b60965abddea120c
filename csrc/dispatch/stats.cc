#include "halve/stats.h"

#include <algorithm>
#include <cmath>

#include "chunks.h"
#include "registry.h"

namespace halve {
namespace {

constexpr std::uint64_t kElementBytes[kFloatTypeCount] = {4, 2, 2, 8};

}  // namespace

void merge(StatsTotals& total, const StatsTotals& part) noexcept {
  total.elements += part.elements;
  total.nan += part.nan;
  total.inf += part.inf;
  total.zero += part.zero;
  total.subnormal += part.subnormal;
  total.ge += part.ge;
  total.le += part.le;
  // Which zero a minimum is depends on the instruction; adding 0 makes it the positive one.
  total.minimum = std::min(total.minimum, part.minimum) + 0.0;
  total.maximum = std::max(total.maximum, part.maximum) + 0.0;
  total.sum_squares += part.sum_squares;
}

Status stats_threaded(Backend backend, FloatType type, const void* x, std::uint64_t n,
                      StatsThresholds thresholds, StatsTotals& totals, unsigned threads) noexcept {
  const int number = static_cast<int>(type);
  if (number >= kFloatTypeCount || (n > 0 && x == nullptr)) return Status::kInvalidArgument;
  if (std::isnan(thresholds.ge) || std::isnan(thresholds.le)) return Status::kInvalidArgument;
  const BackendEntry* entry = find_backend(backend);
  if (entry == nullptr || !entry->usable) return Status::kUnsupportedBackend;
  totals = {};
  reduce_chunks<StatsTotals>(
      n, threads,
      [&](std::uint64_t begin, std::uint64_t count, StatsTotals& part) {
        const char* at = static_cast<const char*>(x) + kElementBytes[number] * begin;
        entry->stats(type, at, count, thresholds, &part);
      },
      [&](const StatsTotals& part) { merge(totals, part); });
  return Status::kOk;
}

}  // namespace halve
