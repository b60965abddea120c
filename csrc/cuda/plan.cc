#include "cuda/plan.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "cuda/cast_thread.h"
#include "cuda/rows.h"
#include "halve/reduce.h"

namespace halve::cuda {
namespace {

constexpr std::uint64_t kElementBytes[kFloatTypeCount] = {4, 2, 2, 8};
constexpr std::uint64_t kPlaceBytes = 256;
constexpr std::uint64_t kMostBlocks = 0x7FFFFFFF;

void check_pointer(const char* name, const void* p, std::uint64_t size) {
  if (p == nullptr) throw std::invalid_argument(std::string(name) + " is a null pointer");
  if (address_of(p) % size != 0) {
    throw std::invalid_argument(std::string(name) + " is not aligned to its elements of " +
                                std::to_string(size) + " bytes");
  }
}

std::uint64_t size_of(FloatType type) {
  const auto number = static_cast<std::size_t>(type);
  if (number >= kFloatTypeCount) throw std::invalid_argument("unknown element type");
  return kElementBytes[number];
}

CastTensor cut_cast(const CastItem& item, std::uint64_t first_tile) {
  CastTensor t{static_cast<const char*>(item.src),
               static_cast<char*>(item.dst),
               item.elements,
               0,
               0,
               first_tile};
  if (item.elements == 0) return t;
  check_pointer("src", item.src, sizeof(float));
  check_pointer("dst", item.dst, sizeof(std::uint16_t));
  const std::uint64_t past = address_of(item.dst) % kVectorBytes;
  t.head = std::min((kVectorBytes - past) % kVectorBytes / sizeof(std::uint16_t), item.elements);
  t.units = 1 + quotient_up(item.elements - t.head, kUnitElements);
  return t;
}

}  // namespace

CastPlan plan_cast(const std::vector<CastItem>& items) {
  CastPlan plan;
  for (const CastItem& item : items) {
    plan.tensors.push_back(cut_cast(item, plan.tiles));
    plan.tiles += quotient_up(plan.tensors.back().units, kTileUnits);
  }
  return plan;
}

ReducePlan plan_reduction(const std::vector<ReduceItem>& items, FloatType a_type,
                          FloatType b_type) {
  ReducePlan plan;
  for (const ReduceItem& item : items) {
    if (item.elements > 0) check_pointer("the first array", item.a, size_of(a_type));
    if (item.elements > 0 && item.b != nullptr) {
      check_pointer("the second array", item.b, size_of(b_type));
    }
    ReduceTensor t{static_cast<const char*>(item.a),
                   static_cast<const char*>(item.b),
                   item.elements,
                   chunk_elements(item.elements),
                   plan.tasks,
                   plan.chunks};
    const std::uint64_t chunks = quotient_up(t.elements, t.chunk_elements);
    if (chunks > 0) {
      plan.tasks +=
          (chunks - 1) * tasks_per_chunk(t) + quotient_up(chunk_size(t, chunks - 1), kTaskElements);
    }
    plan.chunks += chunks;
    plan.tensors.push_back(t);
  }
  return plan;
}

void check_bounds(CastBounds bounds) {
  if (bounds.min_positive >= 0.0F && std::isfinite(bounds.min_positive) &&
      bounds.max_finite > 0.0F && bounds.min_positive <= bounds.max_finite) {
    return;
  }
  throw std::invalid_argument("bounds out of range");
}

unsigned grid_blocks(std::uint64_t units, std::uint64_t per_block,
                     std::uint64_t resident) noexcept {
  const std::uint64_t wanted = quotient_up(units, per_block);
  const std::uint64_t most = std::min(std::max<std::uint64_t>(resident, 1), kMostBlocks);
  return static_cast<unsigned>(std::clamp<std::uint64_t>(wanted, 1, most));
}

std::uint64_t Layout::add(std::uint64_t count, std::uint64_t size) noexcept {
  const std::uint64_t offset = nbytes_;
  nbytes_ += quotient_up(count * size, kPlaceBytes) * kPlaceBytes;
  return offset;
}

}  // namespace halve::cuda
