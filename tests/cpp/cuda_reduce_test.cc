#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "cuda/compare.h"
#include "cuda/compare_thread.h"
#include "cuda/ratio_thread.h"
#include "cuda/stats_thread.h"
#include "cuda_simulation.h"
#include "halve/cast.h"

namespace halve::cuda {

// Stands for the device: csrc/cuda/compare.cc asks it for chunks, which the simulation makes.
class Context {
 public:
  Geometry geometry;
};

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr CompareRule kRule{1e-3, 1e-6, false};
constexpr std::size_t kBytes[] = {4, 2, 2, 8};
constexpr FloatType kTypes[] = {FloatType::kFloat32, FloatType::kFloat16, FloatType::kBFloat16,
                                FloatType::kFloat64};

template <class A>
std::vector<CompareTotals> chunks_of(Context& context, FloatType b_type, const ReducePlan& plan,
                                     CompareRule rule) {
  const Geometry g = context.geometry;
  switch (b_type) {
    case FloatType::kFloat32:
      return simulate_reduction<CompareThread<A, kernels::Float32>>(plan, rule, g);
    case FloatType::kFloat16:
      return simulate_reduction<CompareThread<A, kernels::Float16>>(plan, rule, g);
    case FloatType::kBFloat16:
      return simulate_reduction<CompareThread<A, kernels::BFloat16>>(plan, rule, g);
    case FloatType::kFloat64:
      return simulate_reduction<CompareThread<A, kernels::Float64>>(plan, rule, g);
  }
  throw std::logic_error("unknown type");
}

}  // namespace

#define HALVE_SIMULATED(name, type)                                                           \
  std::vector<CompareTotals> name(Context& context, FloatType b_type, const ReducePlan& plan, \
                                  CompareRule rule) {                                         \
    return chunks_of<kernels::type>(context, b_type, plan, rule);                             \
  }
HALVE_SIMULATED(compare_float32, Float32)
HALVE_SIMULATED(compare_float16, Float16)
HALVE_SIMULATED(compare_bfloat16, BFloat16)
HALVE_SIMULATED(compare_float64, Float64)

