#include "halve/min_cut.h"

#include <pybind11/stl.h>

#include <cstdint>
#include <tuple>
#include <vector>

#include "bindings.h"

namespace py = pybind11;

namespace halve::bindings {
namespace {

using Edge = std::tuple<std::uint32_t, std::uint32_t, std::int64_t>;

std::vector<std::uint32_t> source_side_of(std::uint32_t vertices, const std::vector<Edge>& edges,
                                          std::uint32_t source, std::uint32_t sink) {
  if (source >= vertices || sink >= vertices || source == sink) {
    throw py::value_error("source and sink must be two vertices");
  }
  std::vector<FlowEdge> checked;
  checked.reserve(edges.size());
  for (const auto& [from, to, capacity] : edges) {
    if (from >= vertices || to >= vertices || capacity < 0) {
      throw py::value_error("an edge leaves the network, or its capacity is negative");
    }
    checked.push_back({from, to, capacity});
  }
  const py::gil_scoped_release release;
  return source_side(vertices, checked, source, sink);
}

}  // namespace

void register_min_cut(py::module_& module) {
  module.def("source_side", &source_side_of, py::arg("vertices"), py::arg("edges"),
             py::arg("source"), py::arg("sink"),
             "The vertices, ascending, on the source's side of the smallest minimum cut; edges are "
             "(from, to, capacity). Raises ValueError. Releases the GIL.");
}

}  // namespace halve::bindings
