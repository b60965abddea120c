#include <pybind11/stl.h>

#include <memory>
#include <tuple>

#include "cuda/cast.h"
#include "cuda/compare.h"
#include "cuda/context.h"
#include "cuda/ratio.h"
#include "cuda_bindings.h"
#include "tuples.h"

namespace py = pybind11;

namespace halve::bindings {
namespace {

using Address = std::uintptr_t;
using CastTuple = std::tuple<Address, Address, std::uint64_t>;

void* pointer(Address address) { return reinterpret_cast<void*>(address); }

template <class Result>
py::list as_list(const std::vector<Result>& results) {
  py::list rows;
  for (const Result& result : results) rows.append(as_tuple(result));
  return rows;
}

py::list cast(cuda::Context& context, int type, const std::vector<CastTuple>& tuples,
              float min_positive, float max_finite) {
  std::vector<cuda::CastItem> items;
  for (const auto& [src, dst, n] : tuples) items.push_back({pointer(src), pointer(dst), n});
  std::vector<CastCounts> counts;
  {
    const py::gil_scoped_release release;
    counts = cuda::cast(context, static_cast<HalfType>(type), items, {min_positive, max_finite});
  }
  return as_list(counts);
}

py::tuple cast_through(cuda::Context& context, int type, Address src, Address dst, std::uint64_t n,
                       float min_positive, float max_finite, std::uint64_t piece) {
  CastCounts counts;
  {
    const py::gil_scoped_release release;
    counts = cuda::cast_through(context, static_cast<HalfType>(type), pointer(src), pointer(dst), n,
                                {min_positive, max_finite}, piece);
  }
  return as_tuple(counts);
}

std::vector<cuda::ReduceItem> reduce_items(const std::vector<CastTuple>& tuples) {
  std::vector<cuda::ReduceItem> items;
  for (const auto& [a, b, n] : tuples) items.push_back({pointer(a), pointer(b), n});
  return items;
}

py::list compare(cuda::Context& context, int a_type, int b_type,
                 const std::vector<CastTuple>& tuples, double rtol, double atol, bool equal_nan) {
  const std::vector<cuda::ReduceItem> items = reduce_items(tuples);
  std::vector<CompareTotals> totals;
  {
    const py::gil_scoped_release release;
    totals = cuda::compare(context, static_cast<FloatType>(a_type), static_cast<FloatType>(b_type),
                           items, {rtol, atol, equal_nan});
  }
  return as_list(totals);
}

py::list ratios(cuda::Context& context, int a_type, const std::vector<CastTuple>& tuples,
                double rtol, double atol, double scale) {
  const std::vector<cuda::ReduceItem> items = reduce_items(tuples);
  std::vector<cuda::RatioTotals> totals;
  {
    const py::gil_scoped_release release;
    totals = cuda::ratios(context, static_cast<FloatType>(a_type), items, {rtol, atol, scale});
  }
  py::list rows;
  for (const auto& row : totals) rows.append(py::make_tuple(row.worst, row.sum_fourth));
  return rows;
}

py::list statistics(cuda::Context& context, int type,
                    const std::vector<std::tuple<Address, std::uint64_t>>& tuples, double ge,
                    double le) {
  std::vector<cuda::ReduceItem> items;
  for (const auto& [x, n] : tuples) items.push_back({pointer(x), nullptr, n});
  std::vector<StatsTotals> totals;
  {
    const py::gil_scoped_release release;
    totals = cuda::statistics(context, static_cast<FloatType>(type), items, {ge, le});
  }
  return as_list(totals);
}

}  // namespace

void register_cuda_arrays(py::module_& module) {
  py::class_<cuda::Context>(module, "Context",
                            "A device, a stream, and scratch memory; calls release the GIL.")
      .def(py::init<int>(), py::arg("device"), py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("device", &cuda::Context::device)
      .def_property_readonly(
          "stream",
          [](const cuda::Context& context) { return reinterpret_cast<Address>(context.stream()); })
      .def_property_readonly(
          "kernel_ms", [](const cuda::Context& context) { return context.kernel.elapsed_ms(); },
          "Milliseconds that the last call's kernel or copy took, by the device's clock.")
      .def("follow", &cuda::Context::follow, py::arg("stream"),
           "Later work waits for what is in a producer's stream now.")
      .def("cast", &cast, py::arg("type"), py::arg("items"), py::arg("min_positive"),
           py::arg("max_finite"), "Casts (src, dst, n) a tensor; counts in their order.")
      .def("cast_through", &cast_through, py::arg("type"), py::arg("src"), py::arg("dst"),
           py::arg("n"), py::arg("min_positive"), py::arg("max_finite"), py::arg("piece"),
           "Casts host memory to host memory by way of the device, `piece` elements at a time.")
      .def("compare", &compare, py::arg("a_type"), py::arg("b_type"), py::arg("items"),
           py::arg("rtol"), py::arg("atol"), py::arg("equal_nan"),
           "Compares (a, b, n) a pair; totals in the order of CompareTotals.")
      .def("ratios", &ratios, py::arg("a_type"), py::arg("items"), py::arg("rtol"), py::arg("atol"),
           py::arg("scale"),
           "(largest share of the tolerance, sum of fourth powers) of (a, b, n), b float32.")
      .def("statistics", &statistics, py::arg("type"), py::arg("items"), py::arg("ge"),
           py::arg("le"), "Measures (x, n) an array; totals in the order of StatsTotals.");
}

}  // namespace halve::bindings
