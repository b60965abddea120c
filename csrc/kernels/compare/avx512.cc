// The comparison with AVX-512 F and DQ.

#include "../lanes/avx512.h"

#include "body.h"

namespace halve::kernels {

void halve_compare_avx512(FloatType a_type, const void* a, FloatType b_type, const void* b,
                          uint64_t n, CompareRule rule, CompareTotals* totals) noexcept {
  compare_arrays<Avx512Lanes>(a_type, a, b_type, b, n, rule, totals);
}

}  // namespace halve::kernels