namespace {

// Values of a type at `offset` elements behind a vector's border.
struct Array {
  Array(FloatType t, const std::vector<float>& values, std::size_t offset = 0)
      : type(t), size(kBytes[static_cast<int>(t)]), count(values.size()) {
    store.resize((count + offset) * size + 2 * kVectorBytes, 0x7F);
    const std::uint64_t past = address_of(store.data()) % kVectorBytes;
    begin = (kVectorBytes - past) % kVectorBytes + offset * size;
    fill(values);
  }
  void fill(const std::vector<float>& values) {
    CastCounts counts;
    if (type == FloatType::kFloat32) {
      std::memcpy(data(), values.data(), 4 * count);
    } else if (type == FloatType::kFloat64) {
      for (std::size_t i = 0; i < count; ++i) {
        const double wide = values[i] * (1.0 + 0x1p-40);
        std::memcpy(data() + 8 * i, &wide, 8);
      }
    } else {
      const auto half = type == FloatType::kFloat16 ? HalfType::kFloat16 : HalfType::kBFloat16;
      const float limit = std::numeric_limits<float>::infinity();
      REQUIRE(cast_with(Backend::kScalar, half, values.data(),
                        reinterpret_cast<std::uint16_t*>(data()), count, {0.0F, limit},
                        counts) == Status::kOk);
    }
  }
  char* data() { return store.data() + begin; }
  [[nodiscard]] const char* data() const { return store.data() + begin; }
  FloatType type;
  std::size_t size, count;
  std::vector<char> store;
  std::size_t begin = 0;
};

std::vector<float> normal(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution;
  std::vector<float> values(n);
  for (float& value : values) value = distribution(random);
  return values;
}

std::vector<float> nudged(const std::vector<float>& x, unsigned seed) {
  std::vector<float> y = normal(x.size(), seed);
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = x[i] + 1e-3F * y[i];
  return y;
}

CompareTotals scalar(const Array& a, const Array& b, CompareRule rule) {
  CompareTotals totals;
  REQUIRE(compare_threaded(Backend::kScalar, a.type, a.data(), b.type, b.data(), a.count, rule,
                           totals, 1) == Status::kOk);
  return totals;
}

CompareTotals simulated(const Array& a, const Array& b, CompareRule rule, Geometry geometry) {
  Context context{geometry};
  return compare(context, a.type, b.type, {{a.data(), b.data(), a.count}}, rule).at(0);
}

bool same(const CompareTotals& a, const CompareTotals& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

TEST_CASE("the comparison kernel's threads together are the scalar comparison, in every pairing") {
  for (const std::size_t n : {1UL, 63UL, 64UL, 65UL, 4095UL, 4097UL, 20001UL}) {
    const std::vector<float> x = normal(n, 1), y = nudged(x, 2);
    for (const FloatType a_type : kTypes) {
      for (const FloatType b_type : kTypes) {
        CAPTURE(n);
        CAPTURE(static_cast<int>(a_type));
        CAPTURE(static_cast<int>(b_type));
        const Array a(a_type, x), b(b_type, y);
        CHECK(same(simulated(a, b, kRule, {1, 5}), scalar(a, b, kRule)));
      }
    }
  }
}

TEST_CASE("any number of thread blocks gives the same bits") {
  const std::size_t n = (std::size_t{1} << 18) * 2 + 4321;
  const std::vector<float> x = normal(n, 3);
  const Array a(FloatType::kFloat32, x), b(FloatType::kFloat16, nudged(x, 4));
  const CompareTotals expected = scalar(a, b, kRule);
  for (const unsigned blocks : {1U, 2U, 7U, 100U}) {
    CAPTURE(blocks);
    CHECK(same(simulated(a, b, kRule, {blocks, blocks}), expected));
  }
}

TEST_CASE("the comparison kernel takes arrays of any element alignment") {
  const std::vector<float> x = normal(9001, 6), y = nudged(x, 7);
  for (std::size_t offset = 0; offset < 8; ++offset) {
    CAPTURE(offset);
    const Array a(FloatType::kFloat16, x, offset), b(FloatType::kFloat32, y, offset % 4);
    CHECK(same(simulated(a, b, kRule, {2, 1}), scalar(a, b, kRule)));
    const Array c(FloatType::kFloat64, x, offset % 2), d(FloatType::kBFloat16, y, 7 - offset);
    CHECK(same(simulated(c, d, kRule, {2, 1}), scalar(c, d, kRule)));
  }
}

TEST_CASE("values that are not finite, zeros and extremes are as in the definition") {
  std::mt19937 random(8);
  const float odd[] = {0.0F,
                       -0.0F,
                       std::numeric_limits<float>::infinity(),
                       -std::numeric_limits<float>::infinity(),
                       std::nanf(""),
                       1e-45F,
                       3e38F,
                       -3e38F};
  for (const unsigned rarity : {2U, 30U, 5000U}) {
    std::vector<float> x = normal(30000, 9), y = nudged(x, 10);
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (random() % rarity == 0) x[i] = odd[random() % 8];
      if (random() % rarity == 0) y[i] = odd[random() % 8];
      if (random() % rarity == 0) y[i] = x[i];
    }
    for (const FloatType type : kTypes) {
      const Array a(FloatType::kFloat32, x), b(type, y);
      for (const bool equal_nan : {false, true}) {
        const CompareRule rule{1e-2, 1e-3, equal_nan};
        CHECK(same(simulated(a, b, rule, {3, rarity}), scalar(a, b, rule)));
        CHECK(same(simulated(b, a, rule, {3, rarity}), scalar(b, a, rule)));
      }
    }
  }
}

TEST_CASE("of equal worst elements the first is named, wherever the threads find them") {
  const std::size_t n = 40000;
  for (const std::size_t first : {0UL, 13UL, 4096UL, 16383UL, 16384UL, 39999UL}) {
    CAPTURE(first);
    std::vector<float> x(n, 2.0F), y(n, 2.0F);
    for (std::size_t i = first; i < n; ++i) x[i] = i % 3 == first % 3 ? 3.0F : 2.0F;
    const Array a(FloatType::kFloat16, x), b(FloatType::kFloat16, y);
    for (unsigned seed = 0; seed < 4; ++seed) {
      const CompareTotals found = simulated(a, b, kRule, {2, seed});
      CHECK(found.max_abs_index == first);
      CHECK(found.max_rel_index == first);
      CHECK(same(found, scalar(a, b, kRule)));
    }
  }
}

TEST_CASE("equal quotients of different pairs name the first, too") {
  // 1/3 and 2/6 are one value after rounding, of different exact differences and references.
  std::vector<float> x(9000), y(9000);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float scale = static_cast<float>(1 + (i * 7) % 64);
    y[i] = 3.0F * scale;
    x[i] = 4.0F * scale;
  }
  const Array a(FloatType::kFloat32, x), b(FloatType::kFloat32, y);
  for (unsigned seed = 0; seed < 4; ++seed) {
    const CompareTotals found = simulated(a, b, kRule, {1, seed});
    CHECK(found.max_rel_index == 0);
    CHECK(same(found, scalar(a, b, kRule)));
  }
}

