// The protobuf wire format of an ONNX model, with and without its payload.
//
// elide() leaves the payload of tensors out of a serialised ModelProto, splice() lays a
// payload-free one out again as bytes with holes for the payload. Both copy everything else byte
// for byte, unknown fields, groups and odd order included, rewrite the lengths of the messages that
// change, and take time linear in what they read. Neither ever reads payload.
//
// Payload means the TensorProto fields raw_data (9), float_data (4) and double_data (10), in every
// place where onnx.proto has a TensorProto. A tensor whose payload is left out carries one
// external_data entry {kPayloadKey, decimal index into the table} for each of these fields that it
// had, in the order 9, 4, 10.
//
// What protobuf does when it parses decides what is meant:
//   - runs of float_data or double_data concatenate; the last raw_data of a message wins;
//   - occurrences of a singular message field are merged. Where that happens to a tensor
//     (AttributeProto.t or .sparse_tensor, SparseTensorProto.values or .indices given more than
//     once), each occurrence gives up its payload fields whatever their size, so that the parsed
//     tensor holds the entries of all pieces in order, and nothing else;
//   - a known field with another wire type is an unknown field.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace halve::wire {

inline constexpr char kPayloadKey[] = "halve.payload";
inline constexpr std::uint32_t kRawData = 9;
inline constexpr std::uint32_t kFloatData = 4;
inline constexpr std::uint32_t kDoubleData = 10;

// Nested messages and groups that protobuf itself accepts.
inline constexpr std::size_t kMaxDepth = 100;

// A malformed input: what was being read, and the byte where it went wrong.
struct Error {
  std::string what;
  std::uint64_t offset = 0;
};

// `size` bytes in memory (`data` set) or of an open file (`data` null), from its first byte.
struct Input {
  const std::uint8_t* data = nullptr;
  int fd = -1;
  std::uint64_t size = 0;
};

// A piece of a payload. `item` 0: contiguous. `item` 4 or 8: items of that size, each preceded by
// a tag of one byte; `offset` is that of the first item, and `nbytes` does not count the tags.
struct Span {
  std::uint64_t offset = 0;
  std::uint64_t nbytes = 0;
  std::uint32_t item = 0;
};

struct Payload {
  std::uint32_t field = 0;
  std::vector<Span> spans;
};

struct Elided {
  std::string skeleton;
  std::vector<Payload> payloads;
};

// Fills `result` from a serialised ModelProto. Tensors keep payload of less than `threshold` bytes.
// A file costs a window of 64 KiB besides the result; its position is neither used nor moved.
[[nodiscard]] std::optional<Error> elide(const Input& input, std::uint64_t threshold,
                                         Elided& result);

// An initializer of the main graph: its element type, and its external_data entries in order.
struct Initializer {
  std::int32_t data_type = 0;
  std::vector<std::pair<std::string, std::string>> entries;
};

// Fills `result` from a serialised ModelProto without payload, in the order of the file.
[[nodiscard]] std::optional<Error> initializers(const Input& skeleton,
                                                std::vector<Initializer>& result);

// What goes where a tensor carries an index: the field and the size of its payload.
struct Filling {
  std::uint32_t field = 0;
  std::uint64_t nbytes = 0;
};

// `nbytes` at `offset` of the full file: from literals[begin] on, or payload number `payload`.
struct Piece {
  std::uint64_t offset = 0;
  std::uint64_t nbytes = 0;
  std::uint64_t begin = 0;
  std::int64_t payload = -1;
};

struct Layout {
  std::string literals;
  std::vector<Piece> pieces;
  std::uint64_t nbytes = 0;
};

// Lays out the serialised ModelProto `skeleton` with fillings[i] in place of every entry with index
// i (raw_data, or packed float_data or double_data). Pieces come in order, without gaps. The total
// is not limited: protobuf's limit of 2 GiB - 1 is for the caller to hold.
[[nodiscard]] std::optional<Error> splice(const Input& skeleton,
                                          const std::vector<Filling>& fillings, Layout& result);

}  // namespace halve::wire
