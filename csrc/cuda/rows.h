// How a reduction is shared out: README.md beside this file draws it.
//
// halve/reduce.h fixes the order of a sum: 8 lanes a block of 4096 elements. Here such a block is a
// row, and 8 threads are its lanes. A warp does a task of 4 rows of one chunk at a time; the warp
// that ends the last task of a chunk adds up the chunk.
#pragma once

#include "cuda/tensors.h"
#include "cuda/vector.h"
#include "halve/reduce.h"

namespace halve::cuda {
namespace {

inline constexpr unsigned kWarp = 32;
inline constexpr unsigned kRowLanes = static_cast<unsigned>(kSumLanes);
inline constexpr unsigned kTaskRows = kWarp / kRowLanes;
inline constexpr uint64_t kTaskElements = kTaskRows * kBlockElements;
inline constexpr unsigned kReduceThreads = 128;

// Elements that a thread does at a time, of so many bytes in all arrays together: it then has at
// least 64 bytes on their way.
constexpr unsigned lane_elements(uint64_t nbytes) { return nbytes < 4 ? 32 : nbytes < 8 ? 16 : 8; }

HALVE_INLINE uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }
HALVE_INLINE uint64_t quotient_up(uint64_t n, uint64_t by) { return n / by + (n % by != 0); }

// Of every chunk but the last.
HALVE_INLINE uint64_t tasks_per_chunk(const ReduceTensor& t) {
  return quotient_up(t.chunk_elements, kTaskElements);
}

HALVE_INLINE uint64_t chunk_size(const ReduceTensor& t, uint64_t chunk) {
  return least(t.chunk_elements, t.elements - chunk * t.chunk_elements);
}

// Where a task lies in its tensor, in elements.
struct Task {
  uint64_t number;  // in the launch
  uint64_t tensor;
  uint64_t chunk;  // of the tensor
  uint64_t begin;
  uint64_t chunk_end;
};

HALVE_INLINE Task locate(const ReduceTensor* tensors, uint64_t count, uint64_t task) {
  uint64_t low = 0, high = count;
  while (high - low > 1) {
    const uint64_t middle = low + (high - low) / 2;
    (tensors[middle].first_task <= task ? low : high) = middle;
  }
  const ReduceTensor& t = tensors[low];
  const uint64_t each = tasks_per_chunk(t), local = task - t.first_task;
  const uint64_t chunk = local / each, start = chunk * t.chunk_elements;
  return {task, low, chunk, start + local % each * kTaskElements, start + chunk_size(t, chunk)};
}

// One thread's view of a row of an array: its 8 threads bring a step of elements at a time into
// memory that they share, by whole vectors, wherever the row begins.
template <class T, unsigned kLaneElements>
class RowReader {
 public:
  static constexpr uint32_t kStepElements = kRowLanes * kLaneElements;
  static constexpr uint32_t kStepBytes = kStepElements * T::kBytes;
  static constexpr unsigned kVectors = kStepBytes / kVectorBytes / kRowLanes;
  // A step and room for a shifted one; with this stride the rows of a warp use different banks.
  static constexpr uint64_t kStride = (kStepElements + kRowLanes) * T::kBytes;

  HALVE_INLINE void begin(const char* array, uint64_t elements, uint64_t first) {
    const char* row = array + T::kBytes * first;
    shift_ = static_cast<uint32_t>(address_of(row) % kVectorBytes);
    window_ = row - shift_;
    begin_ = first == 0 ? shift_ : 0;
    end_ = static_cast<uint32_t>(least(shift_ + T::kBytes * (elements - first), kFarBytes));
  }

  HALVE_INLINE void fetch(uint32_t step, unsigned lane) {
    const uint32_t at = kStepBytes * step;
    const char* from = window_ + at + kVectorBytes * lane;
    const char* past = window_ + at + kStepBytes;
    const bool is_shifted = shift_ != 0 && lane == 0;
    // All that the row's threads read may be read: nearly always.
    if (at >= begin_ && at + kReachBytes <= end_) {
      HALVE_UNROLL_ALL
      for (unsigned i = 0; i < kVectors; ++i) {
        held_[i] = load_once(from + kVectorBytes * kRowLanes * i);
      }
      if (is_shifted) past_ = load_once(past);
      return;
    }
    HALVE_UNROLL_ALL
    for (unsigned i = 0; i < kVectors; ++i) held_[i] = inside(from + kVectorBytes * kRowLanes * i);
    if (is_shifted) past_ = inside(past);
  }

  HALVE_INLINE void place(char* row, unsigned lane) const {
    HALVE_UNROLL_ALL
    for (unsigned i = 0; i < kVectors; ++i) {
      store_vector(row + kVectorBytes * (kRowLanes * i + lane), held_[i]);
    }
    if (shift_ != 0 && lane == 0) store_vector(row + kStepBytes, past_);
  }

  // Element i of the step that lies at `row`.
  HALVE_INLINE double at(const char* row, unsigned i) const {
    return T::of(load_aligned<typename T::Bits>(row + shift_ + T::kBytes * i));
  }

 private:
  static constexpr uint32_t kReachBytes = kStepBytes + static_cast<uint32_t>(kVectorBytes);
  // More than a row has, with what is read beyond it.
  static constexpr uint64_t kFarBytes = 2 * T::kBytes * kBlockElements;

  HALVE_INLINE Vector inside(const char* p) const {
    return load_within(p, window_ + begin_, window_ + end_);
  }

