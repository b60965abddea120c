// The operators that gate rounding, inside a session: a run decides by its switches.
//
// Round reads (x float32, switches bool) and makes x, rounded where switches[switch] is set. Its
// attributes:
//   switch    an index; the model declares how many switches are fed, which ONNX Runtime checks
//   type      halve::HalfType
//   threads   for large values; 0: one a core
// Choose reads (plain float32, other float32, switches bool), of one shape, and makes `other` where
// switches[switch] is set and else `plain`.

#include <cstring>
#include <exception>
#include <new>
#include <utility>

#include "halve/round.h"
#include "op.h"

namespace halve::ort {
namespace {

struct Kernel {
  const Api* api;
  Backend backend;
  std::size_t index;
  HalfType type;
  unsigned threads;
};

bool is_set(const void* switches, const Kernel& kernel) noexcept {
  return static_cast<const bool*>(switches)[kernel.index];
}

Status* round(const Kernel& kernel, KernelContext* context) {
  Tensor x;
  const void* switches = nullptr;
  float* made = nullptr;
  if (Status* error = read_input(*kernel.api, context, 0, x)) return error;
  if (Status* error = read_data(*kernel.api, context, 1, switches)) return error;
  if (Status* error = make_output(*kernel.api, context, x.shape, made)) return error;
  if (!is_set(switches, kernel)) {
    if (made != x.floats() && x.n != 0) std::memcpy(made, x.floats(), x.n * sizeof *made);
    return nullptr;
  }
  const auto status =
      round_threaded(kernel.backend, kernel.type, x.floats(), made, x.n, kernel.threads);
  if (status == halve::Status::kOk) return nullptr;
  return failure(*kernel.api, "halve: a rounding operator has a type that there is not");
}

Status* choose(const Kernel& kernel, KernelContext* context) {
  const void* switches = nullptr;
  Tensor chosen;
  float* made = nullptr;
  if (Status* error = read_data(*kernel.api, context, 2, switches)) return error;
  const std::size_t input = is_set(switches, kernel) ? 1 : 0;
  if (Status* error = read_input(*kernel.api, context, input, chosen)) return error;
  if (Status* error = make_output(*kernel.api, context, chosen.shape, made)) return error;
  if (chosen.n != 0) std::memcpy(made, chosen.floats(), chosen.n * sizeof *made);
  return nullptr;
}

template <Status* (*kCompute)(const Kernel&, KernelContext*)>
Status* compute_or_fail(void* kernel, KernelContext* context) {
  const Kernel& self = *static_cast<const Kernel*>(kernel);
  try {
    return kCompute(self, context);
  } catch (const std::exception& error) {
    return failure(*self.api, error.what());
  }
}

Status* create_kernel(const CustomOp*, const Api* api, const KernelInfo* info, void** kernel) {
  std::int64_t index = 0, type = 0, threads = 0;
  Backend backend{};
  for (const auto& [name, value] :
       {std::pair{"switch", &index}, std::pair{"type", &type}, std::pair{"threads", &threads}}) {
    if (Status* error = read_attribute(*api, info, name, *value)) return error;
  }
  if (index < 0 || threads < 0 || chosen_backend(backend) != halve::Status::kOk) {
    return failure(*api, "halve: a rounding operator has no switch, or no backend can run here");
  }
  *kernel = new (std::nothrow) Kernel{api, backend, static_cast<std::size_t>(index),
                                      static_cast<HalfType>(type), static_cast<unsigned>(threads)};
  return *kernel == nullptr ? failure(*api, "halve: out of memory") : nullptr;
}

void destroy(void* kernel) { delete static_cast<Kernel*>(kernel); }

// Output 0 in the memory of input 0.
std::size_t first_reused(int** input, int** output) {
  static int from = 0, to = 0;
  *input = &from;
  *output = &to;
  return 1;
}

}  // namespace

CustomOp round_op() noexcept {
  return make_op({.name = [](const CustomOp*) { return "Round"; },
                  .input_count = [](const CustomOp*) { return std::size_t{2}; },
                  .input_type =
                      [](const CustomOp*, std::size_t index) {
                        return index == 0 ? ElementType::kFloat32 : ElementType::kBool;
                      },
                  .create = create_kernel,
                  .compute = compute_or_fail<round>,
                  .destroy = destroy,
                  .may_reuse = first_reused,
                  .shares = no_pairs});
}

CustomOp choose_op() noexcept {
  return make_op({.name = [](const CustomOp*) { return "Choose"; },
                  .input_count = [](const CustomOp*) { return std::size_t{3}; },
                  .input_type =
                      [](const CustomOp*, std::size_t index) {
                        return index == 2 ? ElementType::kBool : ElementType::kFloat32;
                      },
                  .create = create_kernel,
                  .compute = compute_or_fail<choose>,
                  .destroy = destroy,
                  .may_reuse = no_pairs,
                  .shares = no_pairs});
}

}  // namespace halve::ort
