#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "cuda/pipeline.h"
#include "cuda_simulation.h"
#include "halve/cast.h"

namespace halve::cuda {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr CastBounds kBounds[] = {{0.0F, kInf}, {0.0F, 65504.0F}, {1e-7F, 1e4F}, {1e-40F, 1e38F}};

// Every kind of value, most of them ordinary.
std::vector<float> values(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& value : x) {
    value = normal(random);
    if (random() % 50 == 0) value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (random() % 50 == 0) value *= 1e-6F;
    if (random() % 40 == 0) value = 0.0F;
  }
  return x;
}

// An array inside a larger one, `offset` elements behind a vector's border, with a guard around it.
struct Placed {
  Placed(std::size_t n, std::size_t offset)
      : store(n + offset + 32, 0xABCD), at(store.data() + 8 + offset), count(n) {
    while (address_of(at - offset) % kVectorBytes != 0) ++at;
  }
  [[nodiscard]] bool guarded() const {
    const auto clean = [](const std::uint16_t* from, const std::uint16_t* to) {
      return std::all_of(from, to, [](std::uint16_t v) { return v == 0xABCD; });
    };
    return clean(store.data(), at) && clean(at + count, store.data() + store.size());
  }
  std::vector<std::uint16_t> store;
  std::uint16_t* at;
  std::size_t count;
};

template <class R>
void check_against_scalar(HalfType type, const std::vector<float>& x, std::size_t src_offset,
                          std::size_t dst_offset, CastBounds bounds, unsigned seed) {
  const std::size_t n = x.size();
  std::vector<float> storage(n + 8);
  float* src = storage.data() + src_offset;
  std::copy(x.begin(), x.end(), src);
  Placed got(n, dst_offset);
  std::vector<std::uint16_t> wanted(n);
  CastCounts counts;
  REQUIRE(cast_with(Backend::kScalar, type, src, wanted.data(), n, bounds, counts) == Status::kOk);
  const CastPlan plan = plan_cast({{src, got.at, n}});
  const auto totals = simulate_cast<R>(plan, bounds, {1, seed});
  const CastCounts found = counts_of(totals[0], n);
  CHECK(std::memcmp(&found, &counts, sizeof counts) == 0);
  CHECK(std::equal(wanted.begin(), wanted.end(), got.at));
  CHECK(got.guarded());
}

TEST_CASE("the cast kernel's threads together are the scalar cast") {
  unsigned seed = 1;
  for (const std::size_t n : {1UL, 7UL, 8UL, 9UL, 255UL, 2048UL, 4096UL, 4097UL, 20011UL}) {
    CAPTURE(n);
    const std::vector<float> x = values(n, ++seed);
    for (const CastBounds bounds : kBounds) {
      check_against_scalar<Float16Unit>(HalfType::kFloat16, x, 0, 0, bounds, seed);
      check_against_scalar<BFloat16Unit>(HalfType::kBFloat16, x, 0, 0, bounds, seed);
    }
  }
}

TEST_CASE("the cast kernel takes arrays of any element alignment") {
  const std::vector<float> x = values(5003, 77);
  for (std::size_t src = 0; src < 4; ++src) {
    for (std::size_t dst = 0; dst < 8; ++dst) {
      CAPTURE(src);
      CAPTURE(dst);
      check_against_scalar<Float16Unit>(HalfType::kFloat16, x, src, dst, kBounds[2], 5);
    }
  }
}

TEST_CASE("a batch has counts a tensor, empty ones among them") {
  std::vector<std::vector<float>> arrays;
  for (const std::size_t n : {0UL, 5000UL, 0UL, 3UL, 9000UL, 0UL}) arrays.push_back(values(n, 9));
  std::vector<std::vector<std::uint16_t>> results;
  std::vector<CastItem> items;
  for (const auto& x : arrays) {
    results.emplace_back(x.size());
    items.push_back({x.data(), results.back().data(), x.size()});
  }
  const CastPlan plan = plan_cast(items);
  const auto totals = simulate_cast<Float16Unit>(plan, kBounds[1], {1, 3});
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    CAPTURE(i);
    std::vector<std::uint16_t> wanted(arrays[i].size());
    CastCounts counts;
    REQUIRE(cast_with(Backend::kScalar, HalfType::kFloat16, arrays[i].data(), wanted.data(),
                      wanted.size(), kBounds[1], counts) == Status::kOk);
    const CastCounts found = counts_of(totals[i], wanted.size());
    CHECK(std::memcmp(&found, &counts, sizeof counts) == 0);
    CHECK(results[i] == wanted);
  }
}

