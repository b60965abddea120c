#include "rewriter.h"

#include <utility>

namespace halve::wire {

// Where the schema has a message on the way to a tensor. `merges` marks a singular field whose
// occurrences protobuf merges into one tensor; merging graphs only concatenates their lists.
struct Edge {
  std::uint32_t parent;
  std::uint32_t number;
  std::uint32_t child;
  bool merges;
  const char* name;
};

namespace {

enum Kind : std::uint32_t {
  kModel,
  kTraining,
  kFunction,
  kGraph,
  kNode,
  kAttribute,
  kSparse,
  kTensor,
};

constexpr Edge kEdges[] = {
    {kModel, 7, kGraph, false, "graph"},
    {kModel, 20, kTraining, false, "training_info"},
    {kModel, 25, kFunction, false, "functions"},
    {kTraining, 1, kGraph, false, "initialization"},
    {kTraining, 2, kGraph, false, "algorithm"},
    {kFunction, 7, kNode, false, "node"},
    {kFunction, 11, kAttribute, false, "attribute_proto"},
    {kGraph, 1, kNode, false, "node"},
    {kGraph, 5, kTensor, false, "initializer"},
    {kGraph, 15, kSparse, false, "sparse_initializer"},
    {kNode, 5, kAttribute, false, "attribute"},
    {kAttribute, 5, kTensor, true, "t"},
    {kAttribute, 6, kGraph, false, "g"},
    {kAttribute, 10, kTensor, false, "tensors"},
    {kAttribute, 11, kGraph, false, "graphs"},
    {kAttribute, 22, kSparse, true, "sparse_tensor"},
    {kAttribute, 23, kSparse, false, "sparse_tensors"},
    {kSparse, 1, kTensor, true, "values"},
    {kSparse, 2, kTensor, true, "indices"},
};

const Edge* find_edge(std::uint32_t parent, const Field& field) {
  if (field.type != kBytes) return nullptr;
  for (const Edge& edge : kEdges) {
    if (edge.parent == parent && edge.number == field.number) return &edge;
  }
  return nullptr;
}

}  // namespace

void append_varint(std::string& out, std::uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>((value & 0x7F) | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

void append_bytes_header(std::string& out, std::uint32_t field, std::uint64_t nbytes) {
  append_varint(out, field << 3 | kBytes);
  append_varint(out, nbytes);
}

std::string Rewriter::place() const {
  std::string text = " in model";
  for (const char* name : path_) text.append(".").append(name);
  return text;
}

std::optional<Error> Rewriter::run() {
  try {
    message(kModel, 0, reader_.size(), false);
  } catch (Failure& failure) {
    failure.error.what += place();
    return std::move(failure.error);
  }
  return std::nullopt;
}

bool Rewriter::recurs(std::uint32_t number, std::uint64_t position, std::uint64_t end) {
  while (position < end) {
    const Field field = reader_.field(position, end, depth());
    if (field.number == number && field.type == kBytes) return true;
    position = field.end;
  }
  return false;
}

void Rewriter::message(std::uint32_t kind, std::uint64_t begin, std::uint64_t end, bool merged) {
  std::uint64_t seen = 0;  // mergeable fields that occurred, a bit each
  while (begin < end) {
    const Field field = reader_.field(begin, end, depth());
    const Edge* edge = find_edge(kind, field);
    begin = field.end;
    if (edge == nullptr) {
      reader_.copy(field.begin, field.end, out_);
      continue;
    }
    // Only the first occurrence looks ahead, so that the whole stays linear.
    const std::uint64_t bit = std::uint64_t{1} << field.number;
    const bool again = edge->merges && ((seen & bit) != 0 || recurs(field.number, begin, end));
    seen |= bit;
    nested(field, *edge, merged || again);
  }
}

void Rewriter::nested(const Field& field, const Edge& edge, bool merged) {
  path_.push_back(edge.name);
  if (depth() > kMaxDepth) fail("messages are nested too deeply", field.begin);
  const std::size_t length_at = out_.size() + (field.value - field.begin);
  reader_.copy(field.begin, field.body, out_);
  const std::size_t body = out_.size();
  const std::size_t first_hole = holes_.size();
  const std::uint64_t hidden = hidden_;
  if (edge.child == kTensor) {
    tensor(field.body, field.end, merged);
  } else {
    message(edge.child, field.body, field.end, edge.child == kSparse && merged);
  }
  const std::uint64_t length = out_.size() - body + (hidden_ - hidden);
  if (length != field.nbytes()) set_length(length_at, body, first_hole, length);
  path_.pop_back();
}

// Replaces the length in out_[at, body) and moves the holes behind it.
void Rewriter::set_length(std::size_t at, std::size_t body, std::size_t first_hole,
                          std::uint64_t length) {
  std::string text;
  append_varint(text, length);
  out_.replace(at, body - at, text);
  const std::size_t moved = at + text.size() - body;  // may wrap around: an unsigned difference
  for (std::size_t i = first_hole; i < holes_.size(); ++i) holes_[i].position += moved;
}

}  // namespace halve::wire
