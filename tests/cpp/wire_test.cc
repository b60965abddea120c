// elide and splice on models of a few bytes; the properties are tested from Python against
// protobuf.
#include "halve/wire.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace {

using halve::wire::Elided;
using halve::wire::Filling;
using halve::wire::Input;
using halve::wire::Layout;

Input input(const std::string& data) {
  return {reinterpret_cast<const std::uint8_t*>(data.data()), -1, data.size()};
}

// A length-delimited field of less than 128 bytes.
std::string block(char field, const std::string& content) {
  return std::string{static_cast<char>(field << 3 | 2), static_cast<char>(content.size())} +
         content;
}

std::string initializer(const std::string& tensor) { return block(7, block(5, tensor)); }

std::string marker(const std::string& index) {
  return block(13, block(1, halve::wire::kPayloadKey) + block(2, index));
}

TEST_CASE("elide leaves payload out and says where it lies") {
  const std::string model = initializer(block(8, "w") + block(9, "12345678") + block(12, "doc"));
  Elided result;
  REQUIRE_FALSE(halve::wire::elide(input(model), 8, result).has_value());
  CHECK(result.skeleton == initializer(block(8, "w") + block(12, "doc") + marker("0")));
  REQUIRE(result.payloads.size() == 1);
  CHECK(result.payloads[0].field == halve::wire::kRawData);
  REQUIRE(result.payloads[0].spans.size() == 1);
  CHECK(model.substr(result.payloads[0].spans[0].offset, 8) == "12345678");
  CHECK(result.payloads[0].spans[0].item == 0);
}

TEST_CASE("elide keeps payload below the threshold, byte for byte") {
  const std::string model = initializer(block(9, "1234567"));
  Elided result;
  REQUIRE_FALSE(halve::wire::elide(input(model), 8, result).has_value());
  CHECK(result.skeleton == model);
  CHECK(result.payloads.empty());
}

TEST_CASE("elide makes one span of unpacked items") {
  const std::string item =
      "\x25"
      "abcd";
  const std::string model = initializer(item + item + item);
  Elided result;
  REQUIRE_FALSE(halve::wire::elide(input(model), 1, result).has_value());
  REQUIRE(result.payloads.size() == 1);
  REQUIRE(result.payloads[0].spans.size() == 1);
  CHECK(result.payloads[0].spans[0].nbytes == 12);
  CHECK(result.payloads[0].spans[0].item == 4);
  CHECK(result.payloads[0].spans[0].offset == 5);
}

TEST_CASE("elide names the byte and the place of what is wrong") {
  const std::string model = block(7, block(5, "\x4a\x09"));
  Elided result;
  const auto error = halve::wire::elide(input(model), 1, result);
  REQUIRE(error.has_value());
  CHECK(error->offset == 4);
  CHECK(error->what == "field 9 has 9 bytes where 0 are left in model.graph.initializer");
}

TEST_CASE("splice puts the header of each payload in place of its marker") {
  const std::string model = initializer(block(8, "w") + marker("1"));
  Layout layout;
  const std::vector<Filling> fillings{{9, 1}, {halve::wire::kFloatData, 300}};
  REQUIRE_FALSE(halve::wire::splice(input(model), fillings, layout).has_value());
  // graph: tag, 2 bytes of length; tensor: the same; name: 3; float_data: tag, 2 of length, 300.
  CHECK(layout.nbytes == 3 + 3 + 3 + 3 + 300);
  REQUIRE(layout.pieces.size() == 2);
  CHECK(layout.pieces[0].payload == -1);
  CHECK(layout.pieces[1].payload == 1);
  CHECK(layout.pieces[1].offset == 12);
  CHECK(layout.literals.substr(9) == "\x22\xac\x02");
}

TEST_CASE("splice leaves the total to its caller") {
  const std::string model = initializer(marker("0"));
  Layout layout;
  const std::uint64_t huge = std::uint64_t{1} << 40;
  REQUIRE_FALSE(halve::wire::splice(input(model), {{9, huge}}, layout).has_value());
  CHECK(layout.nbytes > huge);
}

TEST_CASE("splice refuses an index outside its table") {
  const std::string model = initializer(marker("1"));
  Layout layout;
  CHECK(halve::wire::splice(input(model), {{9, 4}}, layout).has_value());
}

}  // namespace
