#include <array>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <utility>

#include "cuda/cast.h"
#include "cuda/cast_thread.h"
#include "cuda/context.h"
#include "cuda/pipeline.h"
#include "cuda/warp.h"

namespace halve::cuda {
namespace {

constexpr uint64_t kNoTensor = ~uint64_t{0};
// Thread blocks that a multiprocessor is to hold; with more, the compiler keeps values in memory.
constexpr unsigned kCastBlocksTogether = 3;

template <class R>
__device__ void flush(CastThread<R>& thread, SharedCounts* total) {
  const CastCounts counts = combine_warp(
      thread.take(), [](CastCounts& total, const CastCounts& part) { combine(total, part); });
  if (threadIdx.x % warpSize == 0) deposit(total, counts);
}

template <class R>
__global__ void __launch_bounds__(kCastThreads, kCastBlocksTogether)
    cast_kernel(const CastTensor* tensors, uint64_t count, uint64_t tiles, CastBounds bounds,
                SharedCounts* totals) {
  CastThread<R> thread(bounds);
  uint64_t current = kNoTensor;
  for (uint64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const uint64_t number = tensor_of_tile(tensors, count, tile);
    if (number != current && current != kNoTensor) flush(thread, totals + current);
    current = number;
    const CastTensor t = tensors[number];
    const bool rose = thread.tile(t, (tile - t.first_tile) * kTileUnits, threadIdx.x);
    // One thread's larger error spares the others of its warp the search for it.
    if (__any_sync(kWholeWarp, rose)) {
      float most = thread.relative();
      for (unsigned mask = 16; mask > 0; mask /= 2) {
        most = fmaxf(most, __shfl_xor_sync(kWholeWarp, most, mask));
      }
      thread.follow(most);
    }
  }
  if (current != kNoTensor) flush(thread, totals + current);
}

using CastKernelPointer = void (*)(const CastTensor*, uint64_t, uint64_t, CastBounds,
                                   SharedCounts*);

CastKernelPointer kernel_of(HalfType type) {
  if (type == HalfType::kFloat16) return cast_kernel<Float16Unit>;
  if (type == HalfType::kBFloat16) return cast_kernel<BFloat16Unit>;
  throw std::invalid_argument("unknown 16-bit type");
}

// A launch's memory: the table of tensors goes in, the counts come back.
struct CastMemory {
  explicit CastMemory(std::uint64_t count)
      : tensors(layout.add(count, sizeof(CastTensor))),
        totals(layout.add(count, sizeof(SharedCounts))),
        table_bytes(layout.nbytes()) {}
  Layout layout;
  std::uint64_t tensors, totals;
  std::uint64_t table_bytes;  // of both, zeros for counts, which go in together
};

// Puts a launch into a stream; `device` and `host` are of the layout's size. The counts lie in
// `host` when the stream has come so far.
void enqueue(const Context& context, cudaStream_t stream, HalfType type, const CastPlan& plan,
             CastBounds bounds, const CastMemory& memory, char* device, char* host) {
  const std::uint64_t count = plan.tensors.size();
  std::memcpy(host + memory.tensors, plan.tensors.data(), count * sizeof(CastTensor));
  std::memset(host + memory.totals, 0, count * sizeof(SharedCounts));
  HALVE_CUDA_CHECK(
      cudaMemcpyAsync(device, host, memory.table_bytes, cudaMemcpyHostToDevice, stream));
  const auto kernel = kernel_of(type);
  if (plan.tiles > 0) {
    const unsigned blocks =
        grid_blocks(plan.tiles, 1, context.resident(kernel, static_cast<int>(kCastThreads)));
    context.kernel.begin(stream);
    kernel<<<blocks, kCastThreads, 0, stream>>>(
        reinterpret_cast<const CastTensor*>(device + memory.tensors), count, plan.tiles, bounds,
        reinterpret_cast<SharedCounts*>(device + memory.totals));
    HALVE_CUDA_CHECK(cudaGetLastError());
    context.kernel.end(stream);
  }
  HALVE_CUDA_CHECK(cudaMemcpyAsync(host + memory.totals, device + memory.totals,
                                   count * sizeof(SharedCounts), cudaMemcpyDeviceToHost, stream));
}

CastCounts read_counts(const char* host, const CastMemory& memory, std::uint64_t index,
                       std::uint64_t elements) {
  SharedCounts counts;
  std::memcpy(&counts, host + memory.totals + index * sizeof counts, sizeof counts);
  return counts_of(counts, elements);
}

// An array of the host on its way through a device.
struct HostArrays {
  HalfType type;
  const char* src;
  char* dst;
  CastBounds bounds;
  CastCounts* total;
};

// One of the buffers of cast_through: a piece on its way there and back.
class CastLane {
 public:
  CastLane(const Context& context, std::uint64_t piece)
      : context_(context), stream_(context.device()), memory_(1) {
    const DeviceGuard guard(context.device());
    in_ = memory_.layout.add(piece, sizeof(float));
    out_ = memory_.layout.add(piece, sizeof(std::uint16_t));
    device_.reserve(memory_.layout.nbytes());
    host_.reserve(memory_.layout.nbytes());
  }
  // Whatever is under way still uses the buffers.
  ~CastLane() { static_cast<void>(cudaStreamSynchronize(stream_.get())); }
  CastLane(const CastLane&) = delete;
  CastLane& operator=(const CastLane&) = delete;

