// The kernel of every reduction, and its launch. For files that nvcc compiles.
#pragma once

#include <cstring>
#include <vector>

#include "cuda/context.h"
#include "cuda/fold.h"
#include "cuda/plan.h"
#include "cuda/warp.h"

namespace halve::cuda {
namespace {

inline constexpr unsigned kWarpsPerBlock = kReduceThreads / kWarp;
// Thread blocks that a multiprocessor is to hold: with fewer registers for each, more loads are on
// their way together. With one more the compiler keeps the hot loop's values in memory.
inline constexpr unsigned kBlocksTogether = 4;

// What combine_warp joins values with.
template <class Thread>
struct Joining {
  template <class T>
  __device__ __forceinline__ void operator()(T& total, const T& part) const {
    Thread::combine(total, part);
  }
};

// Sums and parts of a task's rows, then the word that they are there; true in the whole warp where
// all other tasks of the chunk have been done.
template <class Thread>
__device__ bool end_task(const ReduceLaunch<Thread>& launch, const ReduceTensor& tensor,
                         const Task& task, const Thread& thread, char* area) {
  thread.put_sums(area);
  __syncwarp();
  write_row_sums(launch, task, thread.row(), area);
  const typename Thread::Totals totals = combine_warp(thread.totals(), Joining<Thread>{});
  const unsigned lane = threadIdx.x % kWarp;
  if (lane == 0) launch.parts[task.number] = totals;
  // What the whole warp wrote comes before the count, which one of its threads raises.
  __syncwarp();
  __threadfence();
  const ChunkPlace place = place_of(tensor, task.chunk);
  unsigned before = 0;
  if (lane == 0) before = atomicAdd(launch.arrived + place.number, 1U);
  before = __shfl_sync(kWholeWarp, before, 0);
  __threadfence();
  __syncwarp();  // a shuffle orders no accesses to memory
  return before + 1 == place.tasks;
}

template <class Thread>
__device__ void fold_chunk(const ReduceLaunch<Thread>& launch, const ReduceTensor& tensor,
                           uint64_t chunk, char* area) {
  const unsigned lane = threadIdx.x % kWarp;
  const ChunkPlace place = place_of(tensor, chunk);
  const typename Thread::Totals totals =
      combine_warp(gather_parts(launch, place, lane), Joining<Thread>{});
  double sum = 0.0;
  for (uint64_t from = 0; from < place.rows; from += kFoldRows) {
    __syncwarp();
    fetch_sums(launch, place, from, lane, area);
    __syncwarp();
    add_sums<Thread>(place, from, lane, area, sum);
  }
  __syncwarp();
  auto* sums = reinterpret_cast<double*>(area);
  if (lane < Thread::kSums) sums[lane] = sum;
  __syncwarp();
  if (lane == 0) {
    launch.chunks[place.number] = Thread::describe(totals, sums, place.begin, place.elements);
  }
  __syncwarp();
}

template <class Thread>
__global__ void __launch_bounds__(kReduceThreads, kBlocksTogether)
    reduce_kernel(ReduceLaunch<Thread> launch) {
  __shared__ alignas(16) char areas[kWarpsPerBlock][Thread::kAreaBytes];
  const unsigned warp = threadIdx.x / kWarp;
  char* area = areas[warp];
  Thread thread(launch.rule, threadIdx.x % kWarp);
  const uint64_t stride = uint64_t{gridDim.x} * kWarpsPerBlock;
  for (uint64_t i = uint64_t{blockIdx.x} * kWarpsPerBlock + warp; i < launch.task_count;
       i += stride) {
    const Task task = locate(launch.tensors, launch.tensor_count, i);
    const ReduceTensor tensor = launch.tensors[task.tensor];
    thread.begin(tensor, task);
    thread.fetch(0);
    for (uint32_t step = 0; __any_sync(kWholeWarp, thread.more(step)); ++step) {
      thread.place(area, step);
      __syncwarp();
      thread.fetch(step + 1);
      const unsigned found = thread.scan(area, step);
      if (__any_sync(kWholeWarp, found != 0)) {
        thread.settle(area, step, found);
        __syncwarp();
        thread.follow(combine_warp(thread.shared(), Joining<Thread>{}));
      }
      __syncwarp();
    }
    if (end_task(launch, tensor, task, thread, area)) fold_chunk(launch, tensor, task.chunk, area);
    __syncwarp();
  }
}

// A launch's memory, in the order of the struct.
template <class Thread>
struct ReduceMemory {
  explicit ReduceMemory(const ReducePlan& plan)
      : tensors(layout.add(plan.tensors.size(), sizeof(ReduceTensor))),
        arrived(layout.add(plan.chunks, sizeof(uint32_t))),
        table_bytes(layout.nbytes()),
        chunks(layout.add(plan.chunks, sizeof(typename Thread::Totals))),
        host_bytes(layout.nbytes()),
        parts(layout.add(plan.tasks, sizeof(typename Thread::Totals))),
        sums(layout.add(plan.tasks * kTaskRows * Thread::kSums, sizeof(double))) {}
  Layout layout;
  std::uint64_t tensors, arrived;
  std::uint64_t table_bytes;  // of both, which go in together
  std::uint64_t chunks;
  std::uint64_t host_bytes;  // the above have a copy in pinned memory
  std::uint64_t parts, sums;
};

template <class Thread>
void enqueue(const Context& context, const ReducePlan& plan, typename Thread::Rule rule,
             const ReduceMemory<Thread>& memory, char* device, char* host) {
  const cudaStream_t stream = context.stream();
  std::memcpy(host + memory.tensors, plan.tensors.data(),
              plan.tensors.size() * sizeof(ReduceTensor));
  std::memset(host + memory.arrived, 0, plan.chunks * sizeof(uint32_t));
  HALVE_CUDA_CHECK(
      cudaMemcpyAsync(device, host, memory.table_bytes, cudaMemcpyHostToDevice, stream));
  const ReduceLaunch<Thread> launch{
      reinterpret_cast<const ReduceTensor*>(device + memory.tensors),
      plan.tensors.size(),
      plan.tasks,
      rule,
      reinterpret_cast<double*>(device + memory.sums),
      reinterpret_cast<typename Thread::Totals*>(device + memory.parts),
      reinterpret_cast<uint32_t*>(device + memory.arrived),
      reinterpret_cast<typename Thread::Totals*>(device + memory.chunks)};
  const unsigned blocks =
      grid_blocks(plan.tasks, kWarpsPerBlock,
                  context.resident(reduce_kernel<Thread>, static_cast<int>(kReduceThreads)));
  context.kernel.begin(stream);
  reduce_kernel<Thread><<<blocks, kReduceThreads, 0, stream>>>(launch);
  HALVE_CUDA_CHECK(cudaGetLastError());
  context.kernel.end(stream);
  HALVE_CUDA_CHECK(cudaMemcpyAsync(host + memory.chunks, device + memory.chunks,
                                   plan.chunks * sizeof(typename Thread::Totals),
                                   cudaMemcpyDeviceToHost, stream));
}

// The totals of every chunk of every tensor, in order, when the stream has done all work so far.
template <class Thread>
std::vector<typename Thread::Totals> reduce_chunks_on(Context& context, const ReducePlan& plan,
                                                      typename Thread::Rule rule) {
  std::vector<typename Thread::Totals> chunks(plan.chunks);
  if (plan.chunks == 0) return chunks;
  const ReduceMemory<Thread> memory(plan);
  const std::lock_guard lock(context.mutex);
  const DeviceGuard guard(context.device());
  context.scratch.reserve(memory.layout.nbytes());
  context.staging.reserve(memory.host_bytes);
  enqueue<Thread>(context, plan, rule, memory, context.scratch.get(), context.staging.get());
  HALVE_CUDA_CHECK(cudaStreamSynchronize(context.stream()));
  std::memcpy(chunks.data(), context.staging.get() + memory.chunks,
              chunks.size() * sizeof(typename Thread::Totals));
  return chunks;
}

}  // namespace
}  // namespace halve::cuda
