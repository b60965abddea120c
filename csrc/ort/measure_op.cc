// The operators that measure a value of both runs where it is made, inside a session.
//
// Measure reads (exact, half, local), all float32, and makes `rounded`. Its attributes:
//   board, row   where the result goes (board.h)
//   reads        1: exact, 2: half; what is not read is there for form's sake
//   round        halve::TwinRounding of half
//   second       halve::TwinLocal
//   keep         whether `rounded` is half, rounded; otherwise it is empty
// MeasureInPlace has `rounded` in the memory of `half`, which nothing else may read.

#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "abi.h"
#include "board.h"

namespace halve::ort {
namespace {

constexpr std::size_t kInputs = 3;

Status* failure(const Api& api, const char* text) noexcept {
  return function<Status*(ErrorCode, const char*) noexcept>(api, Slot::kCreateStatus)(
      ErrorCode::kFail, text);
}

struct Kernel {
  const Api* api;
  std::shared_ptr<Board> board;
  std::size_t row;
  std::int64_t reads;
  TwinRounding round;
  TwinLocal second;
  bool keep;
};

struct Tensor {
  const void* data = nullptr;
  std::uint64_t n = 0;
  Shape shape;

  const float* floats() const noexcept { return static_cast<const float*>(data); }
};

// Takes the status where there is one yet; false where something failed.
bool passed(Status* status, Status*& first) noexcept {
  if (first == nullptr) first = status;
  return status == nullptr;
}

Status* read_shape(const Api& api, const ShapeInfo* info, Tensor& tensor) {
  Status* error = nullptr;
  std::size_t rank = 0, count = 0;
  using Sizes = Status*(const ShapeInfo*, std::size_t*) noexcept;
  using Dims = Status*(const ShapeInfo*, std::int64_t*, std::size_t) noexcept;
  if (!passed(function<Sizes>(api, Slot::kRank)(info, &rank), error)) return error;
  tensor.shape.resize(rank);
  if (!passed(function<Dims>(api, Slot::kShape)(info, tensor.shape.data(), rank), error)) {
    return error;
  }
  if (!passed(function<Sizes>(api, Slot::kElementCount)(info, &count), error)) return error;
  tensor.n = count;
  return nullptr;
}

Status* read_input(const Kernel& kernel, KernelContext* context, std::size_t index,
                   Tensor& tensor) {
  const Api& api = *kernel.api;
  using Input = Status*(const KernelContext*, std::size_t, const Value**) noexcept;
  using Info = Status*(const Value*, ShapeInfo**) noexcept;
  using Data = Status*(const Value*, const void**) noexcept;
  Status* error = nullptr;
  const Value* value = nullptr;
  ShapeInfo* info = nullptr;
  if (!passed(function<Input>(api, Slot::kInput)(context, index, &value), error)) return error;
  if (!passed(function<Info>(api, Slot::kShapeInfo)(value, &info), error)) return error;
  error = read_shape(api, info, tensor);
  function<void(ShapeInfo*) noexcept>(api, Slot::kReleaseShapeInfo)(info);
  if (error == nullptr) passed(function<Data>(api, Slot::kTensorData)(value, &tensor.data), error);
  return error;
}

Status* make_output(const Kernel& kernel, KernelContext* context, const Shape& shape,
                    float*& data) {
  const Api& api = *kernel.api;
  using Output =
      Status*(KernelContext*, std::size_t, const std::int64_t*, std::size_t, Value**) noexcept;
  using Data = Status*(Value*, void**) noexcept;
  Status* error = nullptr;
  Value* value = nullptr;
  void* place = nullptr;
  const auto make = function<Output>(api, Slot::kOutput);
  if (!passed(make(context, 0, shape.data(), shape.size(), &value), error)) return error;
  passed(function<Data>(api, Slot::kTensorData)(value, &place), error);
  data = static_cast<float*>(place);
  return error;
}

void count_exponents(const Tensor& exact, std::uint64_t samples, Row& row) {
  if (samples == 0 || exact.n == 0) return;
  const std::uint64_t step = exact.n / samples + (exact.n % samples != 0);
  for (std::uint64_t i = 0; i < exact.n; i += step, ++row.sampled) {
    std::uint32_t bits;
    std::memcpy(&bits, exact.floats() + i, sizeof bits);
    if ((bits & 0x7FFFFFFFU) != 0) ++row.exponents[bits >> 23 & 0xFFU];
  }
}

bool measured(const Kernel& kernel, const TwinTensors& tensors, TwinTotals& totals) noexcept {
  const BoardRule& rule = kernel.board->rule;
  return twin_threaded(rule.backend, tensors, rule.twin, totals, rule.threads) ==
         halve::Status::kOk;
}

// Values of different shapes are measured each by itself.
bool measure_apart(const Kernel& kernel, const TwinTensors& half, const Tensor& exact,
                   Row& row) noexcept {
  TwinTensors alone;
  alone.exact = exact.floats();
  alone.n = exact.n;
  TwinTotals other;
  if (!measured(kernel, half, row.totals) || !measured(kernel, alone, other)) return false;
  row.totals.exact = other.exact;
  row.totals.exact_over = other.exact_over;
  return true;
}

bool measure_row(const Kernel& kernel, const Tensor& exact, const Tensor& half, const Tensor& local,
                 float* kept, Row& row) noexcept {
  TwinTensors tensors;
  tensors.half = row.has_half ? half.floats() : nullptr;
  tensors.rounded = kept;
  tensors.rounding = kernel.round;
  tensors.n = row.has_half ? half.n : exact.n;
  row.has_total = row.has_exact && row.has_half && exact.shape == half.shape;
  const bool own = kernel.second == TwinLocal::kOwn && row.has_half;
  row.has_local =
      own || (kernel.second >= TwinLocal::kRounded && row.has_total && local.shape == exact.shape);
  tensors.second = row.has_local ? kernel.second : TwinLocal::kNone;
  tensors.local = row.has_local ? local.floats() : nullptr;
  if (row.has_exact && row.has_half && !row.has_total) {
    return measure_apart(kernel, tensors, exact, row);
  }
  tensors.exact = row.has_exact ? exact.floats() : nullptr;
  return measured(kernel, tensors, row.totals);
}

Status* compute(const Kernel& kernel, KernelContext* context) {
  Tensor exact, half, local;
  Tensor* const inputs[kInputs] = {&exact, &half, &local};
  for (std::size_t i = 0; i < kInputs; ++i) {
    if (Status* error = read_input(kernel, context, i, *inputs[i])) return error;
  }
  Row row;
  row.made = true;
  row.has_exact = (kernel.reads & 1) != 0;
  row.has_half = (kernel.reads & 2) != 0;
  float* kept = nullptr;
  const Shape shape = kernel.keep ? half.shape : Shape{0};
  if (Status* error = make_output(kernel, context, shape, kept)) return error;
  if (!measure_row(kernel, exact, half, local, kernel.keep ? kept : nullptr, row)) {
    return failure(*kernel.api, "halve: a measuring operator was given what it cannot measure");
  }
  if (row.has_exact) count_exponents(exact, kernel.board->rule.samples, row);
  row.exact_shape = std::move(exact.shape);
  row.half_shape = std::move(half.shape);
  kernel.board->rows[kernel.row] = std::move(row);
  return nullptr;
}

Status* compute_or_fail(void* kernel, KernelContext* context) {
  const Kernel& self = *static_cast<const Kernel*>(kernel);
  try {
    return compute(self, context);
  } catch (const std::exception& error) {
    return failure(*self.api, error.what());
  }
}

Status* create_kernel(const CustomOp*, const Api* api, const KernelInfo* info, void** kernel) {
  const char* const names[] = {"board", "row", "reads", "round", "second", "keep"};
  std::int64_t values[std::size(names)];
  using Read = Status*(const KernelInfo*, const char*, std::int64_t*) noexcept;
  for (std::size_t i = 0; i < std::size(names); ++i) {
    Status* error = function<Read>(*api, Slot::kIntAttribute)(info, names[i], &values[i]);
    if (error != nullptr) return error;
  }
  auto board = find_board(values[0]);
  if (board == nullptr || static_cast<std::uint64_t>(values[1]) >= board->rows.size()) {
    return failure(*api, "halve: a measuring operator has no place for its result");
  }
  *kernel = new (std::nothrow) Kernel{api,
                                      std::move(board),
                                      static_cast<std::size_t>(values[1]),
                                      values[2],
                                      static_cast<TwinRounding>(values[3]),
                                      static_cast<TwinLocal>(values[4]),
                                      values[5] != 0};
  return *kernel == nullptr ? failure(*api, "halve: out of memory") : nullptr;
}

std::size_t nothing_shared(int**, int**) { return 0; }

// Input 1 (half) and output 0.
std::size_t half_shared(int** input, int** output) {
  static int from = 1, to = 0;
  *input = &from;
  *output = &to;
  return 1;
}

CustomOp make_op(const char* (*name)(const CustomOp*), std::size_t (*shares)(int**, int**)) {
  CustomOp op{};
  op.version = kVersion;
  op.name = name;
  op.provider = [](const CustomOp*) -> const char* { return nullptr; };
  op.input_type =
      op.output_type = [](const CustomOp*, std::size_t) { return ElementType::kFloat32; };
  op.input_count = [](const CustomOp*) { return kInputs; };
  op.output_count = [](const CustomOp*) { return std::size_t{1}; };
  op.destroy_kernel = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  op.input_kind = op.output_kind = [](const CustomOp*, std::size_t) { return 0; };  // required
  op.input_memory = [](const CustomOp*, std::size_t) { return 0; };
  op.least_inputs = op.least_outputs = [](const CustomOp*) { return 1; };
  op.equal_inputs = op.equal_outputs = [](const CustomOp*) { return 1; };
  op.create_kernel_or_fail = create_kernel;
  op.compute_or_fail = compute_or_fail;
  op.first_version = [](const CustomOp*) { return 1; };
  op.last_version = [](const CustomOp*) { return 1 << 20; };
  op.may_reuse = nothing_shared;
  op.release_may_reuse = op.release_shares = [](int*, int*) {};
  op.shares = shares;
  return op;
}

// Sessions refer to it for as long as they live, so that it is never released.
struct Domain {
  OpDomain* made = nullptr;
  CustomOp measure = make_op([](const CustomOp*) { return "Measure"; }, nothing_shared);
  CustomOp in_place = make_op([](const CustomOp*) { return "MeasureInPlace"; }, half_shared);

