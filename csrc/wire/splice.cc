#include <charconv>
#include <utility>

#include "rewriter.h"

namespace halve::wire {
namespace {

constexpr std::uint32_t kExternalData = 13;
// An entry longer than this is no marker: key, index and their headers are shorter.
constexpr std::uint64_t kMaxMarkerBytes = 64;

class Splicer final : public Rewriter {
 public:
  Splicer(const Input& skeleton, const std::vector<Filling>& fillings)
      : Rewriter(skeleton), fillings_(fillings) {}

  void take(Layout& result) {
    std::uint64_t begin = 0;
    std::uint64_t offset = 0;
    for (const Hole& hole : holes_) {
      offset = add_literal(result, begin, hole.position, offset);
      result.pieces.push_back({offset, hole.nbytes, 0, static_cast<std::int64_t>(hole.payload)});
      offset += hole.nbytes;
      begin = hole.position;
    }
    result.nbytes = add_literal(result, begin, out_.size(), offset);
    result.literals = std::move(out_);
  }

 private:
  static std::uint64_t add_literal(Layout& result, std::uint64_t begin, std::uint64_t end,
                                   std::uint64_t offset) {
    if (begin < end) result.pieces.push_back({offset, end - begin, begin, -1});
    return offset + (end - begin);
  }

  void tensor(std::uint64_t begin, std::uint64_t end, bool /*merged*/) override {
    for (std::uint64_t position = begin; position < end;) {
      const Field field = reader_.field(position, end, depth());
      position = field.end;
      if (!fill(field)) reader_.copy(field.begin, field.end, out_);
    }
  }

  // Where the field is a marker, appends the header of its payload and a hole.
  bool fill(const Field& field) {
    if (field.number != kExternalData || field.type != kBytes) return false;
    if (field.nbytes() > kMaxMarkerBytes) return false;
    std::string key;
    std::string value;
    for (std::uint64_t position = field.body; position < field.end;) {
      const Field part = reader_.field(position, field.end, depth() + 1);
      position = part.end;
      if (part.type == kBytes && part.number == 1) read(part, key);
      if (part.type == kBytes && part.number == 2) read(part, value);
    }
    if (key != kPayloadKey) return false;
    const std::size_t index = parse_index(value, field.begin);
    const Filling& filling = fillings_[index];
    append_bytes_header(out_, filling.field, filling.nbytes);
    holes_.push_back({out_.size(), filling.nbytes, index});
    hidden_ += filling.nbytes;
    return true;
  }

  void read(const Field& field, std::string& text) {
    text.clear();
    reader_.copy(field.body, field.end, text);
  }

  [[nodiscard]] std::size_t parse_index(const std::string& text, std::uint64_t offset) const {
    std::size_t index = 0;
    const char* end = text.data() + text.size();
    const auto [stop, status] = std::from_chars(text.data(), end, index);
    if (status != std::errc() || stop != end || index >= fillings_.size()) {
      fail("a payload entry has index '" + text + "' where the table has " +
               std::to_string(fillings_.size()),
           offset);
    }
    return index;
  }

  const std::vector<Filling>& fillings_;
};

}  // namespace

std::optional<Error> splice(const Input& skeleton, const std::vector<Filling>& fillings,
                            Layout& result) {
  Splicer splicer(skeleton, fillings);
  std::optional<Error> error = splicer.run();
  if (!error) splicer.take(result);
  return error;
}

}  // namespace halve::wire
