#include "reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#ifdef _WIN32
#include <io.h>
#else
#include <unistd.h>
#endif

namespace halve::wire {
namespace {

// Small enough that the gaps between payloads, not the payloads, are what is read.
constexpr std::uint64_t kWindowBytes = 64 << 10;
constexpr std::uint64_t kMaxVarintBytes = 10;

std::int64_t read_at(int fd, std::uint8_t* buffer, std::uint64_t nbytes, std::uint64_t offset) {
#ifdef _WIN32
  if (_lseeki64(fd, static_cast<std::int64_t>(offset), SEEK_SET) < 0) return -1;
  return _read(fd, buffer, static_cast<unsigned>(nbytes));
#else
  return pread(fd, buffer, nbytes, static_cast<off_t>(offset));
#endif
}

std::string described(const Field& field) { return "field " + std::to_string(field.number); }

}  // namespace

void fail(std::string what, std::uint64_t offset) { throw Failure{{std::move(what), offset}}; }

Reader::Reader(const Input& input) : input_(input) {
  if (input_.data != nullptr) {
    window_ = input_.data;
    end_ = input_.size;
  } else {
    buffer_.resize(std::min(kWindowBytes, input_.size));
    window_ = buffer_.data();
  }
}

const std::uint8_t* Reader::at(std::uint64_t offset, std::uint64_t nbytes) {
  if (offset < begin_ || offset + nbytes > end_) refill(offset, nbytes);
  return window_ + (offset - begin_);
}

void Reader::refill(std::uint64_t offset, std::uint64_t nbytes) {
  if (input_.data != nullptr) fail("the data ends", offset);
  begin_ = end_ = offset;
  const std::uint64_t wanted = std::min<std::uint64_t>(buffer_.size(), input_.size - offset);
  while (end_ - begin_ < wanted) {
    const std::uint64_t have = end_ - begin_;
    const std::int64_t got = read_at(input_.fd, buffer_.data() + have, wanted - have, end_);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(std::string("reading failed: ") + std::strerror(errno), end_);
    if (got == 0) break;
    end_ += static_cast<std::uint64_t>(got);
  }
  if (end_ - begin_ < nbytes) fail("the file became shorter while it was read", end_);
}

Reader::Varint Reader::varint(std::uint64_t position, std::uint64_t limit) {
  const std::uint64_t available = std::min(kMaxVarintBytes, limit - position);
  const std::uint8_t* bytes = at(position, available);
  std::uint64_t value = 0;
  for (std::uint64_t i = 0; i < available; ++i) {
    value |= static_cast<std::uint64_t>(bytes[i] & 0x7F) << (7 * i);
    if (bytes[i] < 0x80) return {value, position + i + 1};
  }
  if (available == kMaxVarintBytes) fail("a number runs over 10 bytes", position);
  fail("the data ends inside a number", limit);
}

Field Reader::tag(std::uint64_t position, std::uint64_t limit) {
  const Varint read = varint(position, limit);
  Field field;
  field.number = static_cast<std::uint32_t>(read.value >> 3);
  field.type = static_cast<std::uint32_t>(read.value & 7);
  field.begin = position;
  field.value = field.body = field.end = read.end;
  if (read.value > UINT32_MAX || field.number == 0) fail("an impossible field number", position);
  if (field.type > kFixed32) {
    fail(described(field) + " has wire type " + std::to_string(field.type) + ", which is none",
         position);
  }
  return field;
}

// Sets the extent of a field that is not a group.
void Reader::locate(Field& field, std::uint64_t limit) {
  std::uint64_t nbytes = 0;
  if (field.type == kVarint) {
    nbytes = varint(field.value, limit).end - field.value;
  } else if (field.type == kBytes) {
    const Varint length = varint(field.value, limit);
    field.body = length.end;
    nbytes = length.value;
  } else {
    nbytes = field.type == kFixed64 ? 8 : 4;
  }
  const std::uint64_t left = limit - field.body;
  if (nbytes > left) {
    fail(described(field) + " has " + std::to_string(nbytes) + " bytes where " +
             std::to_string(left) + " are left",
         field.begin);
  }
  field.end = field.body + nbytes;
}

std::uint64_t Reader::skip_group(const Field& opening, std::uint64_t limit, std::size_t depth) {
  std::vector<std::uint32_t> open{opening.number};
  std::uint64_t position = opening.value;
  while (!open.empty()) {
    if (position >= limit) fail("a group is not closed", opening.begin);
    Field inner = tag(position, limit);
    if (inner.type == kGroupBegin) {
      open.push_back(inner.number);
      if (depth + open.size() > kMaxDepth) fail("groups are nested too deeply", inner.begin);
    } else if (inner.type == kGroupEnd) {
      if (inner.number != open.back()) fail("a group is closed by another", inner.begin);
      open.pop_back();
    } else {
      locate(inner, limit);
    }
    position = inner.end;
  }
  return position;
}

Field Reader::field(std::uint64_t position, std::uint64_t limit, std::size_t depth) {
  Field field = tag(position, limit);
  if (field.type == kGroupEnd) fail("a group is closed that was not opened", position);
  if (field.type == kGroupBegin) {
    field.end = skip_group(field, limit, depth);
  } else {
    locate(field, limit);
  }
  return field;
}

void Reader::copy(std::uint64_t begin, std::uint64_t end, std::string& out) {
  while (begin < end) {
    const std::uint64_t part = std::min(kWindowBytes, end - begin);
    out.append(reinterpret_cast<const char*>(at(begin, part)), part);
    begin += part;
  }
}

}  // namespace halve::wire
