// The statistics with AVX-512 F and DQ.

#include "../lanes/avx512.h"

#include "body.h"

namespace halve::kernels {

void halve_stats_avx512(FloatType type, const void* x, uint64_t n, StatsThresholds thresholds,
                        StatsTotals* totals) noexcept {
  stats_array<Avx512Lanes>(type, x, n, thresholds, totals);
}

}  // namespace halve::kernels
