#include "halve/compare.h"

#include <cmath>
#include <limits>

#include "chunks.h"
#include "registry.h"

namespace halve {
namespace {

constexpr std::uint64_t kElementBytes[kFloatTypeCount] = {4, 2, 2, 8};

bool known(FloatType type) noexcept { return static_cast<int>(type) < kFloatTypeCount; }

bool valid_tolerance(double value) noexcept { return std::isfinite(value) && value >= 0.0; }

const char* element(const void* array, FloatType type, std::uint64_t index) noexcept {
  return static_cast<const char*>(array) + kElementBytes[static_cast<int>(type)] * index;
}

// Which NaN an operation yields depends on the instruction.
void make_nan_plain(double& sum) noexcept {
  if (std::isnan(sum)) sum = std::numeric_limits<double>::quiet_NaN();
}

// Takes `part`'s maximum where it is greater: among equals the first stays.
void take_larger(double& most, std::uint64_t& index, double part, std::uint64_t part_index,
                 std::uint64_t before) noexcept {
  if (!(part > most)) return;
  most = part;
  index = before + part_index;
}

// The maxima that a thread has seen: what does not exceed them in a later chunk is not the first
// worst element of the array.
struct Worst {
  double abs_error = 0.0, rel_error = 0.0;

  void begin(CompareTotals& part) const noexcept {
    part.max_abs_error = abs_error;
    part.max_rel_error = rel_error;
  }
  void follow(const CompareTotals& part) noexcept {
    abs_error = part.max_abs_error;
    rel_error = part.max_rel_error;
  }
};

}  // namespace

void append(CompareTotals& total, const CompareTotals& part) noexcept {
  take_larger(total.max_abs_error, total.max_abs_index, part.max_abs_error, part.max_abs_index,
              total.elements);
  take_larger(total.max_rel_error, total.max_rel_index, part.max_rel_error, part.max_rel_index,
              total.elements);
  total.elements += part.elements;
  total.a_nan += part.a_nan;
  total.a_inf += part.a_inf;
  total.b_nan += part.b_nan;
  total.b_inf += part.b_inf;
  total.mismatches += part.mismatches;
  total.sum_aa += part.sum_aa;
  total.sum_bb += part.sum_bb;
  total.sum_ab += part.sum_ab;
  total.sum_ee += part.sum_ee;
  for (double* sum : {&total.sum_aa, &total.sum_bb, &total.sum_ab, &total.sum_ee}) {
    make_nan_plain(*sum);
  }
}

Status compare_threaded(Backend backend, FloatType a_type, const void* a, FloatType b_type,
                        const void* b, std::uint64_t n, CompareRule rule, CompareTotals& totals,
                        unsigned threads) noexcept {
  if (!known(a_type) || !known(b_type)) return Status::kInvalidArgument;
  if (n > 0 && (a == nullptr || b == nullptr)) return Status::kInvalidArgument;
  if (!valid_tolerance(rule.rtol) || !valid_tolerance(rule.atol)) return Status::kInvalidArgument;
  const BackendEntry* entry = find_backend(backend);
  if (entry == nullptr || !entry->usable) return Status::kUnsupportedBackend;
  totals = {};
  reduce_chunks<CompareTotals>(
      n, threads,
      [&, worst = Worst{}](std::uint64_t begin, std::uint64_t count, CompareTotals& part) mutable {
        worst.begin(part);
        entry->compare(a_type, element(a, a_type, begin), b_type, element(b, b_type, begin), count,
                       rule, &part);
        worst.follow(part);
      },
      [&](const CompareTotals& part) { append(totals, part); });
  return Status::kOk;
}

}  // namespace halve
