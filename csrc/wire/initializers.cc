#include <utility>

#include "reader.h"

namespace halve::wire {
namespace {

constexpr std::uint32_t kGraph = 7;          // ModelProto.graph
constexpr std::uint32_t kInitializer = 5;    // GraphProto.initializer
constexpr std::uint32_t kDataType = 2;       // TensorProto.data_type
constexpr std::uint32_t kExternalData = 13;  // TensorProto.external_data

class Lister {
 public:
  explicit Lister(const Input& input) : reader_(input) {}

  void model(std::vector<Initializer>& result) {
    each(0, reader_.size(), 0, [&](const Field& graph) {
      if (graph.number != kGraph || graph.type != kBytes) return;
      each(graph.body, graph.end, 1, [&](const Field& field) {
        if (field.number == kInitializer && field.type == kBytes) result.push_back(tensor(field));
      });
    });
  }

 private:
  template <typename Visit>
  void each(std::uint64_t begin, std::uint64_t end, std::size_t depth, const Visit& visit) {
    while (begin < end) {
      const Field field = reader_.field(begin, end, depth);
      visit(field);
      begin = field.end;
    }
  }

  Initializer tensor(const Field& message) {
    Initializer result;
    each(message.body, message.end, 2, [&](const Field& field) {
      if (field.number == kDataType && field.type == kVarint) result.data_type = number(field);
      if (field.number == kExternalData && field.type == kBytes) {
        result.entries.push_back(entry(field));
      }
    });
    return result;
  }

  std::pair<std::string, std::string> entry(const Field& message) {
    std::pair<std::string, std::string> result;
    each(message.body, message.end, 3, [&](const Field& field) {
      if (field.type != kBytes) return;
      if (field.number == 1) result.first = bytes(field);
      if (field.number == 2) result.second = bytes(field);
    });
    return result;
  }

  std::string bytes(const Field& field) {
    std::string result;
    reader_.copy(field.body, field.end, result);
    return result;
  }

  // As protobuf has it: the lowest 32 bits.
  std::int32_t number(const Field& field) {
    std::uint64_t value = 0;
    unsigned shift = 0;
    for (const char byte : bytes(field)) {
      value |= std::uint64_t{static_cast<std::uint8_t>(byte) & 0x7FU} << shift;
      shift += 7;
    }
    return static_cast<std::int32_t>(value);
  }

  Reader reader_;
};

}  // namespace

std::optional<Error> initializers(const Input& skeleton, std::vector<Initializer>& result) {
  try {
    Lister(skeleton).model(result);
  } catch (const Failure& failure) {
    return failure.error;
  }
  return std::nullopt;
}

}  // namespace halve::wire
