#include "threads.h"

#include <algorithm>

#ifdef __linux__
#include <sched.h>
#endif

namespace halve {

unsigned usable_cores() noexcept {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    return static_cast<unsigned>(std::max(CPU_COUNT(&set), 1));
  }
#endif
  return std::max(std::thread::hardware_concurrency(), 1U);
}

}  // namespace halve
