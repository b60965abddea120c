// Short-lived helper threads for one array.
#pragma once

#include <array>
#include <exception>
#include <thread>

namespace halve {

// The cores that this process may use; at least 1.
unsigned usable_cores() noexcept;

inline constexpr unsigned kMaxThreads = 256;

// Runs `work` on `count` threads, the calling one included, and waits for all. Where the system
// refuses a thread the others do its share: `work` must take its units from a common counter.
template <class Work>
void run_on_threads(unsigned count, Work&& work) noexcept {
  std::array<std::thread, kMaxThreads> helpers;
  unsigned started = 0;
  while (started + 1 < count && started < kMaxThreads) {
    try {
      helpers[started] = std::thread(work);
    } catch (const std::exception&) {
      break;
    }
    ++started;
  }
  work();
  for (unsigned i = 0; i < started; ++i) helpers[i].join();
}

}  // namespace halve
