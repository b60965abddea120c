#include "halve/ratio.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "../kernels/lanes/widen.h"
#include "float_modes.h"

namespace halve {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// A block's shares are held, so that each is divided once and the loops vectorise.
constexpr std::uint64_t kBlock = 512;
constexpr std::uint64_t kLanes = 4;

bool valid(double tolerance) noexcept { return std::isfinite(tolerance) && tolerance >= 0.0; }

double fourth(double x) noexcept {
  const double square = x * x;
  return square * square;
}

struct Tolerance {
  double rtol, atol;
};

// The largest share of a block, which is stored.
template <class A, class B>
double fill(const char* a, const char* b, std::uint64_t n, Tolerance allowed,
            double* shares) noexcept {
  double largest = 0.0;
  for (std::uint64_t i = 0; i < n; ++i) {
    const double x = A::widen(a + A::kBytes * i), y = B::widen(b + B::kBytes * i);
    const double ratio = std::fabs(x - y) / (allowed.atol + allowed.rtol * std::fabs(y));
    const double number = ratio == ratio ? ratio : kInfinity;
    const double share = x == y ? 0.0 : number;
    shares[i] = share;
    largest = share > largest ? share : largest;
  }
  return largest;
}

double sum_fourths(const double* shares, std::uint64_t n, double worst) noexcept {
  double lanes[kLanes] = {};
  std::uint64_t i = 0;
  for (; n - i >= kLanes; i += kLanes) {
    for (std::uint64_t k = 0; k < kLanes; ++k) lanes[k] += fourth(shares[i + k] / worst);
  }
  for (std::uint64_t k = 0; i < n; ++i, ++k) lanes[k] += fourth(shares[i] / worst);
  return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

// Takes a block in; false where nothing that follows matters.
bool take(const double* shares, std::uint64_t n, double largest, RatioTotals& totals) noexcept {
  if (largest == kInfinity) {
    totals = {kInfinity, kInfinity};
    return false;
  }
  if (largest > totals.worst) {
    totals.sum_fourth *= fourth(totals.worst / largest);
    totals.worst = largest;
  }
  // A block without any share adds zeros.
  if (largest > 0.0) totals.sum_fourth += sum_fourths(shares, n, totals.worst);
  return true;
}

template <class A, class B>
RatioTotals measure(const char* a, const char* b, std::uint64_t n, Tolerance allowed) noexcept {
  RatioTotals totals;
  double shares[kBlock];
  for (std::uint64_t done = 0; done < n; done += kBlock) {
    const std::uint64_t part = std::min(kBlock, n - done);
    const double largest =
        fill<A, B>(a + A::kBytes * done, b + B::kBytes * done, part, allowed, shares);
    if (!take(shares, part, largest, totals)) break;
  }
  return totals;
}

template <class Visit>
void with_type(FloatType type, Visit visit) {
  switch (type) {
    case FloatType::kFloat32:
      return visit(kernels::Float32{});
    case FloatType::kFloat16:
      return visit(kernels::Float16{});
    case FloatType::kBFloat16:
      return visit(kernels::BFloat16{});
    case FloatType::kFloat64:
      return visit(kernels::Float64{});
  }
}

bool known(FloatType type) noexcept { return static_cast<int>(type) < kFloatTypeCount; }

}  // namespace

Status measure_ratios(FloatType a_type, const void* a, FloatType b_type, const void* b,
                      std::uint64_t n, double rtol, double atol, RatioTotals& totals) noexcept {
  if (!known(a_type) || !known(b_type)) return Status::kInvalidArgument;
  if (n > 0 && (a == nullptr || b == nullptr)) return Status::kInvalidArgument;
  if (!valid(rtol) || !valid(atol)) return Status::kInvalidArgument;
  const DefaultFloatModes modes;
  with_type(a_type, [&]<class A>(A) {
    with_type(b_type, [&]<class B>(B) {
      totals =
          measure<A, B>(static_cast<const char*>(a), static_cast<const char*>(b), n, {rtol, atol});
    });
  });
  return Status::kOk;
}

}  // namespace halve
