// What the host decides before a launch: how tensors are cut up, how many thread blocks there are,
// how much memory a launch needs. No CUDA headers: tested without a device.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/tensors.h"
#include "halve/cast.h"
#include "halve/float_type.h"

namespace halve::cuda {

// Arrays in one device's memory. `src` and `dst` do not overlap.
struct CastItem {
  const void* src;
  void* dst;
  std::uint64_t elements;
};

// `b` is null for statistics.
struct ReduceItem {
  const void* a;
  const void* b;
  std::uint64_t elements;
};

struct CastPlan {
  std::vector<CastTensor> tensors;
  std::uint64_t tiles = 0;
};

struct ReducePlan {
  std::vector<ReduceTensor> tensors;
  std::uint64_t tasks = 0;
  std::uint64_t chunks = 0;
};

// Throws std::invalid_argument where a pointer is null or not aligned to its elements. Empty arrays
// have a place in the plan and no work.
[[nodiscard]] CastPlan plan_cast(const std::vector<CastItem>& items);
[[nodiscard]] ReducePlan plan_reduction(const std::vector<ReduceItem>& items, FloatType a_type,
                                        FloatType b_type);

// One result a tensor: its chunks' joined in order by join(total, part).
template <class Totals, class Join>
[[nodiscard]] std::vector<Totals> join_chunks(const ReducePlan& plan,
                                              const std::vector<Totals>& chunks, const Join& join) {
  std::vector<Totals> results(plan.tensors.size());
  for (std::size_t i = 0; i < results.size(); ++i) {
    const bool last = i + 1 == results.size();
    const std::uint64_t end = last ? plan.chunks : plan.tensors[i + 1].first_chunk;
    for (std::uint64_t c = plan.tensors[i].first_chunk; c < end; ++c) join(results[i], chunks[c]);
  }
  return results;
}

// Bounds that halve/cast.h allows; throws std::invalid_argument for others.
void check_bounds(CastBounds bounds);

// Thread blocks for `units` of work of which a block does `per_block` at a time: no more than
// `resident` (what the device holds at once; the blocks then take several in turn), at least one.
[[nodiscard]] unsigned grid_blocks(std::uint64_t units, std::uint64_t per_block,
                                   std::uint64_t resident) noexcept;

// Places in one allocation, each aligned to 256 bytes.
class Layout {
 public:
  // The offset of `count` elements of `size` bytes.
  std::uint64_t add(std::uint64_t count, std::uint64_t size) noexcept;
  [[nodiscard]] std::uint64_t nbytes() const noexcept { return nbytes_; }

 private:
  std::uint64_t nbytes_ = 0;
};

}  // namespace halve::cuda
