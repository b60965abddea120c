#include "halve/compare.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <tuple>
#include <vector>

#include "bindings.h"
#include "halve/ratio.h"
#include "halve/read.h"
#include "halve/stats.h"
#include "tuples.h"

namespace py = pybind11;

namespace halve::bindings {
namespace {

// Addresses rather than buffers: the caller holds the arrays, whatever their dtype and alignment.
py::tuple compare_at(int backend, int a_type, std::uintptr_t a, int b_type, std::uintptr_t b,
                     std::uint64_t n, double rtol, double atol, bool equal_nan, unsigned threads) {
  CompareTotals totals;
  Status status = Status::kOk;
  {
    const py::gil_scoped_release release;
    status = compare_threaded(static_cast<Backend>(backend), static_cast<FloatType>(a_type),
                              reinterpret_cast<const void*>(a), static_cast<FloatType>(b_type),
                              reinterpret_cast<const void*>(b), n, {rtol, atol, equal_nan}, totals,
                              threads);
  }
  return py::make_tuple(static_cast<int>(status), as_tuple(totals));
}

py::tuple stats_at(int backend, int type, std::uintptr_t x, std::uint64_t n, double ge, double le,
                   unsigned threads) {
  StatsTotals totals;
  Status status = Status::kOk;
  {
    const py::gil_scoped_release release;
    status = stats_threaded(static_cast<Backend>(backend), static_cast<FloatType>(type),
                            reinterpret_cast<const void*>(x), n, {ge, le}, totals, threads);
  }
  return py::make_tuple(static_cast<int>(status), as_tuple(totals));
}

using StatsJob = std::tuple<int, std::uintptr_t, std::uint64_t>;  // type, address, elements

// Many arrays in one call: a small array costs less to measure than a call from Python.
py::tuple stats_at_many(int backend, const std::vector<StatsJob>& jobs, double ge, double le,
                        unsigned threads) {
  std::vector<StatsTotals> totals(jobs.size());
  Status status = Status::kOk;
  {
    const py::gil_scoped_release release;
    for (std::size_t k = 0; k < jobs.size() && status == Status::kOk; ++k) {
      const auto& [type, x, n] = jobs[k];
      status = stats_threaded(static_cast<Backend>(backend), static_cast<FloatType>(type),
                              reinterpret_cast<const void*>(x), n, {ge, le}, totals[k], threads);
    }
  }
  py::list rows;
  for (const StatsTotals& row : totals) rows.append(as_tuple(row));
  return py::make_tuple(static_cast<int>(status), rows);
}

// types and addresses of both arrays, elements
using CompareJob = std::tuple<int, std::uintptr_t, int, std::uintptr_t, std::uint64_t>;

py::tuple compare_at_many(int backend, const std::vector<CompareJob>& jobs, double rtol,
                          double atol, bool equal_nan, unsigned threads) {
  std::vector<CompareTotals> totals(jobs.size());
  Status status = Status::kOk;
  {
    const py::gil_scoped_release release;
    for (std::size_t k = 0; k < jobs.size() && status == Status::kOk; ++k) {
      const auto& [a_type, a, b_type, b, n] = jobs[k];
      status = compare_threaded(static_cast<Backend>(backend), static_cast<FloatType>(a_type),
                                reinterpret_cast<const void*>(a), static_cast<FloatType>(b_type),
                                reinterpret_cast<const void*>(b), n, {rtol, atol, equal_nan},
                                totals[k], threads);
    }
  }
  py::list rows;
  for (const CompareTotals& row : totals) rows.append(as_tuple(row));
  return py::make_tuple(static_cast<int>(status), rows);
}

struct Judged {
  Status status = Status::kOk;
  CompareTotals totals;
  RatioTotals ratios;
};

// Arrays themselves: asking one for its address from Python takes longer than comparing a small
// one.
Judged judge_arrays(int backend, int a_type, const py::array& a, int b_type, const py::array& b,
                    double rtol, double atol) {
  const auto first = static_cast<FloatType>(a_type), second = static_cast<FloatType>(b_type);
  const void *x = a.data(), *y = b.data();
  const auto n = static_cast<std::uint64_t>(b.size());
  Judged found;
  const py::gil_scoped_release release;
  found.status = compare_threaded(static_cast<Backend>(backend), first, x, second, y, n,
                                  {rtol, atol, false}, found.totals, 1);
  if (found.status == Status::kOk) {
    found.status = measure_ratios(first, x, second, y, n, rtol, atol, found.ratios);
  }
  return found;
}

py::tuple judge(int backend, int a_type, const py::array& a, int b_type, const py::array& b,
                double rtol, double atol) {
  const Judged found = judge_arrays(backend, a_type, a, b_type, b, rtol, atol);
  return py::make_tuple(static_cast<int>(found.status), as_tuple(found.totals), found.ratios.worst,
                        found.ratios.sum_fourth);
}

py::tuple judge_briefly(int backend, int a_type, const py::array& a, int b_type, const py::array& b,
                        double rtol, double atol) {
  const Judged found = judge_arrays(backend, a_type, a, b_type, b, rtol, atol);
  return py::make_tuple(static_cast<int>(found.status), found.totals.mismatches, found.ratios.worst,
                        found.ratios.sum_fourth);
}

// For benchmarks: what reading the same bytes costs.
std::uint64_t xor_at(std::uintptr_t p, std::uint64_t nbytes) {
  const py::gil_scoped_release release;
  return xor_words(reinterpret_cast<const void*>(p), nbytes);
}

}  // namespace

void register_compare(py::module_& module) {
  module.def("compare", &compare_at, py::arg("backend"), py::arg("a_type"), py::arg("a"),
             py::arg("b_type"), py::arg("b"), py::arg("n"), py::arg("rtol"), py::arg("atol"),
             py::arg("equal_nan"), py::arg("threads"),
             "Compares n elements at two addresses; returns the status and the totals in the order "
             "of CompareTotals, None for no index. Releases the GIL.");
  module.def("stats", &stats_at, py::arg("backend"), py::arg("type"), py::arg("x"), py::arg("n"),
             py::arg("ge"), py::arg("le"), py::arg("threads"),
             "Measures n elements at an address; returns the status and the totals in the order of "
             "StatsTotals. Releases the GIL.");
  module.def(
      "stats_many", &stats_at_many, py::arg("backend"), py::arg("jobs"), py::arg("ge"),
      py::arg("le"), py::arg("threads"),
      "As stats, for each (type, address, elements) of `jobs`; returns the status and a list "
      "of totals. Releases the GIL.");
  module.def("compare_many", &compare_at_many, py::arg("backend"), py::arg("jobs"), py::arg("rtol"),
             py::arg("atol"), py::arg("equal_nan"), py::arg("threads"),
             "As compare, for each (a_type, a, b_type, b, elements) of `jobs`; returns the status "
             "and a list of totals. Releases the GIL.");
  module.def("judge", &judge, py::arg("backend"), py::arg("a_type"), py::arg("a"),
             py::arg("b_type"), py::arg("b"), py::arg("rtol"), py::arg("atol"),
             "Compares contiguous arrays of as many elements on the calling thread; returns the "
             "status, the totals as compare does, the largest share of the tolerance and the sum "
             "of RatioTotals. Releases the GIL.");
  module.def("judge_briefly", &judge_briefly, py::arg("backend"), py::arg("a_type"), py::arg("a"),
             py::arg("b_type"), py::arg("b"), py::arg("rtol"), py::arg("atol"),
             "As judge, with the number of mismatches for the totals. Releases the GIL.");
  module.def("xor_words", &xor_at, py::arg("p"), py::arg("nbytes"),
             "The exclusive or of the 8-byte words at an address. Releases the GIL.");
}

}  // namespace halve::bindings
