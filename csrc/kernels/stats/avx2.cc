// The statistics with AVX2, F16C and FMA.

#include "../lanes/avx2.h"

#include "body.h"

namespace halve::kernels {

void halve_stats_avx2(FloatType type, const void* x, uint64_t n, StatsThresholds thresholds,
                      StatsTotals* totals) noexcept {
  stats_array<Avx2Lanes>(type, x, n, thresholds, totals);
}

}  // namespace halve::kernels