  const char* window_;  // the vector that the row begins in
  uint32_t shift_;      // of the row in it, in bytes
  uint32_t begin_;      // what may be read, in bytes of the window
  uint32_t end_;
  Vector held_[kVectors];
  Vector past_;  // of a shifted step, in its first thread
};

// A thread's row in a task.
struct Row {
  uint64_t first;  // element of the tensor
  uint32_t count;
  unsigned number;  // in the task
  unsigned lane;

  HALVE_INLINE void begin(const Task& task, unsigned thread) {
    number = thread / kRowLanes;
    lane = thread % kRowLanes;
    first = least(task.begin + number * kBlockElements, task.chunk_end);
    count = static_cast<uint32_t>(least(task.chunk_end - first, kBlockElements));
  }
};

inline constexpr unsigned kFoldRows = kWarp;

template <unsigned kSums>
constexpr uint64_t sums_area_bytes() {
  return sizeof(double) * kSums *
         (kTaskRows * kRowLanes > kFoldRows ? kTaskRows * kRowLanes : kFoldRows);
}

// Of one array, for a reduction's threads.
template <class T>
class ArrayReader {
  using Reader = RowReader<T, lane_elements(T::kBytes)>;

 public:
  static constexpr uint32_t kStepElements = Reader::kStepElements;
  static constexpr uint64_t kRowsBytes = kTaskRows * Reader::kStride;

  HALVE_INLINE void begin(const ReduceTensor& tensor, const Row& row) {
    reader_.begin(tensor.a, tensor.elements, row.first);
  }
  HALVE_INLINE void fetch(uint32_t step, const Row& row) { reader_.fetch(step, row.lane); }
  HALVE_INLINE void place(char* area, const Row& row) const {
    reader_.place(area + Reader::kStride * row.number, row.lane);
  }
  HALVE_INLINE double x(const char* area, const Row& row, unsigned i) const {
    return reader_.at(area + Reader::kStride * row.number, i);
  }

 private:
  Reader reader_;
};

// Of a pair of arrays.
template <class A, class B>
class PairReader {
  using First = RowReader<A, lane_elements(A::kBytes + B::kBytes)>;
  using Second = RowReader<B, lane_elements(A::kBytes + B::kBytes)>;

 public:
  static constexpr uint32_t kStepElements = First::kStepElements;
  static constexpr uint64_t kRowsBytes = kTaskRows * (First::kStride + Second::kStride);

  HALVE_INLINE void begin(const ReduceTensor& tensor, const Row& row) {
    first_.begin(tensor.a, tensor.elements, row.first);
    second_.begin(tensor.b, tensor.elements, row.first);
  }
  HALVE_INLINE void fetch(uint32_t step, const Row& row) {
    first_.fetch(step, row.lane);
    second_.fetch(step, row.lane);
  }
  HALVE_INLINE void place(char* area, const Row& row) const {
    first_.place(area + First::kStride * row.number, row.lane);
    second_.place(second_rows(area) + Second::kStride * row.number, row.lane);
  }
  HALVE_INLINE double x(const char* area, const Row& row, unsigned i) const {
    return first_.at(area + First::kStride * row.number, i);
  }
  HALVE_INLINE double y(const char* area, const Row& row, unsigned i) const {
    return second_.at(second_rows(area) + Second::kStride * row.number, i);
  }

 private:
  template <class Char>
  static HALVE_INLINE Char* second_rows(Char* area) {
    return area + kTaskRows * First::kStride;
  }
  First first_;
  Second second_;
};

// What the threads of every reduction do alike; `Reader` is one of the above.
template <class Reader, unsigned kSumCount>
class RowThread {
 public:
  static constexpr unsigned kSums = kSumCount;
  static constexpr uint32_t kStepElements = Reader::kStepElements;
  static constexpr unsigned kLaneElements = kStepElements / kRowLanes;
  static constexpr uint64_t kAreaBytes = Reader::kRowsBytes > sums_area_bytes<kSums>()
                                             ? Reader::kRowsBytes
                                             : sums_area_bytes<kSums>();

  HALVE_INLINE explicit RowThread(unsigned thread) : thread_(thread) {}

  HALVE_INLINE bool more(uint32_t step) const { return step * kStepElements < row_.count; }
  HALVE_INLINE void fetch(uint32_t step) {
    if (more(step)) reader_.fetch(step, row_);
  }
  HALVE_INLINE void place(char* area, uint32_t step) const {
    if (more(step)) reader_.place(area, row_);
  }
  HALVE_INLINE const Row& row() const { return row_; }

  // Leaves the row's sums, lane by lane, for one of its threads to add.
  HALVE_INLINE void put_sums(char* area) const {
    HALVE_UNROLL_ALL
    for (unsigned k = 0; k < kSums; ++k) {
      const unsigned at = (row_.number * kSums + k) * kRowLanes + row_.lane;
      reinterpret_cast<double*>(area)[at] = sums_[k];
    }
  }

 protected:
  HALVE_INLINE void begin_row(const ReduceTensor& tensor, const Task& task) {
    row_.begin(task, thread_);
    reader_.begin(tensor, row_);
    for (double& sum : sums_) sum = 0.0;
  }

  Row row_{};
  Reader reader_;
  double sums_[kSums];

 private:
  unsigned thread_;
};

// A reduction whose scan leaves nothing for later and needs nothing of the threads beside it.
template <class Reader, unsigned kSumCount>
class PlainThread : public RowThread<Reader, kSumCount> {
 public:
  struct Shared {};
  using RowThread<Reader, kSumCount>::RowThread;
  HALVE_INLINE void settle(const char* /*area*/, uint64_t /*step*/, unsigned /*found*/) {}
  HALVE_INLINE Shared shared() const { return {}; }
  HALVE_INLINE void follow(const Shared& /*bound*/) {}
};

}  // namespace
}  // namespace halve::cuda