  // What the pieces from now on are of; its counts are added to.
  void begin(const HostArrays& arrays) { arrays_ = arrays; }

  void start(std::uint64_t begin, std::uint64_t count) {
    begin_ = begin;
    count_ = count;
    const std::uint64_t in_bytes = count * sizeof(float);
    std::memcpy(host_.get() + in_, arrays_.src + sizeof(float) * begin, in_bytes);
    HALVE_CUDA_CHECK(cudaMemcpyAsync(device_.get() + in_, host_.get() + in_, in_bytes,
                                     cudaMemcpyHostToDevice, stream_.get()));
    const CastPlan plan = plan_cast({{device_.get() + in_, device_.get() + out_, count}});
    enqueue(context_, stream_.get(), arrays_.type, plan, arrays_.bounds, memory_, device_.get(),
            host_.get());
    HALVE_CUDA_CHECK(cudaMemcpyAsync(host_.get() + out_, device_.get() + out_,
                                     count * sizeof(std::uint16_t), cudaMemcpyDeviceToHost,
                                     stream_.get()));
  }

  void finish() {
    stream_.wait();
    std::memcpy(arrays_.dst + sizeof(std::uint16_t) * begin_, host_.get() + out_,
                count_ * sizeof(std::uint16_t));
    merge(*arrays_.total, read_counts(host_.get(), memory_, 0, count_));
  }

 private:
  const Context& context_;
  HostArrays arrays_{};
  Stream stream_;
  CastMemory memory_;
  std::uint64_t in_ = 0, out_ = 0, begin_ = 0, count_ = 0;
  DeviceBuffer device_;
  PinnedBuffer host_;
};

}  // namespace

// What run_pipeline takes: room for pieces of `most` elements.
class CastLanes {
 public:
  CastLanes(const Context& context, std::uint64_t most) : most_(most) {
    for (auto& lane : lanes_) lane = std::make_unique<CastLane>(context, most);
  }
  [[nodiscard]] std::uint64_t most() const noexcept { return most_; }
  [[nodiscard]] std::size_t size() const noexcept { return lanes_.size(); }
  CastLane& operator[](std::size_t i) const noexcept { return *lanes_[i]; }

 private:
  std::array<std::unique_ptr<CastLane>, 2> lanes_;
  std::uint64_t most_;
};

struct HostCast::State {
  State(int device, std::uint64_t elements)
      : context(device), lane(context, elements), most(elements) {}
  Context context;
  CastLane lane;
  std::uint64_t most;
};

HostCast::HostCast(int device, std::uint64_t most)
    : state_(std::make_unique<State>(device, most)) {}

HostCast::~HostCast() = default;

CastCounts HostCast::run(HalfType type, const void* src, void* dst, std::uint64_t n,
                         CastBounds bounds) {
  check_bounds(bounds);
  if (n > state_->most) throw std::invalid_argument("more elements than there is room for");
  CastCounts total;
  if (n == 0) return total;
  const DeviceGuard guard(state_->context.device());
  state_->lane.begin(
      {type, static_cast<const char*>(src), static_cast<char*>(dst), bounds, &total});
  state_->lane.start(0, n);
  state_->lane.finish();
  return total;
}

std::vector<CastCounts> cast(Context& context, HalfType type, const std::vector<CastItem>& items,
                             CastBounds bounds) {
  check_bounds(bounds);
  const CastPlan plan = plan_cast(items);
  if (items.empty()) return {};
  const CastMemory memory(items.size());
  const std::lock_guard lock(context.mutex);
  const DeviceGuard guard(context.device());
  context.scratch.reserve(memory.layout.nbytes());
  context.staging.reserve(memory.layout.nbytes());
  enqueue(context, context.stream(), type, plan, bounds, memory, context.scratch.get(),
          context.staging.get());
  HALVE_CUDA_CHECK(cudaStreamSynchronize(context.stream()));
  std::vector<CastCounts> counts;
  for (std::size_t i = 0; i < items.size(); ++i) {
    counts.push_back(read_counts(context.staging.get(), memory, i, items[i].elements));
  }
  return counts;
}

CastCounts cast_through(Context& context, HalfType type, const void* src, void* dst,
                        std::uint64_t n, CastBounds bounds, std::uint64_t piece) {
  check_bounds(bounds);
  static_cast<void>(kernel_of(type));
  if (piece == 0) throw std::invalid_argument("a piece has no elements");
  if (n > 0 && (src == nullptr || dst == nullptr)) {
    throw std::invalid_argument("a null pointer for elements");
  }
  CastCounts total;
  if (n == 0) return total;
  const std::lock_guard lock(context.mutex);
  const DeviceGuard guard(context.device());
  const std::uint64_t size = piece < n ? piece : n;
  // Out of the context meanwhile: after an exception they wait for their work and are gone.
  std::shared_ptr<CastLanes> lanes = std::exchange(context.lanes, nullptr);
  if (!lanes || lanes->most() < size) lanes = std::make_shared<CastLanes>(context, size);
  for (std::size_t i = 0; i < lanes->size(); ++i) {
    (*lanes)[i].begin(
        {type, static_cast<const char*>(src), static_cast<char*>(dst), bounds, &total});
  }
  run_pipeline(n, size, *lanes);
  context.lanes = std::move(lanes);
  return total;
}

}  // namespace halve::cuda
