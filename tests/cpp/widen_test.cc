#include "halve/widen.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace halve {
namespace {

constexpr HalfType kTypes[] = {HalfType::kFloat16, HalfType::kBFloat16};
constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<Backend> usable_backends() {
  std::vector<Backend> found;
  for (int i = 0; i < kBackendCount; ++i) {
    if (backend_usable(static_cast<Backend>(i))) found.push_back(static_cast<Backend>(i));
  }
  return found;
}

std::uint32_t widened(Backend backend, HalfType type, std::uint16_t half) {
  float result = 0.0F;
  REQUIRE(widen_threaded(backend, type, &half, &result, 1, 1) == Status::kOk);
  return std::bit_cast<std::uint32_t>(result);
}

// Every pattern but NaN, from its fields.
float value_of(HalfType type, std::uint16_t half) {
  const int bits = type == HalfType::kFloat16 ? 10 : 7;
  const int bias = type == HalfType::kFloat16 ? 15 : 127;
  const int exponent = (half & 0x7FFF) >> bits;
  const int fraction = half & ((1 << bits) - 1);
  const float sign = (half & 0x8000) != 0 ? -1.0F : 1.0F;
  if (exponent == (0x7FFF >> bits)) return sign * kInf;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), 1 - bias - bits);
  return sign * std::ldexp(static_cast<float>(fraction + (1 << bits)), exponent - bias - bits);
}

bool is_nan(HalfType type, std::uint16_t half) {
  return (half & 0x7FFF) > (type == HalfType::kFloat16 ? 0x7C00 : 0x7F80);
}

std::uint32_t expected(HalfType type, std::uint16_t half) {
  if (!is_nan(type, half)) return std::bit_cast<std::uint32_t>(value_of(type, half));
  const std::uint32_t wide = half;
  if (type == HalfType::kBFloat16) return wide << 16;
  return (wide & 0x8000) << 16 | 0x7FC00000 | (wide & 0x3FF) << 13;
}

TEST_CASE("all 16-bit patterns are widened exactly by every backend") {
  std::vector<std::uint16_t> every(1U << 16);
  for (std::size_t i = 0; i < every.size(); ++i) every[i] = static_cast<std::uint16_t>(i);
  for (const Backend backend : usable_backends()) {
    CAPTURE(backend_name(backend));
    for (const HalfType type : kTypes) {
      std::vector<float> wide(every.size());
      REQUIRE(widen_threaded(backend, type, every.data(), wide.data(), wide.size(), 2) ==
              Status::kOk);
      std::size_t wrong = 0;
      for (const std::uint16_t half : every) {
        wrong += std::bit_cast<std::uint32_t>(wide[half]) != expected(type, half);
        wrong += widened(backend, type, half) != expected(type, half);
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("any length and address is widened, and nothing beside it written") {
  std::mt19937 random(3);
  for (const Backend backend : usable_backends()) {
    CAPTURE(backend_name(backend));
    for (std::size_t n = 0; n < 150; ++n) {
      const std::size_t shift = n % 9;
      std::vector<unsigned char> src(2 * n + 16), dst(4 * n + 16, 0xAB);
      for (unsigned char& byte : src) byte = static_cast<unsigned char>(random());
      const HalfType type = kTypes[n % 2];
      REQUIRE(widen_threaded(backend, type,
                             reinterpret_cast<const std::uint16_t*>(src.data() + shift),
                             reinterpret_cast<float*>(dst.data() + shift), n, 1) == Status::kOk);
      for (std::size_t i = 0; i < n; ++i) {
        std::uint16_t half = 0;
        std::uint32_t wide = 0;
        std::memcpy(&half, src.data() + shift + 2 * i, sizeof half);
        std::memcpy(&wide, dst.data() + shift + 4 * i, sizeof wide);
        CHECK(wide == expected(type, half));
      }
      for (std::size_t i = 0; i < shift; ++i) CHECK(dst[i] == 0xAB);
      for (std::size_t i = 4 * n + shift; i < dst.size(); ++i) CHECK(dst[i] == 0xAB);
    }
  }
}

TEST_CASE("rounding is the cast, widened, on any number of threads and in place") {
  std::mt19937 random(5);
  std::vector<float> x((3U << 19) + 123);
  for (float& value : x) value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
  const CastBounds bounds{1e-7F, 1e4F};
  for (const Backend backend : usable_backends()) {
    for (const HalfType type : kTypes) {
      std::vector<std::uint16_t> half(x.size());
      CastCounts counts;
      REQUIRE(cast_threaded(backend, type, x.data(), half.data(), x.size(), bounds, counts, 1) ==
              Status::kOk);
      for (const unsigned threads : {1U, 4U}) {
        std::vector<float> got = x;
        CastCounts again;
        REQUIRE(cast_and_widen_threaded(backend, type, got.data(), got.data(), x.size(), bounds,
                                        again, threads) == Status::kOk);
        CHECK(again.raised == counts.raised);
        CHECK(again.elements == counts.elements);
        CHECK(again.max_rel_error == counts.max_rel_error);
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < x.size(); ++i) {
          wrong += std::bit_cast<std::uint32_t>(got[i]) != expected(type, half[i]);
        }
        CHECK(wrong == 0);
      }
    }
  }
}

TEST_CASE("what cannot be widened or rounded is refused") {
  std::uint16_t half = 0xABAB;
  float wide = 7.0F;
  CastCounts counts;
  const auto wrong_type = static_cast<HalfType>(9);
  const CastBounds open{0.0F, kInf};
  CHECK(widen_threaded(Backend::kScalar, HalfType::kFloat16, nullptr, &wide, 1, 1) ==
        Status::kInvalidArgument);
  CHECK(widen_threaded(Backend::kScalar, wrong_type, &half, &wide, 1, 1) ==
        Status::kInvalidArgument);
  CHECK(widen_threaded(static_cast<Backend>(9), HalfType::kFloat16, &half, &wide, 1, 1) ==
        Status::kUnsupportedBackend);
  CHECK(cast_and_widen_threaded(Backend::kScalar, HalfType::kFloat16, &wide, nullptr, 1, open,
                                counts, 1) == Status::kInvalidArgument);
  CHECK(cast_and_widen_threaded(Backend::kScalar, HalfType::kFloat16, nullptr, &wide, 1, open,
                                counts, 1) == Status::kInvalidArgument);
  CHECK(cast_and_widen_threaded(Backend::kScalar, HalfType::kFloat16, &wide, &wide, 1, {2.0F, 1.0F},
                                counts, 1) == Status::kInvalidArgument);
  CHECK(wide == 7.0F);
  CHECK(counts.elements == 0);
}

}  // namespace
}  // namespace halve
