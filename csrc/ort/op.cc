#include "op.h"

#include <atomic>
#include <cstdlib>
#include <functional>
#include <numeric>

namespace halve::ort {
namespace {

constexpr long kRefersToShapes = 24;  // the release is 1.24
std::atomic<bool> lends_shapes{false};

}  // namespace

void ask_release(const ApiBase& base) noexcept {
  char* minor = nullptr;
  const long major = std::strtol(base.version(), &minor, 10);
  lends_shapes =
      major == 1 && *minor == '.' && std::strtol(minor + 1, nullptr, 10) >= kRefersToShapes;
}

bool refers_to_shapes() noexcept { return lends_shapes.load(std::memory_order_relaxed); }

Status* failure(const Api& api, const char* text) noexcept {
  return function<Status*(ErrorCode, const char*) noexcept>(api, Slot::kCreateStatus)(
      ErrorCode::kFail, text);
}

bool passed(Status* status, Status*& first) noexcept {
  if (first == nullptr) first = status;
  return status == nullptr;
}

Status* read_attribute(const Api& api, const KernelInfo* info, const char* name,
                       std::int64_t& value) noexcept {
  using Read = Status*(const KernelInfo*, const char*, std::int64_t*) noexcept;
  return function<Read>(api, Slot::kIntAttribute)(info, name, &value);
}

namespace {

using Input = Status*(const KernelContext*, std::size_t, const Value**) noexcept;
using ReadData = Status*(const Value*, const void**) noexcept;

Status* refer_to_shape(const Api& api, const Value* value, Tensor& tensor) {
  using Refer = Status*(const Value*, ElementType*, const std::int64_t**, std::size_t*) noexcept;
  ElementType type{};
  const std::int64_t* dims = nullptr;
  std::size_t rank = 0;
  if (Status* error = function<Refer>(api, Slot::kShapeReference)(value, &type, &dims, &rank)) {
    return error;
  }
  tensor.shape.assign(dims, dims + rank);
  tensor.n = static_cast<std::uint64_t>(std::accumulate(tensor.shape.begin(), tensor.shape.end(),
                                                        std::int64_t{1}, std::multiplies<>()));
  return nullptr;
}

Status* read_shape_info(const Api& api, const ShapeInfo* info, Tensor& tensor) {
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

Status* read_shape(const Api& api, const Value* value, Tensor& tensor) {
  if (refers_to_shapes()) return refer_to_shape(api, value, tensor);
  using Info = Status*(const Value*, ShapeInfo**) noexcept;
  ShapeInfo* info = nullptr;
  if (Status* error = function<Info>(api, Slot::kShapeInfo)(value, &info)) return error;
  Status* error = read_shape_info(api, info, tensor);
  function<void(ShapeInfo*) noexcept>(api, Slot::kReleaseShapeInfo)(info);
  return error;
}

}  // namespace

Status* read_input(const Api& api, KernelContext* context, std::size_t index, Tensor& tensor) {
  Status* error = nullptr;
  const Value* value = nullptr;
  if (!passed(function<Input>(api, Slot::kInput)(context, index, &value), error)) return error;
  if (!passed(read_shape(api, value, tensor), error)) return error;
  passed(function<ReadData>(api, Slot::kTensorData)(value, &tensor.data), error);
  return error;
}

Status* read_data(const Api& api, KernelContext* context, std::size_t index,
                  const void*& data) noexcept {
  Status* error = nullptr;
  const Value* value = nullptr;
  if (!passed(function<Input>(api, Slot::kInput)(context, index, &value), error)) return error;
  passed(function<ReadData>(api, Slot::kTensorData)(value, &data), error);
  return error;
}

Status* make_output(const Api& api, KernelContext* context, const Shape& shape, float*& data) {
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

std::size_t no_pairs(int**, int**) { return 0; }

CustomOp make_op(const OpRule& rule) noexcept {
  CustomOp op{};
  op.version = kVersion;
  op.name = rule.name;
  op.provider = [](const CustomOp*) -> const char* { return nullptr; };
  op.input_type = rule.input_type;
  op.output_type = [](const CustomOp*, std::size_t) { return ElementType::kFloat32; };
  op.input_count = rule.input_count;
  op.output_count = [](const CustomOp*) { return std::size_t{1}; };
  op.destroy_kernel = rule.destroy;
  op.input_kind = op.output_kind = [](const CustomOp*, std::size_t) { return 0; };  // required
  op.input_memory = [](const CustomOp*, std::size_t) { return 0; };
  op.least_inputs = op.least_outputs = [](const CustomOp*) { return 1; };
  op.equal_inputs = op.equal_outputs = [](const CustomOp*) { return 1; };
  op.create_kernel_or_fail = rule.create;
  op.compute_or_fail = rule.compute;
  op.first_version = [](const CustomOp*) { return 1; };
  op.last_version = [](const CustomOp*) { return 1 << 20; };
  op.may_reuse = rule.may_reuse;
  op.release_may_reuse = op.release_shares = [](int*, int*) {};
  op.shares = rule.shares;
  return op;
}

}  // namespace halve::ort
