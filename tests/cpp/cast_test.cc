#include "halve/cast.h"

#include <doctest/doctest.h>

#include <bit>
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace halve {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNoMin = 0.0F;
constexpr CastBounds kNoBounds{kNoMin, kInf};
constexpr HalfType kTypes[] = {HalfType::kFloat16, HalfType::kBFloat16};

std::vector<Backend> usable_backends() {
  std::vector<Backend> found;
  for (int i = 0; i < kBackendCount; ++i) {
    if (backend_usable(static_cast<Backend>(i))) found.push_back(static_cast<Backend>(i));
  }
  return found;
}

bool same(const CastCounts& a, const CastCounts& b) {
  return a.elements == b.elements && a.raised == b.raised && a.lowered == b.lowered &&
         a.flushed == b.flushed && a.subnormal == b.subnormal && a.overflow == b.overflow &&
         a.nan == b.nan && a.inf == b.inf && a.max_abs == b.max_abs &&
         a.max_abs_error == b.max_abs_error && a.max_rel_error == b.max_rel_error;
}

std::vector<float> random_patterns(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(n);
  for (float& value : values) value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
  return values;
}

struct Result {
  std::vector<std::uint16_t> halves;
  CastCounts counts;
};

Result run(Backend backend, HalfType type, const std::vector<float>& x, CastBounds bounds,
           StorePolicy policy = StorePolicy::kAutomatic) {
  Result result{std::vector<std::uint16_t>(x.size()), {}};
  const Status status = cast_with(backend, type, x.data(), result.halves.data(), x.size(), bounds,
                                  result.counts, policy);
  REQUIRE(status == Status::kOk);
  return result;
}

std::uint16_t one(Backend backend, HalfType type, std::uint32_t pattern) {
  return run(backend, type, {std::bit_cast<float>(pattern)}, kNoBounds).halves[0];
}

TEST_CASE("float16 patterns are those of IEEE 754") {
  struct Row {
    std::uint32_t from;
    std::uint16_t to;
  };
  const Row rows[] = {
      {0x00000000, 0x0000}, {0x80000000, 0x8000}, {0x3F800000, 0x3C00}, {0xC0000000, 0xC000},
      {0x477FE000, 0x7BFF}, {0x477FEFFF, 0x7BFF}, {0x477FF000, 0x7C00}, {0x7F800000, 0x7C00},
      {0xFF800000, 0xFC00}, {0x38800000, 0x0400}, {0x387FE000, 0x0400}, {0x387FDFFF, 0x03FF},
      {0x33000000, 0x0000}, {0x33000001, 0x0001}, {0x33800000, 0x0001}, {0x33C00000, 0x0002},
      {0x00000001, 0x0000}, {0x7F800001, 0x7E00}, {0xFFC00000, 0xFE00}, {0x7FFFFFFF, 0x7FFF},
      {0x7F802000, 0x7E01},
  };
  for (const Backend backend : usable_backends()) {
    CAPTURE(backend_name(backend));
    for (const Row& row : rows) {
      CAPTURE(row.from);
      CHECK(one(backend, HalfType::kFloat16, row.from) == row.to);
    }
  }
}

TEST_CASE("bfloat16 keeps subnormals and the payload of NaN") {
  struct Row {
    std::uint32_t from;
    std::uint16_t to;
  };
  const Row rows[] = {
      {0x00000000, 0x0000}, {0x80000000, 0x8000}, {0x3F800000, 0x3F80}, {0x3F808000, 0x3F80},
      {0x3F818000, 0x3F82}, {0x00008000, 0x0000}, {0x00008001, 0x0001}, {0x80018000, 0x8002},
      {0x007F8000, 0x0080}, {0x007F7FFF, 0x007F}, {0x7F7F7FFF, 0x7F7F}, {0x7F7F8000, 0x7F80},
      {0x7F800000, 0x7F80}, {0x7F800001, 0x7FC0}, {0xFF810000, 0xFFC1}, {0x7FFFFFFF, 0x7FFF},
  };
  for (const Backend backend : usable_backends()) {
    CAPTURE(backend_name(backend));
    for (const Row& row : rows) {
      CAPTURE(row.from);
      CHECK(one(backend, HalfType::kBFloat16, row.from) == row.to);
    }
  }
}

TEST_CASE("counts of a small array by hand") {
  const std::vector<float> x{0.0F, -0.0F, 1e-9F, -1e-6F, 1.0F, 7e4F, -kInf, std::nanf("")};
  for (const Backend backend : usable_backends()) {
    CAPTURE(backend_name(backend));
    const CastCounts c = run(backend, HalfType::kFloat16, x, {1e-7F, 1e4F}).counts;
    CHECK(c.elements == 8);
    CHECK(c.raised == 1);
    CHECK(c.lowered == 1);
    CHECK(c.flushed == 0);
    CHECK(c.subnormal == 2);
    CHECK(c.overflow == 0);
    CHECK(c.nan == 1);
    CHECK(c.inf == 1);
    CHECK(c.max_abs == 7e4F);
    CHECK(c.max_abs_error == 6e4F);
    const CastCounts open = run(backend, HalfType::kFloat16, x, kNoBounds).counts;
    CHECK(open.flushed == 1);
    CHECK(open.overflow == 1);
    CHECK(open.max_rel_error == 1.0F);
  }
}

TEST_CASE("every backend equals the scalar one at every length, start and store policy") {
  const CastBounds bounds[] = {kNoBounds, {1e-7F, 1e4F}, {0.0F, 65504.0F}};
  const std::vector<float> x = random_patterns(300, 7);
  for (const Backend backend : usable_backends()) {
    CAPTURE(backend_name(backend));
    for (std::size_t n = 0; n <= 200; ++n) {
      const auto start = static_cast<std::ptrdiff_t>(n % 17);
      const std::vector<float> part(x.begin() + start,
                                    x.begin() + start + static_cast<std::ptrdiff_t>(n));
      const HalfType type = kTypes[n % 2];
      const Result expected = run(Backend::kScalar, type, part, bounds[n % 3]);
      for (const auto policy : {StorePolicy::kCached, StorePolicy::kStreaming}) {
        const Result got = run(backend, type, part, bounds[n % 3], policy);
        CHECK(got.halves == expected.halves);
        CHECK(same(got.counts, expected.counts));
      }
    }
  }
}

TEST_CASE("addresses may be misaligned and nothing beside the result is written") {
  constexpr std::size_t kElements = 150;
  const std::vector<float> x = random_patterns(kElements, 3);
  const Result expected = run(Backend::kScalar, HalfType::kFloat16, x, kNoBounds);
  for (const Backend backend : usable_backends()) {
    for (std::size_t shift = 0; shift < 9; ++shift) {
      std::vector<unsigned char> src(4 * kElements + 16), dst(2 * kElements + 16, 0xAB);
      std::memcpy(src.data() + shift, x.data(), 4 * kElements);
      CastCounts counts;
      const Status status =
          cast_with(backend, HalfType::kFloat16, reinterpret_cast<const float*>(src.data() + shift),
                    reinterpret_cast<std::uint16_t*>(dst.data() + shift), kElements, kNoBounds,
                    counts, StorePolicy::kStreaming);
      REQUIRE(status == Status::kOk);
      CHECK(std::memcmp(dst.data() + shift, expected.halves.data(), 2 * kElements) == 0);
      for (std::size_t i = 0; i < shift; ++i) CHECK(dst[i] == 0xAB);
      for (std::size_t i = 2 * kElements + shift; i < dst.size(); ++i) CHECK(dst[i] == 0xAB);
    }
  }
}

TEST_CASE("threads change neither result nor counts") {
  const std::vector<float> x = random_patterns((3U << 19) + 123, 5);
  for (const Backend backend : usable_backends()) {
    const Result expected = run(backend, HalfType::kBFloat16, x, {1e-30F, 1e30F});
    for (const unsigned threads : {0U, 1U, 2U, 8U, 1000U}) {
      Result got{std::vector<std::uint16_t>(x.size()), {}};
      const Status status = cast_threaded(backend, HalfType::kBFloat16, x.data(), got.halves.data(),
                                          x.size(), {1e-30F, 1e30F}, got.counts, threads);
      REQUIRE(status == Status::kOk);
      CHECK(got.halves == expected.halves);
      CHECK(same(got.counts, expected.counts));
    }
  }
}

TEST_CASE("the caller's rounding mode has no influence and is kept") {
  const std::vector<float> x = random_patterns(1000, 11);
  for (const Backend backend : usable_backends()) {
    const Result expected = run(backend, HalfType::kFloat16, x, kNoBounds);
    REQUIRE(std::fesetround(FE_UPWARD) == 0);
    const Result got = run(backend, HalfType::kFloat16, x, kNoBounds);
    const int mode = std::fegetround();
    std::fesetround(FE_TONEAREST);
    CHECK(mode == FE_UPWARD);
    CHECK(got.halves == expected.halves);
    CHECK(same(got.counts, expected.counts));
  }
}

#if defined(__x86_64__)
TEST_CASE("the caller's flush-to-zero mode has no influence and is kept") {
  const std::vector<float> x = random_patterns(2000, 17);
  for (const Backend backend : usable_backends()) {
    const Result expected = run(backend, HalfType::kBFloat16, x, {1e-40F, kInf});
    const unsigned before = _mm_getcsr(), flushing = before | 0x8040U;  // FTZ and DAZ
    _mm_setcsr(flushing);
    const Result got = run(backend, HalfType::kBFloat16, x, {1e-40F, kInf});
    const unsigned after = _mm_getcsr();
    _mm_setcsr(before);
    CHECK((after & 0x8040U) == 0x8040U);
    CHECK(got.halves == expected.halves);
    CHECK(same(got.counts, expected.counts));
  }
}
#endif

TEST_CASE("counts merge in any order, and a cast adds to those it is given") {
  const std::vector<float> x = random_patterns(1000, 13);
  const std::vector<float> head(x.begin(), x.begin() + 333), tail(x.begin() + 333, x.end());
  for (const Backend backend : usable_backends()) {
    const CastCounts whole = run(backend, HalfType::kFloat16, x, kNoBounds).counts;
    const CastCounts first = run(backend, HalfType::kFloat16, head, kNoBounds).counts;
    const CastCounts second = run(backend, HalfType::kFloat16, tail, kNoBounds).counts;
    CastCounts forward = first, backward = second, added = first;
    merge(forward, second);
    merge(backward, first);
    std::vector<std::uint16_t> halves(tail.size());
    REQUIRE(cast_with(backend, HalfType::kFloat16, tail.data(), halves.data(), tail.size(),
                      kNoBounds, added) == Status::kOk);
    CHECK(same(forward, whole));
    CHECK(same(backward, whole));
    CHECK(same(added, whole));
  }
}

TEST_CASE("wrong arguments are refused and nothing is touched") {
  const float x = 1.0F;
  std::uint16_t y = 0xABAB;
  CastCounts counts;
  const auto status = [&](HalfType type, const float* src, std::uint16_t* dst, CastBounds bounds) {
    return cast_with(Backend::kScalar, type, src, dst, 1, bounds, counts);
  };
  const HalfType half = HalfType::kFloat16;
  const float nan = std::nanf("");
  CHECK(status(half, nullptr, &y, kNoBounds) == Status::kInvalidArgument);
  CHECK(status(half, &x, nullptr, kNoBounds) == Status::kInvalidArgument);
  CHECK(status(static_cast<HalfType>(7), &x, &y, kNoBounds) == Status::kInvalidArgument);
  const CastBounds wrong[] = {{-1.0F, kInf}, {nan, kInf}, {kInf, kInf}, {0.0F, 0.0F},
                              {0.0F, -1.0F}, {0.0F, nan}, {2.0F, 1.0F}};
  for (const CastBounds bounds : wrong) {
    CHECK(status(half, &x, &y, bounds) == Status::kInvalidArgument);
  }
  CHECK(y == 0xABAB);
  CHECK(same(counts, CastCounts{}));
  CHECK(cast_with(Backend::kScalar, half, nullptr, nullptr, 0, kNoBounds, counts) == Status::kOk);
}

TEST_CASE("a backend that is not usable is refused") {
  const float x = 1.0F;
  std::uint16_t y = 0;
  CastCounts counts;
  for (int i = 0; i <= kBackendCount; ++i) {
    const auto backend = static_cast<Backend>(i);
    const Status expected = backend_usable(backend) ? Status::kOk : Status::kUnsupportedBackend;
    CHECK(cast_with(backend, HalfType::kFloat16, &x, &y, 1, kNoBounds, counts) == expected);
  }
  CHECK(backend_usable(Backend::kScalar));
  CHECK_FALSE(backend_usable(static_cast<Backend>(kBackendCount)));
}

// CTest runs this with the variable unset, usable and unknown: it is read once a process.
TEST_CASE("a forced backend is used, or refused loudly") {
  const char* variable = std::getenv("HALVE_FORCE_BACKEND");
  const std::string forced = variable == nullptr ? "" : variable;
  bool expected = forced.empty();
  for (const Backend backend : usable_backends()) expected |= forced == backend_name(backend);

  Backend chosen = Backend::kScalar;
  CHECK((chosen_backend(chosen) == Status::kOk) == expected);
  if (expected && !forced.empty()) CHECK(backend_name(chosen) == forced);
  CHECK((forced_backend_name() == nullptr) == forced.empty());

  const std::vector<float> x = random_patterns(100, 19);
  std::vector<std::uint16_t> halves(x.size(), 0xABAB);
  CastCounts counts;
  const Status status =
      cast(HalfType::kFloat16, x.data(), halves.data(), x.size(), kNoBounds, counts);
  CHECK(status == (expected ? Status::kOk : Status::kUnsupportedBackend));
  const std::vector<std::uint16_t> untouched(x.size(), 0xABAB);
  CHECK((halves == untouched) == !expected);
  CHECK(counts.elements == (expected ? x.size() : 0));
}

}  // namespace
}  // namespace halve
