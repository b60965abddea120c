// The kernels that this build has, best first.
#pragma once

#include "../kernels/cast/kernels.h"
#include "../kernels/compare/kernels.h"
#include "../kernels/stats/kernels.h"
#include "../kernels/twin/kernels.h"
#include "../kernels/widen/kernels.h"
#include "halve/backend.h"

namespace halve {

struct BackendEntry {
  Backend backend;
  bool usable;
  kernels::CastKernel* cast_f16;
  kernels::CastKernel* cast_bf16;
  kernels::WidenKernel* widen_f16;
  kernels::WidenKernel* widen_bf16;
  kernels::CompareKernel* compare;
  kernels::StatsKernel* stats;
  const kernels::TwinKernels* twin;
};

// The entry of a compiled backend, or nullptr.
const BackendEntry* find_backend(Backend backend) noexcept;

}  // namespace halve
