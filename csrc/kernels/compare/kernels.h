// The kernels of the comparison, one function an instruction set. What they compute is defined in
// halve/compare.h; arguments have been checked, the floating-point modes are the default ones.
#pragma once

#include <stdint.h>

#include "halve/compare.h"

namespace halve::kernels {

// One chunk of at most chunk_elements(n) elements: overwrites *totals, but for its maxima, which
// come as what a pair must exceed, and stay without an index where none does.
using CompareKernel = void(FloatType a_type, const void* a, FloatType b_type, const void* b,
                           uint64_t n, CompareRule rule, CompareTotals* totals) noexcept;

CompareKernel halve_compare_scalar;
CompareKernel halve_compare_avx2;
CompareKernel halve_compare_avx512;

}  // namespace halve::kernels
