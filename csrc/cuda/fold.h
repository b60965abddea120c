// From rows to chunks: what the threads of the warp that ends a chunk do. See rows.h.
#pragma once

#include "cuda/rows.h"
#include "kernels/lanes/sums.h"

namespace halve::cuda {
namespace {

// The arguments of a reduction's launch. `sums` has a place for every row of every task, `parts`
// one a task, `arrived` (zeros before the launch) and `chunks`, the result, one a chunk.
template <class Thread>
struct ReduceLaunch {
  const ReduceTensor* tensors;
  uint64_t tensor_count;
  uint64_t task_count;
  typename Thread::Rule rule;
  double* sums;
  typename Thread::Totals* parts;
  uint32_t* arrived;
  typename Thread::Totals* chunks;
};

// Adds the lanes that put_sums left; a thread a sum and row.
template <class Thread>
HALVE_INLINE void write_row_sums(const ReduceLaunch<Thread>& launch, const Task& task,
                                 const Row& row, const char* area) {
  if (row.lane >= Thread::kSums) return;
  const unsigned slot = row.number * Thread::kSums + row.lane;
  launch.sums[task.number * kTaskRows * Thread::kSums + slot] =
      kernels::sum_of_lanes(reinterpret_cast<const double*>(area) + slot * kRowLanes);
}

// A chunk in the launch's memory.
struct ChunkPlace {
  uint64_t number;  // in the launch
  uint64_t first_task;
  uint64_t tasks;
  uint64_t rows;
  uint64_t begin;  // elements of the tensor
  uint64_t elements;
};

HALVE_INLINE ChunkPlace place_of(const ReduceTensor& t, uint64_t chunk) {
  const uint64_t elements = chunk_size(t, chunk);
  return {t.first_chunk + chunk,
          t.first_task + chunk * tasks_per_chunk(t),
          quotient_up(elements, kTaskElements),
          quotient_up(elements, kBlockElements),
          chunk * t.chunk_elements,
          elements};
}

// This thread's share of the counts and maxima of a chunk.
template <class Thread>
HALVE_INLINE typename Thread::Totals gather_parts(const ReduceLaunch<Thread>& launch,
                                                  const ChunkPlace& place, unsigned thread) {
  typename Thread::Totals found{};
  for (uint64_t i = thread; i < place.tasks; i += kWarp) {
    Thread::combine(found, load_fresh(launch.parts + place.first_task + i));
  }
  return found;
}

// Brings up to kFoldRows rows' sums, from row `from` of the chunk on, into the shared area.
template <class Thread>
HALVE_INLINE void fetch_sums(const ReduceLaunch<Thread>& launch, const ChunkPlace& place,
                             uint64_t from, unsigned thread, char* area) {
  const uint64_t row = from + thread;
  if (row >= place.rows) return;
  const double* sums = launch.sums + (place.first_task * kTaskRows + row) * Thread::kSums;
  HALVE_UNROLL_ALL
  for (unsigned k = 0; k < Thread::kSums; ++k) {
    reinterpret_cast<double*>(area)[thread * Thread::kSums + k] = load_fresh(sums + k);
  }
}

// Adds them in order; a thread a sum.
template <class Thread>
HALVE_INLINE void add_sums(const ChunkPlace& place, uint64_t from, unsigned thread,
                           const char* area, double& sum) {
  if (thread >= Thread::kSums) return;
  const uint64_t count = least(place.rows - from, kFoldRows);
  for (uint64_t i = 0; i < count; ++i) {
    sum += reinterpret_cast<const double*>(area)[i * Thread::kSums + thread];
  }
}

}  // namespace
}  // namespace halve::cuda
