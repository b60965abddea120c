// Results as tuples in the order of their fields, from which Python makes its records.
#pragma once

#include <pybind11/pybind11.h>

#include "halve/cast.h"
#include "halve/compare.h"
#include "halve/stats.h"

namespace halve::bindings {

inline pybind11::tuple as_tuple(const CastCounts& c) {
  return pybind11::make_tuple(c.elements, c.raised, c.lowered, c.flushed, c.subnormal, c.overflow,
                              c.nan, c.inf, c.max_abs, c.max_abs_error, c.max_rel_error);
}

inline pybind11::object index_or_none(std::uint64_t index) {
  if (index == kNoIndex) return pybind11::none();
  return pybind11::int_(index);
}

inline pybind11::tuple as_tuple(const CompareTotals& t) {
  return pybind11::make_tuple(t.elements, t.a_nan, t.a_inf, t.b_nan, t.b_inf, t.mismatches,
                              t.max_abs_error, index_or_none(t.max_abs_index), t.max_rel_error,
                              index_or_none(t.max_rel_index), t.sum_aa, t.sum_bb, t.sum_ab,
                              t.sum_ee);
}

inline pybind11::tuple as_tuple(const StatsTotals& t) {
  return pybind11::make_tuple(t.elements, t.nan, t.inf, t.zero, t.subnormal, t.ge, t.le, t.minimum,
                              t.maximum, t.sum_squares);
}

}  // namespace halve::bindings
