#include "halve/copy.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace halve {
namespace {

TEST_CASE("both copies move every byte, at any start and on any number of threads") {
  std::vector<unsigned char> src(1000);
  std::iota(src.begin(), src.end(), static_cast<unsigned char>(1));
  for (const auto kind : {CopyKind::kMemcpy, CopyKind::kStreaming}) {
    for (const unsigned threads : {0U, 1U, 3U, 64U}) {
      for (std::size_t shift = 0; shift < 70; shift += 3) {
        std::vector<unsigned char> dst(src.size(), 0);
        const std::size_t n = src.size() - 70;
        REQUIRE(copy_threaded(kind, dst.data() + shift, src.data() + 1, n, threads) == Status::kOk);
        std::vector<unsigned char> expected(src.size(), 0);
        std::copy_n(src.begin() + 1, n, expected.begin() + static_cast<std::ptrdiff_t>(shift));
        CHECK(dst == expected);
      }
    }
  }
}

TEST_CASE("wrong arguments of a copy are refused") {
  char byte = 0;
  CHECK(copy_threaded(CopyKind::kMemcpy, nullptr, &byte, 1, 1) == Status::kInvalidArgument);
  CHECK(copy_threaded(CopyKind::kMemcpy, &byte, nullptr, 1, 1) == Status::kInvalidArgument);
  CHECK(copy_threaded(static_cast<CopyKind>(9), &byte, &byte, 1, 1) == Status::kInvalidArgument);
  CHECK(copy_threaded(CopyKind::kStreaming, nullptr, nullptr, 0, 1) == Status::kOk);
}

}  // namespace
}  // namespace halve
