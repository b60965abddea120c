// Copies a ModelProto and lets a derived class rewrite every TensorProto in it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reader.h"

namespace halve::wire {

struct Edge;

void append_varint(std::string& out, std::uint64_t value);
void append_bytes_header(std::string& out, std::uint32_t field, std::uint64_t nbytes);

class Rewriter {
 public:
  explicit Rewriter(const Input& input) : reader_(input) {}
  virtual ~Rewriter() = default;
  Rewriter(const Rewriter&) = delete;
  Rewriter& operator=(const Rewriter&) = delete;

  // Rewrites the whole input into out_.
  [[nodiscard]] std::optional<Error> run();

 protected:
  // Payload that stands at out_[position] in the full file but is not in out_.
  struct Hole {
    std::size_t position;
    std::uint64_t nbytes;
    std::size_t payload;
  };

  // Appends the TensorProto in [begin, end) to out_. `merged`: protobuf will merge it with others.
  virtual void tensor(std::uint64_t begin, std::uint64_t end, bool merged) = 0;

  [[nodiscard]] std::size_t depth() const { return path_.size(); }

  Reader reader_;
  std::string out_;
  std::vector<Hole> holes_;
  std::uint64_t hidden_ = 0;  // bytes in holes_

 private:
  void message(std::uint32_t kind, std::uint64_t begin, std::uint64_t end, bool merged);
  void nested(const Field& field, const Edge& edge, bool merged);
  void set_length(std::size_t at, std::size_t body, std::size_t first_hole, std::uint64_t length);
  bool recurs(std::uint32_t number, std::uint64_t position, std::uint64_t end);
  [[nodiscard]] std::string place() const;

  std::vector<const char*> path_;  // names of the open messages; kept as it was by a failure
};

}  // namespace halve::wire
