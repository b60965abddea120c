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
#include <iterator>
#include <memory>
#include <new>
#include <utility>

#include "board.h"
#include "op.h"

namespace halve::ort {
namespace {

constexpr std::size_t kInputs = 3;

struct Kernel {
  const Api* api;
  std::shared_ptr<Board> board;
  std::size_t row;
  std::int64_t reads;
  TwinRounding round;
  TwinLocal second;
  bool keep;
};

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
    if (Status* error = read_input(*kernel.api, context, i, *inputs[i])) return error;
  }
  Row row;
  row.made = true;
  row.has_exact = (kernel.reads & 1) != 0;
  row.has_half = (kernel.reads & 2) != 0;
  float* kept = nullptr;
  const Shape shape = kernel.keep ? half.shape : Shape{0};
  if (Status* error = make_output(*kernel.api, context, shape, kept)) return error;
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
  for (std::size_t i = 0; i < std::size(names); ++i) {
    if (Status* error = read_attribute(*api, info, names[i], values[i])) return error;
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

void destroy(void* kernel) { delete static_cast<Kernel*>(kernel); }

// Input 1 (half) and output 0.
std::size_t half_shared(int** input, int** output) {
  static int from = 1, to = 0;
  *input = &from;
  *output = &to;
  return 1;
}

CustomOp make(const char* (*name)(const CustomOp*), std::size_t (*shares)(int**, int**)) noexcept {
  return make_op({.name = name,
                  .input_count = [](const CustomOp*) { return kInputs; },
                  .input_type = [](const CustomOp*, std::size_t) { return ElementType::kFloat32; },
                  .create = create_kernel,
                  .compute = compute_or_fail,
                  .destroy = destroy,
                  .may_reuse = no_pairs,
                  .shares = shares});
}

}  // namespace

CustomOp measure_op() noexcept {
  return make([](const CustomOp*) { return "Measure"; }, no_pairs);
}

CustomOp measure_in_place_op() noexcept {
  return make([](const CustomOp*) { return "MeasureInPlace"; }, half_shared);
}

}  // namespace halve::ort
