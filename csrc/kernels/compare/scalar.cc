// The comparison as its definition reads. Every other backend equals this one.

#include "definition.h"

namespace halve::kernels {
namespace {

template <class A, class B>
void compare_chunk(const char* a, const char* b, uint64_t n, CompareRule rule,
                   CompareTotals& totals) {
  for (uint64_t done = 0; done < n; done += kBlockElements) {
    const uint64_t part = n - done < kBlockElements ? n - done : kBlockElements;
    LaneSums sums;
    define_pairs<A, B>(a + A::kBytes * done, b + B::kBytes * done, part, done, rule, sums, totals);
    add_block(totals, sums);
  }
}

}  // namespace

void halve_compare_scalar(FloatType a_type, const void* a, FloatType b_type, const void* b,
                          uint64_t n, CompareRule rule, CompareTotals* totals) noexcept {
  CompareTotals result = nothing_seen(n, *totals);
  with_types(a_type, b_type, [&]<class A, class B>() {
    compare_chunk<A, B>(static_cast<const char*>(a), static_cast<const char*>(b), n, rule, result);
  });
  *totals = result;
}

}  // namespace halve::kernels
