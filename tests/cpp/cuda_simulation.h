// The kernels of csrc/cuda on the host: the same functions of every thread, in the same phases
// between barriers, with thread blocks, warps and threads in a random order. What a device does
// beyond that (the hardware's conversions, shuffles, fences) it cannot show.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "cuda/cast_thread.h"
#include "cuda/fold.h"
#include "cuda/plan.h"

namespace halve::cuda {

// How a launch is simulated: any choice must give the same result.
struct Geometry {
  unsigned blocks = 1;
  unsigned seed = 0;
};

class Shuffled {
 public:
  explicit Shuffled(unsigned seed) : random_(seed) {}

  // Calls body(thread) for every thread of a warp, in some order.
  template <class Body>
  void each(const Body& body) {
    std::shuffle(order_.begin(), order_.end(), random_);
    for (const unsigned thread : order_) body(thread);
  }
  std::size_t below(std::size_t n) {
    return std::uniform_int_distribution<std::size_t>(0, n - 1)(random_);
  }

 private:
  static std::vector<unsigned> numbers() {
    std::vector<unsigned> all(kWarp);
    std::iota(all.begin(), all.end(), 0U);
    return all;
  }
  std::mt19937 random_;
  std::vector<unsigned> order_ = numbers();
};

// A warp of the reduction kernel: its threads, and the memory that they share.
template <class Thread>
class Warp {
 public:
  Warp(const ReduceLaunch<Thread>& launch, std::uint64_t first, std::uint64_t stride,
       Shuffled& order)
      : next(first), launch_(launch), stride_(stride), order_(order) {
    for (unsigned i = 0; i < kWarp; ++i) threads_.emplace_back(launch.rule, i);
    std::fill(std::begin(area_.bytes), std::end(area_.bytes), char{0x5A});
  }

  // What reduce_kernel's outer loop does once.
  void run_task() {
    const Task task = locate(launch_.tensors, launch_.tensor_count, next);
    const ReduceTensor& tensor = launch_.tensors[task.tensor];
    char* area = area_.bytes;
    order_.each([&](unsigned t) { threads_[t].begin(tensor, task), threads_[t].fetch(0); });
    for (std::uint32_t step = 0; any_more(step); ++step) run_step(step);
    order_.each([&](unsigned t) { threads_[t].put_sums(area); });
    order_.each([&](unsigned t) { write_row_sums(launch_, task, threads_[t].row(), area); });
    typename Thread::Totals totals{};
    order_.each([&](unsigned t) { Thread::combine(totals, threads_[t].totals()); });
    launch_.parts[task.number] = totals;
    const ChunkPlace place = place_of(tensor, task.chunk);
    if (++launch_.arrived[place.number] == place.tasks) fold(place);
    next += stride_;
  }

  std::uint64_t next;

 private:
  bool any_more(std::uint32_t step) const {
    return std::any_of(threads_.begin(), threads_.end(),
                       [&](const Thread& thread) { return thread.more(step); });
  }

  void run_step(std::uint32_t step) {
    char* area = area_.bytes;
    unsigned found[kWarp];
    order_.each([&](unsigned t) { threads_[t].place(area, step); });
    order_.each([&](unsigned t) {
      threads_[t].fetch(step + 1);
      found[t] = threads_[t].scan(area, step);
    });
    if (std::all_of(found, found + kWarp, [](unsigned f) { return f == 0; })) return;
    order_.each([&](unsigned t) { threads_[t].settle(area, step, found[t]); });
    typename Thread::Shared bound{};
    order_.each([&](unsigned t) { Thread::combine(bound, threads_[t].shared()); });
    order_.each([&](unsigned t) { threads_[t].follow(bound); });
  }

  void fold(const ChunkPlace& place) {
    char* area = area_.bytes;
    typename Thread::Totals totals{};
    order_.each([&](unsigned t) { Thread::combine(totals, gather_parts(launch_, place, t)); });
    double sums[kWarp] = {};
    for (std::uint64_t from = 0; from < place.rows; from += kFoldRows) {
      order_.each([&](unsigned t) { fetch_sums(launch_, place, from, t, area); });
      order_.each([&](unsigned t) { add_sums<Thread>(place, from, t, area, sums[t]); });
    }
    launch_.chunks[place.number] = Thread::describe(totals, sums, place.begin, place.elements);
  }

  ReduceLaunch<Thread> launch_;
  std::uint64_t stride_;
  Shuffled& order_;
  std::vector<Thread> threads_;
  struct alignas(16) Area {
    char bytes[Thread::kAreaBytes];
  } area_;
};

// reduce_kernel: the chunks of a plan.
template <class Thread>
std::vector<typename Thread::Totals> simulate_reduction(const ReducePlan& plan,
                                                        typename Thread::Rule rule,
                                                        Geometry geometry) {
  constexpr unsigned kWarps = kReduceThreads / kWarp;
  // What a launch does not write must not matter.
  std::vector<double> sums(plan.tasks * kTaskRows * Thread::kSums, -7e77);
  std::vector<typename Thread::Totals> parts(plan.tasks), chunks(plan.chunks);
  std::vector<std::uint32_t> arrived(plan.chunks);
  const ReduceLaunch<Thread> launch{
      plan.tensors.data(), plan.tensors.size(), plan.tasks,     rule,
      sums.data(),         parts.data(),        arrived.data(), chunks.data()};
  Shuffled order(geometry.seed);
  std::vector<std::unique_ptr<Warp<Thread>>> warps;
  for (unsigned i = 0; i < geometry.blocks * kWarps; ++i) {
    if (i >= plan.tasks) break;
    warps.push_back(std::make_unique<Warp<Thread>>(launch, i, geometry.blocks * kWarps, order));
  }
  while (!warps.empty()) {
    const std::size_t i = order.below(warps.size());
    warps[i]->run_task();
    if (warps[i]->next < plan.tasks) continue;
    std::swap(warps[i], warps.back());
    warps.pop_back();
  }
  return chunks;
}

// A thread block of cast_kernel; `threads` have the state of the whole launch.
template <class R>
void simulate_tile(const CastPlan& plan, std::uint64_t tile, std::vector<CastThread<R>>& threads,
                   std::vector<SharedCounts>& totals) {
  const std::uint64_t number = tensor_of_tile(plan.tensors.data(), plan.tensors.size(), tile);
  const CastTensor& t = plan.tensors[number];
  for (unsigned first = 0; first < kCastThreads; first += kWarp) {
    float most = 0.0F;
    for (unsigned i = first; i < first + kWarp; ++i) {
      threads[i].tile(t, (tile - t.first_tile) * kTileUnits, i);
      most = std::max(most, threads[i].relative());
    }
    for (unsigned i = first; i < first + kWarp; ++i) threads[i].follow(most);
  }
  for (CastThread<R>& thread : threads) deposit(&totals[number], thread.take());
}

// cast_kernel: the counts of every tensor.
template <class R>
std::vector<SharedCounts> simulate_cast(const CastPlan& plan, CastBounds bounds,
                                        Geometry geometry) {
  std::vector<SharedCounts> totals(plan.tensors.size());
  std::vector<std::uint64_t> tiles(plan.tiles);
  std::iota(tiles.begin(), tiles.end(), std::uint64_t{0});
  std::shuffle(tiles.begin(), tiles.end(), std::mt19937(geometry.seed));
  std::vector<CastThread<R>> threads(kCastThreads, CastThread<R>(bounds));
  for (const std::uint64_t tile : tiles) simulate_tile<R>(plan, tile, threads, totals);
  return totals;
}

}  // namespace halve::cuda