TEST_CASE("a batch of pairs in one launch has one result a pair") {
  std::vector<Array> a, b;
  std::vector<ReduceItem> items;
  for (const std::size_t n : {0UL, 5UL, 70000UL, 0UL, 300000UL, 64UL, 0UL}) {
    const std::vector<float> x = normal(n, 20 + static_cast<unsigned>(n));
    a.emplace_back(FloatType::kFloat32, x);
    b.emplace_back(FloatType::kFloat16, nudged(x, 21));
  }
  for (std::size_t i = 0; i < a.size(); ++i) {
    items.push_back({a[i].data(), b[i].data(), a[i].count});
  }
  Context context{{3, 4}};
  const auto found = compare(context, a[0].type, b[0].type, items, kRule);
  for (std::size_t i = 0; i < a.size(); ++i) {
    CAPTURE(i);
    CHECK(same(found[i], scalar(a[i], b[i], kRule)));
  }
}

TEST_CASE("the statistics kernel's threads together are the scalar statistics") {
  std::mt19937 random(30);
  std::vector<float> x = normal((std::size_t{1} << 18) + 12345, 31);
  for (float& value : x) {
    if (random() % 20 == 0) value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (random() % 20 == 0) value = 0.0F;
  }
  const auto join = [](StatsTotals& total, const StatsTotals& part) { merge(total, part); };
  const auto check = [&]<class T>(FloatType type) {
    const Array array(type, x, 1);
    for (const StatsThresholds thresholds :
         {StatsThresholds{2.0, 1e-3}, StatsThresholds{1e-45, -1.0},
          StatsThresholds{-kInf, 1e300}}) {
      StatsTotals expected;
      REQUIRE(stats_threaded(Backend::kScalar, type, array.data(), array.count, thresholds,
                             expected, 1) == Status::kOk);
      const ReducePlan plan = plan_reduction({{array.data(), nullptr, array.count}}, type, type);
      for (const unsigned blocks : {1U, 5U}) {
        const auto chunks = simulate_reduction<StatsThread<T>>(plan, thresholds, {blocks, blocks});
        const StatsTotals found = join_chunks<StatsTotals>(plan, chunks, join).at(0);
        CHECK(std::memcmp(&found, &expected, sizeof found) == 0);
      }
    }
  };
  check.operator()<kernels::Float32>(FloatType::kFloat32);
  check.operator()<kernels::Float16>(FloatType::kFloat16);
  check.operator()<kernels::BFloat16>(FloatType::kBFloat16);
  check.operator()<kernels::Float64>(FloatType::kFloat64);
}

TEST_CASE("thresholds are rounded away from the values that they exclude") {
  constexpr float kMost = std::numeric_limits<float>::max();
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  CHECK(float_at_least(0.5) == 0.5F);
  CHECK(float_at_least(1.0 + 0x1p-40) == 1.0F + 0x1p-23F);
  CHECK(float_at_least(1.0 - 0x1p-40) == 1.0F);
  CHECK(float_at_least(-1.0 - 0x1p-40) == -1.0F);
  CHECK(float_at_least(-1.0 + 0x1p-40) == -1.0F + 0x1p-24F);
  CHECK(float_at_least(1e-300) == kTiny);
  CHECK(float_at_least(-1e-300) == 0.0F);
  CHECK(float_at_least(1e300) == std::numeric_limits<float>::infinity());
  CHECK(float_at_least(-1e300) == -kMost);
  CHECK(float_at_least(-kInf) == -std::numeric_limits<float>::infinity());
}

