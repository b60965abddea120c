#include "halve/cast.h"

#include <cstdint>

#include "bindings.h"
#include "halve/copy.h"
#include "halve/widen.h"
#include "tuples.h"

namespace py = pybind11;

namespace halve::bindings {
namespace {

// Addresses rather than buffers: the caller holds the arrays, whatever their dtype and alignment.
py::tuple cast_at(int backend, int type, std::uintptr_t src, std::uintptr_t dst, std::uint64_t n,
                  float min_positive, float max_finite, unsigned threads, int policy) {
  CastCounts counts;
  Status status = Status::kOk;
  {
    const py::gil_scoped_release release;
    status = cast_threaded(static_cast<Backend>(backend), static_cast<HalfType>(type),
                           reinterpret_cast<const float*>(src),
                           reinterpret_cast<std::uint16_t*>(dst), n, {min_positive, max_finite},
                           counts, threads, static_cast<StorePolicy>(policy));
  }
  return py::make_tuple(static_cast<int>(status), as_tuple(counts));
}

int widen_at(int backend, int type, std::uintptr_t src, std::uintptr_t dst, std::uint64_t n,
             unsigned threads) {
  const py::gil_scoped_release release;
  return static_cast<int>(widen_threaded(static_cast<Backend>(backend), static_cast<HalfType>(type),
                                         reinterpret_cast<const std::uint16_t*>(src),
                                         reinterpret_cast<float*>(dst), n, threads));
}

py::tuple round_at(int backend, int type, std::uintptr_t src, std::uintptr_t dst, std::uint64_t n,
                   float min_positive, float max_finite, unsigned threads) {
  CastCounts counts;
  Status status = Status::kOk;
  {
    const py::gil_scoped_release release;
    status =
        cast_and_widen_threaded(static_cast<Backend>(backend), static_cast<HalfType>(type),
                                reinterpret_cast<const float*>(src), reinterpret_cast<float*>(dst),
                                n, {min_positive, max_finite}, counts, threads);
  }
  return py::make_tuple(static_cast<int>(status), as_tuple(counts));
}

// For benchmarks: what moving the same bytes costs.
int copy_at(int kind, std::uintptr_t dst, std::uintptr_t src, std::uint64_t nbytes,
            unsigned threads) {
  const py::gil_scoped_release release;
  return static_cast<int>(copy_threaded(static_cast<CopyKind>(kind), reinterpret_cast<void*>(dst),
                                        reinterpret_cast<const void*>(src), nbytes, threads));
}

}  // namespace

void register_cast(py::module_& module) {
  module.def("cast", &cast_at, py::arg("backend"), py::arg("type"), py::arg("src"), py::arg("dst"),
             py::arg("n"), py::arg("min_positive"), py::arg("max_finite"), py::arg("threads"),
             py::arg("policy"),
             "Casts n floats at address src into 16-bit values at address dst; returns the status "
             "and the counts in the order of CastCounts. Releases the GIL.");
  module.def(
      "widen", &widen_at, py::arg("backend"), py::arg("type"), py::arg("src"), py::arg("dst"),
      py::arg("n"), py::arg("threads"),
      "Widens n 16-bit values at address src into floats at address dst; returns the status. "
      "Releases the GIL.");
  module.def(
      "round", &round_at, py::arg("backend"), py::arg("type"), py::arg("src"), py::arg("dst"),
      py::arg("n"), py::arg("min_positive"), py::arg("max_finite"), py::arg("threads"),
      "Casts n floats at address src to 16 bits and back, to address dst; returns the status "
      "and the counts in the order of CastCounts. Releases the GIL.");
  module.def(
      "copy", &copy_at, py::arg("kind"), py::arg("dst"), py::arg("src"), py::arg("nbytes"),
      py::arg("threads"),
      "Copies nbytes between addresses with memcpy (kind 0) or streaming stores (1); returns "
      "the status. Releases the GIL.");
}

}  // namespace halve::bindings
