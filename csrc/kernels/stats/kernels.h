// The kernels of the statistics, one function an instruction set. What they compute is defined in
// halve/stats.h; arguments have been checked, the floating-point modes are the default ones.
#pragma once

#include <stdint.h>

#include "halve/stats.h"

namespace halve::kernels {

// One chunk of at most chunk_elements(n) elements: overwrites *totals.
using StatsKernel = void(FloatType type, const void* x, uint64_t n, StatsThresholds thresholds,
                         StatsTotals* totals) noexcept;

StatsKernel halve_stats_scalar;
StatsKernel halve_stats_avx2;
StatsKernel halve_stats_avx512;

}  // namespace halve::kernels
