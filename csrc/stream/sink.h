// One output: a file written in aligned blocks, or memory.
#pragma once

#include <atomic>
#include <cstdint>

#include "file.h"
#include "halve/stream.h"

namespace halve::stream {

class Sink {
 public:
  // Opens the file and claims its room. `index` names the output in failures.
  Failure open(const Output& output, std::uint64_t index, bool direct);
  // Writes block [begin, begin + n). `from` is aligned to kAlignment and may be read and written
  // up to the next multiple of it; a block that does not end there must be the last.
  Failure write(std::uint8_t* from, std::uint64_t begin, std::uint64_t n);
  // Cuts the file to its size.
  Failure close(std::uint64_t nbytes);

 private:
  [[nodiscard]] Failure failure(Fault fault, std::uint64_t offset, int error) const noexcept;

  std::uint64_t index_ = 0;
  File file_;
  File direct_;
  std::atomic<bool> use_direct_{false};
};

}  // namespace halve::stream