TEST_CASE("a cast's plan has every element once, beyond 2^31 of them and 2^32 bytes") {
  const auto* src = reinterpret_cast<const char*>(std::uintptr_t{1} << 40);
  auto* dst = reinterpret_cast<char*>((std::uintptr_t{1} << 41) + 6);
  using Thread = CastThread<Float16Unit>;
  for (const std::uint64_t n :
       {0ULL, 1ULL, 4ULL, 5ULL, (1ULL << 31) - 1, 1ULL << 31, (1ULL << 31) + 6, (1ULL << 33) + 5}) {
    CAPTURE(n);
    const CastPlan plan = plan_cast({{src, dst, n}, {src, dst, 1}});
    const CastTensor& t = plan.tensors[0];
    CHECK(t.head == std::min<std::uint64_t>(n, 5));
    CHECK(plan.tensors[1].first_tile * kTileUnits >= t.units);
    CHECK(plan.tiles == plan.tensors[1].first_tile + 1);
    if (n == 0) continue;
    CHECK(Thread::begin_of(t, t.units - 1) + Thread::size_of(t, t.units - 1) == n);
    for (const std::uint64_t unit : {std::uint64_t{1}, t.units / 2, t.units - 1}) {
      if (unit == 0 || unit >= t.units) continue;
      CHECK(Thread::begin_of(t, unit) ==
            Thread::begin_of(t, unit - 1) + Thread::size_of(t, unit - 1));
      CHECK(address_of(t.dst + 2 * Thread::begin_of(t, unit)) % kVectorBytes == 0);
    }
    const std::uint64_t last = (t.units - 1) / kTileUnits;
    CHECK(tensor_of_tile(plan.tensors.data(), 2, last) == 0);
    CHECK(tensor_of_tile(plan.tensors.data(), 2, last + 1) == 1);
  }
}

TEST_CASE("a cast's plan refuses what a kernel cannot take") {
  float x[4];
  std::uint16_t y[4];
  const char* odd = reinterpret_cast<const char*>(x) + 2;
  CHECK_THROWS_AS(static_cast<void>(plan_cast({{nullptr, y, 1}})), std::invalid_argument);
  CHECK_THROWS_AS(static_cast<void>(plan_cast({{x, nullptr, 1}})), std::invalid_argument);
  CHECK_THROWS_AS(static_cast<void>(plan_cast({{odd, y, 1}})), std::invalid_argument);
  CHECK(plan_cast({{nullptr, nullptr, 0}}).tiles == 0);
  CHECK_NOTHROW(check_bounds({0.0F, kInf}));
  for (const CastBounds bad : {CastBounds{-1.0F, 1.0F}, CastBounds{2.0F, 1.0F},
                               CastBounds{kInf, kInf}, CastBounds{0.0F, std::nanf("")}}) {
    CHECK_THROWS_AS(check_bounds(bad), std::invalid_argument);
  }
}

// Writes down what happens to it.
struct Recorder {
  std::vector<std::uint64_t>* log;
  std::uint64_t began = 0;
  bool busy = false;
  void start(std::uint64_t begin, std::uint64_t count) {
    REQUIRE(!busy);
    busy = true;
    began = begin;
    log->push_back(begin);
    log->push_back(count);
  }
  void finish() {
    REQUIRE(busy);
    busy = false;
    log->push_back(1000000 + began);
  }
};

TEST_CASE("a pipeline fills a lane while another is at work, and empties them in order") {
  std::vector<std::uint64_t> log;
  std::vector<Recorder> lanes(2, Recorder{&log});
  run_pipeline(25, 10, lanes);
  const std::vector<std::uint64_t> expected{0, 10, 10, 10, 1000000, 20, 5, 1000010, 1000020};
  CHECK(log == expected);
  log.clear();
  run_pipeline(0, 10, lanes);
  CHECK(log.empty());
  run_pipeline(3, 10, lanes);
  CHECK(log == std::vector<std::uint64_t>{0, 3, 1000000});
}

}  // namespace
}  // namespace halve::cuda
