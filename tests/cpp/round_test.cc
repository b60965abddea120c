#include "halve/round.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "halve/widen.h"

namespace halve {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// All bit patterns alike, so that exponents and NaNs of every kind are among them.
std::vector<float> patterns(std::size_t n) {
  std::mt19937 engine(9);
  std::vector<float> made(n);
  for (float& x : made) {
    const auto bits = static_cast<std::uint32_t>(engine());
    std::memcpy(&x, &bits, sizeof x);
  }
  return made;
}

TEST_CASE("rounding is the cast without bounds, widened again, in place too") {
  for (const std::size_t n : {0U, 1U, 15U, 17U, 100'003U, (1U << 18) + 5U, 3U << 18}) {
    const std::vector<float> x = patterns(n);
    for (const HalfType type : {HalfType::kFloat16, HalfType::kBFloat16}) {
      std::vector<float> expected(n);
      CastCounts counts;
      REQUIRE(cast_and_widen_threaded(Backend::kScalar, type, x.data(), expected.data(), n,
                                      {0.0F, kInf}, counts, 1) == Status::kOk);
      for (int i = 0; i < kBackendCount; ++i) {
        const auto backend = static_cast<Backend>(i);
        if (!backend_usable(backend)) continue;
        CAPTURE(backend_name(backend));
        for (const unsigned threads : {0U, 1U, 3U}) {
          CAPTURE(threads);
          std::vector<float> made = x;
          REQUIRE(round_threaded(backend, type, made.data(), made.data(), n, threads) ==
                  Status::kOk);
          if (n != 0) CHECK(std::memcmp(made.data(), expected.data(), n * sizeof(float)) == 0);
        }
      }
    }
  }
}

TEST_CASE("rounding refuses what it cannot do") {
  float x = 1.0F;
  const auto none = static_cast<HalfType>(7);
  CHECK(round_threaded(Backend::kScalar, none, &x, &x, 1, 1) == Status::kInvalidArgument);
  CHECK(round_threaded(Backend::kScalar, HalfType::kFloat16, nullptr, &x, 1, 1) ==
        Status::kInvalidArgument);
  const auto other = static_cast<Backend>(kBackendCount);
  CHECK(round_threaded(other, HalfType::kFloat16, &x, &x, 1, 1) == Status::kUnsupportedBackend);
}

}  // namespace
}  // namespace halve
