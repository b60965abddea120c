// Reads protobuf fields from memory or through a small window on a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "halve/wire.h"

namespace halve::wire {

enum WireType : std::uint32_t {
  kVarint = 0,
  kFixed64 = 1,
  kBytes = 2,
  kGroupBegin = 3,
  kGroupEnd = 4,
  kFixed32 = 5,
};

// Thrown inside this folder only; the functions of wire.h turn it into a value.
struct Failure {
  Error error;
};

[[noreturn]] void fail(std::string what, std::uint64_t offset);

// A field: its tag is [begin, value), its content [body, end). They differ from one another where
// a length stands between tag and content. A group's content includes its end tag.
struct Field {
  std::uint32_t number = 0;
  std::uint32_t type = 0;
  std::uint64_t begin = 0;
  std::uint64_t value = 0;
  std::uint64_t body = 0;
  std::uint64_t end = 0;

  [[nodiscard]] std::uint64_t nbytes() const { return end - body; }
};

class Reader {
 public:
  explicit Reader(const Input& input);

  [[nodiscard]] std::uint64_t size() const { return input_.size; }

  // The field that begins at `position`; its whole extent lies before `limit`. `depth` messages
  // are open around it.
  [[nodiscard]] Field field(std::uint64_t position, std::uint64_t limit, std::size_t depth);

  void copy(std::uint64_t begin, std::uint64_t end, std::string& out);

 private:
  struct Varint {
    std::uint64_t value;
    std::uint64_t end;
  };

  const std::uint8_t* at(std::uint64_t offset, std::uint64_t nbytes);
  void refill(std::uint64_t offset, std::uint64_t nbytes);
  Varint varint(std::uint64_t position, std::uint64_t limit);
  Field tag(std::uint64_t position, std::uint64_t limit);
  std::uint64_t skip_group(const Field& opening, std::uint64_t limit, std::size_t depth);
  void locate(Field& field, std::uint64_t limit);

  Input input_;
  std::vector<std::uint8_t> buffer_;
  const std::uint8_t* window_ = nullptr;
  std::uint64_t begin_ = 0;  // what the window holds: [begin_, end_)
  std::uint64_t end_ = 0;
};

}  // namespace halve::wire
