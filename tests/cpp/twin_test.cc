#include "halve/twin.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "halve/cast.h"
#include "halve/reduce.h"

namespace halve {
namespace {

constexpr TwinRule kRule{{65504.0, 0x1p-14}, 65504.0, {1e-2, 1e-2, false}};
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<Backend> usable_backends() {
  std::vector<Backend> found;
  for (int i = 0; i < kBackendCount; ++i) {
    if (backend_usable(static_cast<Backend>(i))) found.push_back(static_cast<Backend>(i));
  }
  return found;
}

template <class Totals>
bool same(const Totals& a, const Totals& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

std::vector<float> normal(std::size_t n, unsigned seed, float scale = 1.0F) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> values;
  std::vector<float> made(n);
  for (float& x : made) x = values(engine) * scale;
  return made;
}

// Both runs' values, and what each pass by itself makes of them.
struct Case {
  std::vector<float> exact, half, rounded;

  explicit Case(std::size_t n, float scale = 1.0F) : exact(normal(n, 1, scale)), half(exact) {
    for (std::size_t i = 0; i < n; i += 3) half[i] *= 1.001F;
  }

  TwinTotals separate(Backend backend) {
    TwinTotals totals;
    round(backend);
    const std::uint64_t n = exact.size();
    const auto type = FloatType::kFloat32;
    const CompareRule rule = kRule.compare;
    REQUIRE(stats_threaded(backend, type, exact.data(), n, kRule.thresholds, totals.exact, 1) ==
            Status::kOk);
    REQUIRE(stats_threaded(backend, type, rounded.data(), n, kRule.thresholds, totals.half, 1) ==
            Status::kOk);
    REQUIRE(compare_threaded(backend, type, rounded.data(), type, exact.data(), n, rule,
                             totals.total, 1) == Status::kOk);
    REQUIRE(compare_threaded(backend, type, rounded.data(), type, half.data(), n, rule,
                             totals.local, 1) == Status::kOk);
    for (const float x : exact) totals.exact_over += std::fabs(x) > 65504.0F;
    for (const float x : half) totals.half_over += std::fabs(x) > 65504.0F;
    return totals;
  }

  TwinTotals fused(Backend backend, unsigned threads, std::vector<float>& kept) const {
    TwinTensors tensors;
    tensors.exact = exact.data();
    tensors.half = half.data();
    tensors.rounded = kept.data();
    tensors.n = exact.size();
    tensors.rounding = TwinRounding::kBFloat16;
    tensors.second = TwinLocal::kOwn;
    TwinTotals totals;
    REQUIRE(twin_threaded(backend, tensors, kRule, totals, threads) == Status::kOk);
    return totals;
  }

 private:
  // By way of the cast's bits, which are the upper half of the result's.
  void round(Backend backend) {
    std::vector<std::uint16_t> words(half.size());
    CastCounts counts;
    constexpr CastBounds kNone{0.0F, std::numeric_limits<float>::max()};
    REQUIRE(cast_with(backend, HalfType::kBFloat16, half.data(), words.data(), half.size(), kNone,
                      counts) == Status::kOk);
    rounded.resize(half.size());
    for (std::size_t i = 0; i < words.size(); ++i) {
      const std::uint32_t bits = static_cast<std::uint32_t>(words[i]) << 16;
      std::memcpy(&rounded[i], &bits, sizeof bits);
    }
  }
};

void check(Case values, unsigned threads = 1) {
  for (const Backend backend : usable_backends()) {
    CAPTURE(backend_name(backend));
    const TwinTotals expected = values.separate(backend);
    std::vector<float> kept(values.half.size());
    const TwinTotals found = values.fused(backend, threads, kept);
    CHECK(same(found.exact, expected.exact));
    CHECK(same(found.half, expected.half));
    CHECK(same(found.total, expected.total));
    CHECK(same(found.local, expected.local));
    CHECK(found.exact_over == expected.exact_over);
    CHECK(found.half_over == expected.half_over);
    if (kept.empty()) continue;
    CHECK(std::memcmp(kept.data(), values.rounded.data(), 4 * kept.size()) == 0);
  }
}

TEST_CASE("a fused pass gives the bits of separate ones") {
  for (const std::size_t n : {0, 1, 127, 128, 129, 4096, 4097, 10'000}) check(Case(n));
  for (const float scale : {1e-40F, 1e-6F, 1e5F}) check(Case(5000, scale));
}

TEST_CASE("a fused pass meets values that are not finite") {
  Case values(9000);
  values.half[10] = kNan;
  values.half[5000] = -kInf;
  values.exact[5001] = kInf;
  values.exact[8999] = kNan;
  check(values);
}

TEST_CASE("a fused pass of several chunks does not depend on threads") {
  const Case values(3 * chunk_elements(1) + 5);
  check(values, 1);
  check(values, 3);
}

TEST_CASE("a fused pass refuses what is not there") {
  const float x[2] = {};
  TwinTotals totals;
  const auto run = [&](const TwinTensors& tensors, const TwinRule& rule = kRule) {
    return twin_threaded(Backend::kScalar, tensors, rule, totals, 1);
  };
  TwinTensors alone;
  alone.exact = x;
  alone.n = 2;
  CHECK(run(alone) == Status::kOk);
  for (const TwinLocal second : {TwinLocal::kOwn, TwinLocal::kRounded, TwinLocal::kPlain}) {
    TwinTensors tensors = alone;
    tensors.second = second;
    CHECK(run(tensors) == Status::kInvalidArgument);
  }
  TwinRule rule = kRule;
  rule.limit = kNan;
  CHECK(run(alone, rule) == Status::kInvalidArgument);
  rule = kRule;
  rule.compare.atol = -1.0;
  CHECK(run(alone, rule) == Status::kInvalidArgument);
}

}  // namespace
}  // namespace halve
