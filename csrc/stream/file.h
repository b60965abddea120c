// A file that is read and written at given places by several threads at a time.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

namespace halve::stream {

// What direct transfers are aligned to, in memory, in the file and in length.
constexpr std::uint64_t kAlignment = 4096;

// All functions return 0 or an errno value.
class File {
 public:
  File() = default;
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  int open_read(const std::string& path);
  int open_write(const std::string& path);
  // Opens the file past the page cache; EINVAL where the system or the file system cannot.
  int open_direct(const std::string& path);
  [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }

  // Reads until n bytes are there or the file ends; `got` says how many.
  int read_at(void* to, std::uint64_t n, std::uint64_t offset, std::uint64_t& got);
  int write_at(const void* from, std::uint64_t n, std::uint64_t offset);
  // Claims room for n bytes where the file system can; others report a full disk on writing.
  int reserve(std::uint64_t n);
  int truncate(std::uint64_t n);
  // Says that these bytes will be read soon.
  void prefetch(std::uint64_t offset, std::uint64_t n) noexcept;

 private:
  int open(const std::string& path, int flags);

  int fd_ = -1;
  std::mutex seek_;  // for systems without positioned reads and writes
};

}  // namespace halve::stream
