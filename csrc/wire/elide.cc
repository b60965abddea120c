#include <array>
#include <utility>

#include "rewriter.h"

namespace halve::wire {
namespace {

// The payload fields of one TensorProto, and everything else in it as ranges to keep.
struct Contents {
  std::array<Payload, 3> payloads{Payload{kRawData, {}}, Payload{kFloatData, {}},
                                  Payload{kDoubleData, {}}};
  std::vector<std::pair<std::uint64_t, std::uint64_t>> kept;

  [[nodiscard]] std::uint64_t nbytes() const {
    std::uint64_t total = 0;
    for (const Payload& payload : payloads) {
      for (const Span& span : payload.spans) total += span.nbytes;
    }
    return total;
  }
};

void keep(Contents& contents, const Field& field) {
  if (!contents.kept.empty() && contents.kept.back().second == field.begin) {
    contents.kept.back().second = field.end;
  } else {
    contents.kept.emplace_back(field.begin, field.end);
  }
}

// Appends one unpacked item, to the run before it where it continues that.
void add_item(std::vector<Span>& spans, const Field& field) {
  const std::uint64_t size = field.nbytes();
  const bool short_tag = field.value - field.begin == 1;
  if (short_tag && !spans.empty() && spans.back().item == size) {
    Span& run = spans.back();
    if (field.body == run.offset + run.nbytes / size * (size + 1)) {
      run.nbytes += size;
      return;
    }
  }
  spans.push_back({field.body, size, short_tag ? static_cast<std::uint32_t>(size) : 0});
}

void add_numbers(std::vector<Span>& spans, const Field& field, std::uint64_t size) {
  if (field.type != kBytes) {
    add_item(spans, field);
  } else if (field.nbytes() % size != 0) {
    fail("field " + std::to_string(field.number) + " has " + std::to_string(field.nbytes()) +
             " bytes, not a multiple of " + std::to_string(size),
         field.begin);
  } else {
    spans.push_back({field.body, field.nbytes(), 0});
  }
}

void add(Contents& contents, const Field& field) {
  auto& [raw, floats, doubles] = contents.payloads;
  if (field.number == kRawData && field.type == kBytes) {
    raw.spans.assign(1, {field.body, field.nbytes(), 0});  // the last one wins
  } else if (field.number == kFloatData && (field.type == kBytes || field.type == kFixed32)) {
    add_numbers(floats.spans, field, 4);
  } else if (field.number == kDoubleData && (field.type == kBytes || field.type == kFixed64)) {
    add_numbers(doubles.spans, field, 8);
  } else {
    keep(contents, field);
  }
}

class Elider final : public Rewriter {
 public:
  Elider(const Input& input, std::uint64_t threshold) : Rewriter(input), threshold_(threshold) {}

  void take(Elided& result) {
    result.skeleton = std::move(out_);
    result.payloads = std::move(payloads_);
  }

 private:
  void tensor(std::uint64_t begin, std::uint64_t end, bool merged) override {
    Contents contents;
    for (std::uint64_t position = begin; position < end;) {
      const Field field = reader_.field(position, end, depth());
      add(contents, field);
      position = field.end;
    }
    if (!merged && contents.nbytes() < threshold_) {
      reader_.copy(begin, end, out_);
      return;
    }
    for (const auto& [first, last] : contents.kept) reader_.copy(first, last, out_);
    for (Payload& payload : contents.payloads) {
      if (!payload.spans.empty()) mark(std::move(payload));
    }
  }

  // Appends external_data {key, value}: both fit a length of one byte.
  void mark(Payload payload) {
    std::string entry;
    const std::string key = kPayloadKey;
    const std::string value = std::to_string(payloads_.size());
    append_bytes_header(entry, 1, key.size());
    entry += key;
    append_bytes_header(entry, 2, value.size());
    entry += value;
    append_bytes_header(out_, 13, entry.size());
    out_ += entry;
    payloads_.push_back(std::move(payload));
  }

  std::uint64_t threshold_;
  std::vector<Payload> payloads_;
};

}  // namespace

std::optional<Error> elide(const Input& input, std::uint64_t threshold, Elided& result) {
  Elider elider(input, threshold);
  std::optional<Error> error = elider.run();
  if (!error) elider.take(result);
  return error;
}

}  // namespace halve::wire