TEST_CASE("shares of a tolerance are those of a plain loop") {
  std::mt19937 random(40);
  std::vector<float> x = normal((std::size_t{1} << 18) + 999, 41), y = nudged(x, 42);
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (random() % 50 == 0) y[i] = x[i];
  }
  const auto check = [&](bool odd) {
    const Array a(FloatType::kFloat16, x, 3), b(FloatType::kFloat32, y, 1);
    const ReducePlan plan = plan_reduction({{a.data(), b.data(), a.count}}, a.type, b.type);
    const RatioRule rule{1e-2, 1e-3, 0.25};
    double worst = 0.0, sum = 0.0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double u = kernels::Float16::widen(a.data() + 2 * i), v = y[i];
      const double share = u == v ? 0.0 : std::fabs(u - v) / (1e-3 + 1e-2 * std::fabs(v));
      worst = std::isnan(share) ? kInf : std::max(worst, share);
      sum += std::pow(share / 4, 4);
    }
    for (const unsigned blocks : {1U, 6U}) {
      const auto chunks = simulate_reduction<RatioThread<kernels::Float16, kernels::Float32>>(
          plan, rule, {blocks, blocks});
      RatioTotals found;
      for (const RatioTotals& part : chunks) {
        found.worst = std::max(found.worst, part.worst);
        found.sum_fourth += part.sum_fourth;
      }
      CHECK(found.worst == worst);
      if (!odd) CHECK(found.sum_fourth == doctest::Approx(sum).epsilon(1e-12));
    }
  };
  check(false);
  y[77] = std::nanf("");
  check(true);
}

TEST_CASE("a reduction's plan has every element once, in chunks of the order of sums") {
  for (const std::uint64_t n : {std::uint64_t{1}, std::uint64_t{4096}, std::uint64_t{16385},
                                (std::uint64_t{1} << 18) + 1, (std::uint64_t{1} << 33) + 5}) {
    CAPTURE(n);
    float x = 0.0F;
    const ReducePlan plan = plan_reduction({{&x, &x, n}}, FloatType::kFloat32, FloatType::kFloat32);
    CHECK(plan.chunks <= kMaxChunks);
    std::uint64_t covered = 0;
    for (std::uint64_t i = 0; i < plan.tasks; ++i) {
      const Task task = locate(plan.tensors.data(), 1, i);
      REQUIRE(task.begin == (task.begin / chunk_elements(n) == task.chunk ? covered : kNoIndex));
      covered = std::min(task.begin + kTaskElements, task.chunk_end);
    }
    CHECK(covered == n);
  }
}

TEST_CASE("a reduction's plan and rule refuse what a kernel cannot take") {
  alignas(8) char bytes[16];
  const auto f64 = FloatType::kFloat64, f16 = FloatType::kFloat16;
  const auto plan = [](const void* a, const void* b, FloatType t, FloatType u) {
    static_cast<void>(plan_reduction({{a, b, 1}}, t, u));
  };
  CHECK_THROWS_AS(plan(nullptr, bytes, f64, f64), std::invalid_argument);
  CHECK_THROWS_AS(plan(bytes + 4, bytes, f64, f64), std::invalid_argument);
  CHECK_THROWS_AS(plan(bytes, bytes + 1, f64, f16), std::invalid_argument);
  CHECK_THROWS_AS(plan(bytes, bytes, static_cast<FloatType>(4), f16), std::invalid_argument);
  CHECK_NOTHROW(plan(bytes, bytes + 2, f64, f16));
  Context context;
  for (const double bad : {-1.0, kInf, kNan}) {
    CHECK_THROWS_AS(static_cast<void>(compare(context, f64, f64, {}, {bad, 0.0, false})),
                    std::invalid_argument);
  }
}

TEST_CASE("a grid is as large as the work, the device and the launch allow") {
  CHECK(grid_blocks(0, 4, 100) == 1);
  CHECK(grid_blocks(9, 4, 100) == 3);
  CHECK(grid_blocks(1000, 4, 100) == 100);
  CHECK(grid_blocks(1000, 4, 0) == 1);
  CHECK(grid_blocks(~std::uint64_t{0}, 1, ~std::uint64_t{0}) == 0x7FFFFFFF);
  Layout layout;
  CHECK(layout.add(3, 8) == 0);
  CHECK(layout.add(1, 256) == 256);
  CHECK(layout.add(0, 8) == 512);
  CHECK(layout.nbytes() == 512);
}

}  // namespace
}  // namespace halve::cuda
