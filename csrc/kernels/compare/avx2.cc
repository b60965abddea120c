// The comparison with AVX2, F16C and FMA.

#include "../lanes/avx2.h"

#include "body.h"

namespace halve::kernels {

void halve_compare_avx2(FloatType a_type, const void* a, FloatType b_type, const void* b,
                        uint64_t n, CompareRule rule, CompareTotals* totals) noexcept {
  compare_arrays<Avx2Lanes>(a_type, a, b_type, b, n, rule, totals);
}

}  // namespace halve::kernels
