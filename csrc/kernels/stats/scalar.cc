// The statistics as their definition reads. Every other backend equals this one.

#include "definition.h"

namespace halve::kernels {
namespace {

template <class T>
void measure_chunk(const char* p, uint64_t n, StatsThresholds thresholds, StatsTotals& totals) {
  for (uint64_t done = 0; done < n; done += kBlockElements) {
    const uint64_t part = n - done < kBlockElements ? n - done : kBlockElements;
    SquareLanes lanes;
    define_elements<T>(p + T::kBytes * done, part, thresholds, lanes, totals);
    add_block(totals, lanes);
  }
}

}  // namespace

void halve_stats_scalar(FloatType type, const void* x, uint64_t n, StatsThresholds thresholds,
                        StatsTotals* totals) noexcept {
  StatsTotals result;
  result.elements = n;
  with_type(type, [&]<class T>() {
    measure_chunk<T>(static_cast<const char*>(x), n, thresholds, result);
  });
  *totals = result;
}

}  // namespace halve::kernels
