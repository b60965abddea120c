// The last step of a block's sum (halve/reduce.h).
#pragma once

#include "../inline.h"

namespace halve::kernels {
namespace {

// Of kSumLanes values: the lanes as a tree.
HALVE_INLINE double sum_of_lanes(const double* lane) {
  const double even = (lane[0] + lane[4]) + (lane[2] + lane[6]);
  const double odd = (lane[1] + lane[5]) + (lane[3] + lane[7]);
  return even + odd;
}

}  // namespace
}  // namespace halve::kernels
