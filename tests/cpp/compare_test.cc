#include "halve/compare.h"

#include <doctest/doctest.h>

#include <bit>
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "halve/read.h"
#include "halve/reduce.h"
#include "halve/stats.h"

namespace halve {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr CompareRule kRule{1e-3, 1e-6, false};

std::vector<Backend> usable_backends() {
  std::vector<Backend> found;
  for (int i = 0; i < kBackendCount; ++i) {
    if (backend_usable(static_cast<Backend>(i))) found.push_back(static_cast<Backend>(i));
  }
  return found;
}

// Sums and maxima as patterns, so that equal means the same bits.
bool same(const CompareTotals& a, const CompareTotals& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

bool same(const StatsTotals& a, const StatsTotals& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

template <class T>
CompareTotals run(Backend backend, const std::vector<T>& a, const std::vector<T>& b,
                  CompareRule rule, unsigned threads = 1) {
  const auto type = sizeof(T) == 4 ? FloatType::kFloat32 : FloatType::kFloat64;
  CompareTotals totals;
  REQUIRE(compare_threaded(backend, type, a.data(), type, b.data(), a.size(), rule, totals,
                           threads) == Status::kOk);
  return totals;
}

template <class T>
StatsTotals measure(Backend backend, const std::vector<T>& x, StatsThresholds thresholds,
                    unsigned threads = 1) {
  const auto type = sizeof(T) == 4 ? FloatType::kFloat32 : FloatType::kFloat64;
  StatsTotals totals;
  REQUIRE(stats_threaded(backend, type, x.data(), x.size(), thresholds, totals, threads) ==
          Status::kOk);
  return totals;
}

std::vector<float> normal(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution;
  std::vector<float> values(n);
  for (float& value : values) value = distribution(random);
  return values;
}

TEST_CASE("a comparison by hand") {
  const std::vector<double> a{1.0, -2.0, 0.25, kInf, kNan, 3.0, -kInf, kNan};
  const std::vector<double> b{1.0, -2.5, 0.0, kInf, kNan, kInf, 5.0, 1.0};
  for (const Backend backend : usable_backends()) {
    CAPTURE(backend_name(backend));
    const CompareTotals t = run(backend, a, b, {0.0, 0.25, true});
    CHECK(t.elements == 8);
    CHECK(t.a_nan == 2);
    CHECK(t.a_inf == 2);
    CHECK(t.b_nan == 1);
    CHECK(t.b_inf == 2);
    CHECK(t.mismatches == 4);  // 1, 5, 6, 7
    CHECK(t.max_abs_error == kInf);
    CHECK(t.max_abs_index == 5);
    CHECK(t.max_rel_error == kInf);
    CHECK(t.max_rel_index == 2);  // a difference from 0
    CHECK(std::isnan(t.sum_aa));
    CHECK(t.sum_ee == kInf);
    const CompareTotals strict = run(backend, a, b, {0.0, 0.25, false});
    CHECK(strict.mismatches == 5);
    CHECK(strict.max_abs_index == 4);
  }
}

TEST_CASE("finite sums and maxima by hand") {
  const std::vector<float> a{1.0F, 2.0F, -3.0F};
  const std::vector<float> b{1.0F, 4.0F, -2.0F};
  for (const Backend backend : usable_backends()) {
    CAPTURE(backend_name(backend));
    const CompareTotals t = run(backend, a, b, {0.25, 0.0, false});
    CHECK(t.mismatches == 2);
    CHECK(t.max_abs_error == 2.0);
    CHECK(t.max_abs_index == 1);
    CHECK(t.max_rel_error == 0.5);
    CHECK(t.max_rel_index == 1);  // the first of two
    CHECK(t.sum_aa == 14.0);
    CHECK(t.sum_bb == 21.0);
    CHECK(t.sum_ab == 15.0);
    CHECK(t.sum_ee == 5.0);
  }
}

TEST_CASE("statistics by hand") {
  const std::vector<float> x{0.0F,
                             -0.0F,
                             1e-40F,
                             -2.0F,
                             3.0F,
                             65504.0F,
                             static_cast<float>(kInf),
                             -7e4F,
                             static_cast<float>(kNan)};
  for (const Backend backend : usable_backends()) {
    CAPTURE(backend_name(backend));
    const StatsTotals t = measure(backend, x, {65504.0, 0x1p-14});
    CHECK(t.elements == 9);
    CHECK(t.nan == 1);
    CHECK(t.inf == 1);
    CHECK(t.zero == 2);
    CHECK(t.subnormal == 1);
    CHECK(t.ge == 3);
    CHECK(t.le == 3);
    CHECK(t.minimum == -7e4);
    CHECK(t.maximum == 65504.0);
    CHECK(t.sum_squares == 4.0 + 9.0 + 65504.0 * 65504.0 + 4.9e9);
  }
}

TEST_CASE("every backend, any number of threads and every caller's modes give the same bits") {
  const std::size_t n = 3 * chunk_elements(1) + 1234;
  std::vector<float> a = normal(n, 1), b = a;
  const std::vector<float> noise = normal(n, 2);
  for (std::size_t i = 0; i < n; ++i) b[i] += noise[i] * 1e-3F;
  const CompareTotals expected = run(Backend::kScalar, a, b, kRule);
  const StatsTotals expected_stats = measure(Backend::kScalar, a, {1.0, 1e-3});
  for (const Backend backend : usable_backends()) {
    CAPTURE(backend_name(backend));
    for (const unsigned threads : {1U, 2U, 3U, 8U}) {
      CHECK(same(run(backend, a, b, kRule, threads), expected));
      CHECK(same(measure(backend, a, {1.0, 1e-3}, threads), expected_stats));
    }
    std::fesetround(FE_UPWARD);
    const CompareTotals upward = run(backend, a, b, kRule);
    const StatsTotals upward_stats = measure(backend, a, {1.0, 1e-3});
    CHECK(std::fegetround() == FE_UPWARD);
    std::fesetround(FE_TONEAREST);
    CHECK(same(upward, expected));
    CHECK(same(upward_stats, expected_stats));
  }
}

// 16-bit values of three neighbouring patterns, or of any.
std::vector<std::uint16_t> words(std::size_t n, unsigned seed, bool anything) {
  std::mt19937 random(seed);
  std::vector<std::uint16_t> values(n);
  for (std::uint16_t& value : values) {
    value = static_cast<std::uint16_t>(anything ? random() : 0x3800 + random() % 3);
  }
  return values;
}

TEST_CASE("16-bit values at any address give the same bits on every backend") {
  const std::size_t n = 3 * kBlockElements + 333;
  for (const bool anything : {false, true}) {
    const std::vector<std::uint16_t> a = words(n + 1, 5, anything), b = words(n, 6, anything);
    for (const FloatType a_type : {FloatType::kFloat16, FloatType::kBFloat16}) {
      StatsTotals expected_stats, stats;
      CHECK(stats_threaded(Backend::kScalar, a_type, a.data() + 1, n, {1.0, 1e-3}, expected_stats,
                           1) == Status::kOk);
      for (const FloatType b_type : {FloatType::kFloat16, FloatType::kBFloat16}) {
        CompareTotals expected, totals;
        CHECK(compare_threaded(Backend::kScalar, a_type, a.data() + 1, b_type, b.data(), n, kRule,
                               expected, 1) == Status::kOk);
        for (const Backend backend : usable_backends()) {
          CAPTURE(backend_name(backend));
          CHECK(compare_threaded(backend, a_type, a.data() + 1, b_type, b.data(), n, kRule, totals,
                                 2) == Status::kOk);
          CHECK(same(totals, expected));
          CHECK(stats_threaded(backend, a_type, a.data() + 1, n, {1.0, 1e-3}, stats, 2) ==
                Status::kOk);
          CHECK(same(stats, expected_stats));
        }
      }
    }
  }
}

TEST_CASE("a chunk's maxima are those of the array where several threads have seen others") {
  const std::size_t length = chunk_elements(1), n = 9 * length;
  std::vector<float> a(n, 1.0F), b(n, 1.0F);
  for (std::size_t chunk = 0; chunk < 9; ++chunk) {
    a[chunk * length + 17 * chunk] = chunk % 3 == 1 ? 3.0F : 2.0F;
  }
  for (const Backend backend : usable_backends()) {
    for (const unsigned threads : {1U, 2U, 4U, 9U}) {
      CAPTURE(threads);
      const CompareTotals t = run(backend, a, b, kRule, threads);
      CHECK(t.max_abs_error == 2.0);
      CHECK(t.max_abs_index == length + 17);
      CHECK(t.max_rel_index == length + 17);
      CHECK(t.mismatches == 9);
    }
  }
}

TEST_CASE("append describes one array after the other") {
  const std::vector<float> a{1.0F, 2.0F, 3.0F, 4.0F}, b{1.0F, 2.5F, 3.0F, 3.5F};
  const auto part = [](const std::vector<float>& x, std::ptrdiff_t begin, std::ptrdiff_t end) {
    return std::vector<float>(x.begin() + begin, x.begin() + end);
  };
  const CompareTotals whole = run(Backend::kScalar, a, b, kRule);
  for (std::ptrdiff_t cut = 0; cut <= 4; ++cut) {
    CAPTURE(cut);
    CompareTotals joined = run(Backend::kScalar, part(a, 0, cut), part(b, 0, cut), kRule);
    append(joined, run(Backend::kScalar, part(a, cut, 4), part(b, cut, 4), kRule));
    CHECK(same(joined, whole));
  }
}

TEST_CASE("chunks are whole blocks and never more than there is room for") {
  for (const std::uint64_t n : {std::uint64_t{0}, std::uint64_t{1}, kMaxChunks << 18,
                                (kMaxChunks << 18) + 1, ~std::uint64_t{0} >> 1}) {
    const std::uint64_t length = chunk_elements(n);
    CHECK(length % kBlockElements == 0);
    CHECK(n / length + (n % length != 0) <= kMaxChunks);
  }
}

TEST_CASE("wrong arguments are refused and nothing is written") {
  const float one = 1.0F;
  const auto type = FloatType::kFloat32;
  const auto wrong_type = static_cast<FloatType>(4);
  CompareTotals totals;
  totals.elements = 77;
  const auto compare = [&](FloatType a_type, const void* a, CompareRule rule) {
    return compare_threaded(Backend::kScalar, a_type, a, type, &one, 1, rule, totals, 1);
  };
  CHECK(compare(type, nullptr, kRule) == Status::kInvalidArgument);
  CHECK(compare(wrong_type, &one, kRule) == Status::kInvalidArgument);
  for (const double bad : {-1.0, kInf, kNan}) {
    CHECK(compare(type, &one, {bad, 0.0, false}) == Status::kInvalidArgument);
    CHECK(compare(type, &one, {0.0, bad, false}) == Status::kInvalidArgument);
  }
  CHECK(compare_threaded(static_cast<Backend>(9), type, &one, type, &one, 1, kRule, totals, 1) ==
        Status::kUnsupportedBackend);
  CHECK(totals.elements == 77);
  StatsTotals stats;
  stats.elements = 77;
  const auto check = [&](FloatType t, const void* x, StatsThresholds thresholds) {
    return stats_threaded(Backend::kScalar, t, x, 1, thresholds, stats, 1);
  };
  CHECK(check(type, nullptr, {1.0, 1.0}) == Status::kInvalidArgument);
  CHECK(check(wrong_type, &one, {1.0, 1.0}) == Status::kInvalidArgument);
  CHECK(check(type, &one, {kNan, 1.0}) == Status::kInvalidArgument);
  CHECK(check(type, &one, {1.0, kNan}) == Status::kInvalidArgument);
  CHECK(stats.elements == 77);
}

TEST_CASE("reading takes in every whole word") {
  std::vector<std::uint64_t> words(37, 0);
  for (std::size_t i = 0; i < words.size(); ++i) {
    words[i] = std::uint64_t{1} << i;
    const std::uint64_t expected = (std::uint64_t{2} << i) - 1;
    CHECK(xor_words(words.data(), words.size() * 8) == expected);
  }
  CHECK(xor_words(words.data(), 17) == 3);
  CHECK(xor_words(nullptr, 0) == 0);
}

}  // namespace
}  // namespace halve