  Status* make(const Api& api) noexcept {
    using Create = Status*(const char*, OpDomain**) noexcept;
    using Add = Status*(OpDomain*, const CustomOp*) noexcept;
    Status* error = nullptr;
    OpDomain* domain = nullptr;
    if (!passed(function<Create>(api, Slot::kCreateOpDomain)("halve", &domain), error))
      return error;
    const auto add = function<Add>(api, Slot::kAddOp);
    if (!passed(add(domain, &measure), error) || !passed(add(domain, &in_place), error))
      return error;
    made = domain;
    return nullptr;
  }
};

Status* find_domain(const Api& api, OpDomain*& found) {
  static std::mutex lock;
  static Domain& domain = *new Domain;
  const std::lock_guard<std::mutex> guard(lock);
  Status* error = domain.made == nullptr ? domain.make(api) : nullptr;
  found = domain.made;
  return error;
}

}  // namespace
}  // namespace halve::ort

#if defined(_WIN32)
#define HALVE_EXPORT __declspec(dllexport)
#else
#define HALVE_EXPORT __attribute__((visibility("default")))
#endif

// ONNX Runtime looks this up by name where it is told of this library.
extern "C" HALVE_EXPORT halve::ort::Status* RegisterCustomOps(halve::ort::SessionOptions* options,
                                                              const halve::ort::ApiBase* base) {
  using namespace halve::ort;
  const Api* api = base->get(kVersion);
  if (api == nullptr) return nullptr;  // a session with such nodes says that it does not know them
  OpDomain* domain = nullptr;
  if (Status* error = find_domain(*api, domain)) return error;
  using Add = Status*(SessionOptions*, OpDomain*) noexcept;
  return function<Add>(*api, Slot::kAddOpDomain)(options, domain);
}
