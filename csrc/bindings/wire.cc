#include "halve/wire.h"

#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

#include "bindings.h"

namespace py = pybind11;

namespace halve::bindings {
namespace {

using wire::Error;
using wire::Input;

// The Python class of wire errors; created once, never destroyed, as the module itself.
PyObject* g_error = nullptr;

[[noreturn]] void raise(const Error& error) {
  // The words may quote bytes of a damaged model.
  const auto what = py::reinterpret_steal<py::object>(PyUnicode_DecodeUTF8(
      error.what.data(), static_cast<Py_ssize_t>(error.what.size()), "backslashreplace"));
  const py::tuple arguments = py::make_tuple(what, error.offset);
  PyErr_SetObject(g_error, arguments.ptr());
  throw py::error_already_set();
}

Input input_of(const py::buffer_info& view) {
  // An empty buffer may have no address, and a null address would mean a file.
  static const std::uint8_t kEmpty = 0;
  const auto* data = static_cast<const std::uint8_t*>(view.ptr);
  const auto nbytes = static_cast<std::uint64_t>(view.size * view.itemsize);
  return {data == nullptr ? &kEmpty : data, -1, nbytes};
}

py::tuple elide(const Input& input, std::uint64_t threshold) {
  wire::Elided result;
  std::optional<Error> error;
  {
    const py::gil_scoped_release unlocked;
    error = wire::elide(input, threshold, result);
  }
  if (error) raise(*error);
  py::list payloads(result.payloads.size());
  for (std::size_t i = 0; i < result.payloads.size(); ++i) {
    const auto& [field, spans] = result.payloads[i];
    py::list places(spans.size());
    for (std::size_t k = 0; k < spans.size(); ++k) {
      places[k] = py::make_tuple(spans[k].offset, spans[k].nbytes, spans[k].item);
    }
    payloads[i] = py::make_tuple(field, places);
  }
  return py::make_tuple(py::bytes(result.skeleton), payloads);
}

py::tuple elide_file(int fd, std::uint64_t size, std::uint64_t threshold) {
  return elide({nullptr, fd, size}, threshold);
}

py::tuple elide_bytes(const py::buffer& data, std::uint64_t threshold) {
  const py::buffer_info view = data.request();
  return elide(input_of(view), threshold);
}

py::tuple splice(const py::buffer& skeleton,
                 const std::vector<std::pair<std::uint32_t, std::uint64_t>>& table) {
  std::vector<wire::Filling> fillings;
  fillings.reserve(table.size());
  for (const auto& [field, nbytes] : table) fillings.push_back({field, nbytes});
  const py::buffer_info view = skeleton.request();
  wire::Layout result;
  std::optional<Error> error;
  {
    const py::gil_scoped_release unlocked;
    error = wire::splice(input_of(view), fillings, result);
  }
  if (error) raise(*error);
  py::list pieces(result.pieces.size());
  for (std::size_t i = 0; i < result.pieces.size(); ++i) {
    const wire::Piece& piece = result.pieces[i];
    if (piece.payload >= 0) {
      pieces[i] = py::make_tuple(piece.offset, piece.payload);
    } else {
      const py::bytes literal(result.literals.data() + piece.begin, piece.nbytes);
      pieces[i] = py::make_tuple(piece.offset, literal);
    }
  }
  return py::make_tuple(result.nbytes, pieces);
}

py::list initializers(const py::buffer& skeleton) {
  const py::buffer_info view = skeleton.request();
  std::vector<wire::Initializer> found;
  if (const auto error = wire::initializers(input_of(view), found)) raise(*error);
  py::list result(found.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    py::dict entries;
    for (const auto& [key, value] : found[i].entries) entries[py::bytes(key)] = py::bytes(value);
    result[i] = py::make_tuple(found[i].data_type, entries);
  }
  return result;
}

}  // namespace

void register_wire(py::module_& module) {
  g_error = PyErr_NewException("halve._core.WireError", PyExc_ValueError, nullptr);
  if (g_error == nullptr) throw py::error_already_set();
  module.attr("WireError") = py::reinterpret_borrow<py::object>(g_error);
  module.def("wire_elide_file", &elide_file, py::arg("fd"), py::arg("size"), py::arg("threshold"));
  module.def("wire_elide_bytes", &elide_bytes, py::arg("data"), py::arg("threshold"));
  module.def("wire_initializers", &initializers, py::arg("skeleton"));
  module.def("wire_splice", &splice, py::arg("skeleton"), py::arg("table"));
}

}  // namespace halve::bindings
