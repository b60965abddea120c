#include "halve/compare.h"

#include <cstdint>

#include "bindings.h"
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
  module.def("xor_words", &xor_at, py::arg("p"), py::arg("nbytes"),
             "The exclusive or of the 8-byte words at an address. Releases the GIL.");
}

}  // namespace halve::bindings
