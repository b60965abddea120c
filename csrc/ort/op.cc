#include "op.h"

namespace halve::ort {

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

}  // namespace

Status* read_input(const Api& api, KernelContext* context, std::size_t index, Tensor& tensor) {
  using Info = Status*(const Value*, ShapeInfo**) noexcept;
  Status* error = nullptr;
  const Value* value = nullptr;
  ShapeInfo* info = nullptr;
  if (!passed(function<Input>(api, Slot::kInput)(context, index, &value), error)) return error;
  if (!passed(function<Info>(api, Slot::kShapeInfo)(value, &info), error)) return error;
  error = read_shape(api, info, tensor);
  function<void(ShapeInfo*) noexcept>(api, Slot::kReleaseShapeInfo)(info);
  if (error == nullptr) {
    passed(function<ReadData>(api, Slot::kTensorData)(value, &tensor.data), error);
  }
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
