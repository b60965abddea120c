// What host and device tell each other about arrays: plain data, the same for every compiler.
#pragma once

#include <stdint.h>

namespace halve::cuda {

// A tensor of a cast's launch. Unit 0 has the `head` elements before `dst` reaches a vector, the
// last unit what is left behind the last whole vector; either may be empty.
struct CastTensor {
  const char* src;  // float32, aligned to 4
  char* dst;        // 16-bit, aligned to 2
  uint64_t elements;
  uint64_t head;
  uint64_t units;
  uint64_t first_tile;
};

// Counts as they are added up in the device's memory: any order gives the same sums and maxima.
struct SharedCounts {
  uint64_t raised, lowered, flushed, subnormal, overflow, nan, inf;
  uint32_t max_abs, max_abs_error, max_rel_error,
      unused;  // patterns of floats that are not negative
};

// A tensor of a reduction's launch, or a pair of them.
struct ReduceTensor {
  const char* a;
  const char* b;  // null where there is one array
  uint64_t elements;
  uint64_t chunk_elements;
  uint64_t first_task;
  uint64_t first_chunk;
};

}  // namespace halve::cuda
