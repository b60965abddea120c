// The kernels of the fused pass, one set an instruction set. What they compute is defined in
// halve/twin.h; arguments have been checked, the floating-point modes are the default ones.
#pragma once

#include <stdint.h>

#include "halve/twin.h"

namespace halve::kernels {

// Rounds n float32 values to a 16-bit type as the cast does, without bounds, and widens them again;
// the arrays may be one.
using RoundKernel = void(const float* x, float* rounded, uint64_t n) noexcept;

// Compares one block (halve/reduce.h), whose first pair has number `index`, and adds what it finds
// to `*totals`, but for `elements`.
using CompareBlockKernel = void(const float* a, const float* b, uint64_t n, uint64_t index,
                                CompareRule rule, CompareTotals* totals) noexcept;

// One block of both runs. `half` is before rounding, `rounded` has room for it after.
struct TwinBlock {
  const float* exact;
  const float* half;
  const float* local;
  float* rounded;
  uint64_t n;
  uint64_t index;
  TwinRounding rounding;
  TwinLocal second;
};

// Everything about one usual block: its own statistics, and what its comparisons add. False where
// it is not usual, and then only `block.rounded` is written.
using FusedKernel = bool(const TwinBlock& block, const TwinRule& rule, StatsTotals* exact,
                         StatsTotals* half, CompareTotals* total, CompareTotals* local) noexcept;

struct TwinKernels {
  RoundKernel* round_f16;
  RoundKernel* round_bf16;
  CompareBlockKernel* compare_block;
  FusedKernel* fused;  // null: none
};

extern const TwinKernels halve_twin_scalar;
extern const TwinKernels halve_twin_avx2;
extern const TwinKernels halve_twin_avx512;

}  // namespace halve::kernels
