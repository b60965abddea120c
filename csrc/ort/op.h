// What operators of our own share: arguments read through the interface, results made, failures.
#pragma once

#include <cstdint>

#include "abi.h"

namespace halve::ort {

struct Tensor {
  const void* data = nullptr;
  std::uint64_t n = 0;
  Shape shape;

  const float* floats() const noexcept { return static_cast<const float*>(data); }
};

// Whether this release lends the shape of a value; before, it makes a copy of four allocations.
void ask_release(const ApiBase& base) noexcept;
bool refers_to_shapes() noexcept;

Status* failure(const Api& api, const char* text) noexcept;

// Takes the status where there is none yet; false where this one is a failure.
bool passed(Status* status, Status*& first) noexcept;

Status* read_attribute(const Api& api, const KernelInfo* info, const char* name,
                       std::int64_t& value) noexcept;
Status* read_input(const Api& api, KernelContext* context, std::size_t index, Tensor& tensor);
// Only where the values are.
Status* read_data(const Api& api, KernelContext* context, std::size_t index,
                  const void*& data) noexcept;
// The first output, as float32.
Status* make_output(const Api& api, KernelContext* context, const Shape& shape, float*& data);

// What an operator is told by, beyond what all of ours have in common.
struct OpRule {
  const char* (*name)(const CustomOp*);
  std::size_t (*input_count)(const CustomOp*);
  ElementType (*input_type)(const CustomOp*, std::size_t);
  Status* (*create)(const CustomOp*, const Api*, const KernelInfo*, void**);
  Status* (*compute)(void*, KernelContext*);
  void (*destroy)(void*);
  std::size_t (*may_reuse)(int**, int**);  // inputs whose memory an output may take when unread
  std::size_t (*shares)(int**, int**);     // inputs whose memory an output always takes
};

// On the CPU, with one float32 output.
CustomOp make_op(const OpRule& rule) noexcept;

std::size_t no_pairs(int**, int**);

CustomOp measure_op() noexcept;
CustomOp measure_in_place_op() noexcept;
CustomOp round_op() noexcept;
CustomOp choose_op() noexcept;

}  // namespace halve::ort
