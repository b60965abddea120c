// Files to files: what Python cannot pass, cancelling, and how outputs are shared out.
#include "halve/stream.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

namespace {

using halve::HalfType;
using namespace halve::stream;
using Bytes = std::vector<std::uint8_t>;

constexpr Settings kSmall{2, 1U << 20U, true};

Origin in_memory(const Bytes& bytes) { return {"", bytes.data(), bytes.size()}; }

Output to_memory(Bytes& bytes, std::vector<Piece> pieces) {
  return {"", bytes.data(), bytes.size(), std::move(pieces)};
}

Job copy_of(std::uint64_t offset, std::uint64_t nbytes) {
  return {0, Action::kCopy, {0.0F, 1.0F}, {{offset, nbytes, 0}}};
}

Result run(const Task& task, Settings settings = kSmall) { return Run(task, settings).finish(); }

Bytes counting(std::size_t n) {
  Bytes bytes(n);
  std::iota(bytes.begin(), bytes.end(), std::uint8_t{1});
  return bytes;
}

// A task that copies `nbytes` and may contradict itself.
struct Copy {
  Bytes from = counting(100);
  Bytes to = Bytes(100, 0xFF);
  Task task;

  explicit Copy(std::vector<Piece> pieces, Job job = copy_of(0, 10)) {
    task = {{in_memory(from)}, {std::move(job)}, {to_memory(to, std::move(pieces))}};
  }
};

TEST_CASE("pieces go where they belong, and holes are zeros") {
  Copy copy({{3, 10, 0, nullptr}, {20, 0, kLiteral, nullptr}});
  const Result result = run(copy.task);
  CHECK(result.failure.fault == Fault::kNone);
  CHECK(result.bytes_read == 10);
  CHECK(result.bytes_written == 100);
  Bytes expected(100, 0);
  std::memcpy(expected.data() + 3, copy.from.data(), 10);
  CHECK(copy.to == expected);
}

TEST_CASE("a task that contradicts itself is refused and writes nothing") {
  const auto refused = [](Copy copy) {
    CHECK(run(copy.task).failure.fault == Fault::kInvalid);
    CHECK(copy.to == Bytes(100, 0xFF));
  };
  refused(Copy({{95, 10, 0, nullptr}}));                             // past the end
  refused(Copy({{UINT64_MAX, 10, 0, nullptr}}));                     // far past it
  refused(Copy({{0, 10, 0, nullptr}, {9, 10, 0, nullptr}}));         // overlapping
  refused(Copy({{20, 10, 0, nullptr}, {0, 10, 0, nullptr}}));        // out of order
  refused(Copy({{0, 9, 0, nullptr}}));                               // not the job's size
  refused(Copy({{0, 10, 1, nullptr}}));                              // no such job
  refused(Copy({{0, 10, -2, nullptr}}));                             // no job at all
  refused(Copy({}, {1, Action::kCopy, {0.0F, 1.0F}, {{0, 1, 0}}}));  // no such origin
}

TEST_CASE("memory that ends before its payload is an error, at its place") {
  Copy copy({{0, 10, 0, nullptr}}, copy_of(95, 10));
  const Failure failure = run(copy.task).failure;
  CHECK(failure.fault == Fault::kShort);
  CHECK(failure.job == 0);
  CHECK(failure.offset == 95);
}

TEST_CASE("bounds that no cast accepts are refused") {
  Copy copy({{0, 4, 0, nullptr}}, {0, Action::kFloat16, {-1.0F, 1.0F}, {{0, 8, 0}}});
  CHECK(run(copy.task).failure.fault == Fault::kInvalid);
}

TEST_CASE("cancelled work says so") {
  Bytes to(64U << 20U);
  Task task{{}, {}, {to_memory(to, {})}};
  Run work(task, kSmall);
  work.cancel();
  const Result result = work.finish();
  // It may have been done already.
  CHECK((result.failure.fault == Fault::kCancelled || result.bytes_written == to.size()));
}

TEST_CASE("any budget and number of threads give the same bytes and counts") {
  Bytes from = counting(1'000'001);
  std::vector<Bytes> results;
  std::vector<std::uint64_t> lowered;
  for (const Settings settings : {Settings{1, 1U << 20U, true}, Settings{7, 1U << 20U, true},
                                  Settings{3, 1U << 30U, false}}) {
    Bytes to(500'003, 0xFF);
    const Job job{0, Action::kBFloat16, {0.0F, 1.0F}, {{1, 600'000, 0}, {600'001, 400'000, 0}}};
    const Task task{{in_memory(from)}, {job}, {to_memory(to, {{3, 500'000, 0, nullptr}})}};
    const Result result = run(task, settings);
    CHECK(result.failure.fault == Fault::kNone);
    CHECK(result.counts[0].elements == 250'000);
    results.push_back(to);
    lowered.push_back(result.counts[0].lowered);
  }
  CHECK(results[0] == results[1]);
  CHECK(results[0] == results[2]);
  CHECK(lowered[0] > 0);
  CHECK(lowered == std::vector<std::uint64_t>(3, lowered[0]));
}

// Casts with the processor and counts how often; refuses where it is told to.
struct CountingCaster {
  std::atomic<std::uint64_t> calls{0}, most{0};
  bool broken = false;

  static halve::Status cast(void* state, HalfType type, const void* src, void* dst, std::uint64_t n,
                            halve::CastBounds bounds, halve::CastCounts& counts) noexcept {
    auto* self = static_cast<CountingCaster*>(state);
    ++self->calls;
    self->most = std::max<std::uint64_t>(self->most, n);
    if (self->broken) return halve::Status::kDeviceFailed;
    return halve::cast(type, static_cast<const float*>(src), static_cast<std::uint16_t*>(dst), n,
                       bounds, counts);
  }
  halve::Caster caster() { return {&cast, this, 100'000}; }
};

TEST_CASE("somebody else may cast, by blocks as large as they like") {
  const Bytes from = counting(1'000'000);
  const Job job{0, Action::kFloat16, {0.0F, 1.0F}, {{0, 1'000'000, 0}}};
  Bytes expected(500'001), to(500'001);
  const auto task = [&](Bytes& out) {
    // At an odd place, so that an element lies across every border.
    return Task{{in_memory(from)}, {job}, {to_memory(out, {{1, 500'000, 0, nullptr}})}};
  };
  const Task by_cpu = task(expected), by_caster = task(to);
  const Result cpu = run(by_cpu);
  CountingCaster state;
  const halve::Caster caster = state.caster();
  Settings settings = kSmall;
  settings.caster = &caster;
  const Result result = run(by_caster, settings);
  CHECK(result.failure.fault == Fault::kNone);
  CHECK(to == expected);
  CHECK(std::memcmp(result.counts.data(), cpu.counts.data(), sizeof(halve::CastCounts)) == 0);
  CHECK(state.calls >= 3);
  CHECK(state.most <= 100'000);
  state.broken = true;
  CHECK(run(by_caster, settings).failure.fault == Fault::kDevice);
}

TEST_CASE("files that are not there are told apart") {
  Bytes to(8);
  Task task{{{"/nonexistent/in"}}, {copy_of(0, 8)}, {to_memory(to, {{0, 8, 0, nullptr}})}};
  CHECK(run(task).failure.fault == Fault::kOpenRead);
  task = {{}, {}, {{"/nonexistent/out", nullptr, 8, {}}}};
  CHECK(run(task).failure.fault == Fault::kOpenWrite);
}

}  // namespace
