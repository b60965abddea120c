#include "file.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#if defined(_WIN32)
#include <io.h>
#else
#include <unistd.h>
#endif

namespace halve::stream {
namespace {

// Linux transfers at most 2 GiB - 4 KiB a call, and other systems less than INT_MAX.
constexpr std::uint64_t kMostAtOnce = 1U << 30U;

#if defined(_WIN32)

constexpr int kReadFlags = _O_RDONLY | _O_BINARY | _O_NOINHERIT;
constexpr int kWriteFlags = _O_WRONLY | _O_BINARY | _O_NOINHERIT;

std::int64_t transfer_at(int fd, void* to, std::uint64_t n, std::uint64_t offset,
                         std::mutex& seek) {
  const std::lock_guard lock(seek);
  if (_lseeki64(fd, static_cast<std::int64_t>(offset), SEEK_SET) < 0) return -1;
  return _read(fd, to, static_cast<unsigned>(n));
}

std::int64_t transfer_at(int fd, const void* from, std::uint64_t n, std::uint64_t offset,
                         std::mutex& seek) {
  const std::lock_guard lock(seek);
  if (_lseeki64(fd, static_cast<std::int64_t>(offset), SEEK_SET) < 0) return -1;
  return _write(fd, from, static_cast<unsigned>(n));
}

#else

constexpr int kReadFlags = O_RDONLY | O_CLOEXEC;
constexpr int kWriteFlags = O_WRONLY | O_CLOEXEC;

std::int64_t transfer_at(int fd, void* to, std::uint64_t n, std::uint64_t offset, std::mutex&) {
  return pread(fd, to, n, static_cast<off_t>(offset));
}

std::int64_t transfer_at(int fd, const void* from, std::uint64_t n, std::uint64_t offset,
                         std::mutex&) {
  return pwrite(fd, from, n, static_cast<off_t>(offset));
}

#endif

}  // namespace

File::~File() {
  if (fd_ < 0) return;
#if defined(_WIN32)
  _close(fd_);
#else
  ::close(fd_);
#endif
}

int File::open(const std::string& path, int flags) {
#if defined(_WIN32)
  fd_ = _open(path.c_str(), flags);
#else
  do {
    fd_ = ::open(path.c_str(), flags);
  } while (fd_ < 0 && errno == EINTR);
#endif
  return fd_ < 0 ? errno : 0;
}

int File::open_read(const std::string& path) { return open(path, kReadFlags); }

int File::open_write(const std::string& path) { return open(path, kWriteFlags); }

int File::open_direct([[maybe_unused]] const std::string& path) {
#if defined(O_DIRECT)
  return open(path, kWriteFlags | O_DIRECT);
#else
  return EINVAL;
#endif
}

int File::read_at(void* to, std::uint64_t n, std::uint64_t offset, std::uint64_t& got) {
  for (got = 0; got < n;) {
    const auto part = std::min(n - got, kMostAtOnce);
    const auto done =
        transfer_at(fd_, static_cast<std::uint8_t*>(to) + got, part, offset + got, seek_);
    if (done == 0) return 0;
    if (done > 0) got += static_cast<std::uint64_t>(done);
    if (done < 0 && errno != EINTR) return errno;
  }
  return 0;
}

int File::write_at(const void* from, std::uint64_t n, std::uint64_t offset) {
  for (std::uint64_t put = 0; put < n;) {
    const auto part = std::min(n - put, kMostAtOnce);
    const auto done =
        transfer_at(fd_, static_cast<const std::uint8_t*>(from) + put, part, offset + put, seek_);
    if (done == 0) return EIO;
    if (done > 0) put += static_cast<std::uint64_t>(done);
    if (done < 0 && errno != EINTR) return errno;
  }
  return 0;
}

int File::reserve([[maybe_unused]] std::uint64_t n) {
#if defined(__linux__)
  // Not posix_fallocate: where the file system cannot, it writes every block instead.
  while (n > 0 && ::fallocate(fd_, 0, 0, static_cast<off_t>(n)) != 0) {
    if (errno == EOPNOTSUPP || errno == ENOSYS) return 0;
    if (errno != EINTR) return errno;
  }
#endif
  return 0;
}

int File::truncate(std::uint64_t n) {
#if defined(_WIN32)
  return _chsize_s(fd_, static_cast<std::int64_t>(n));
#else
  while (::ftruncate(fd_, static_cast<off_t>(n)) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
#endif
}

void File::prefetch([[maybe_unused]] std::uint64_t offset,
                    [[maybe_unused]] std::uint64_t n) noexcept {
#if defined(__linux__)
  // Advice: a failure only costs time.
  (void)::posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(n),
                        POSIX_FADV_WILLNEED);
#endif
}

}  // namespace halve::stream
