#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "bindings.h"
#include "halve/backend.h"

namespace py = pybind11;

namespace halve::bindings {
namespace {

py::list backends() {
  py::list result;
  for (int i = 0; i < kBackendCount; ++i) {
    const auto backend = static_cast<Backend>(i);
    result.append(
        py::make_tuple(backend_name(backend), backend_compiled(backend), backend_usable(backend)));
  }
  return result;
}

std::optional<int> chosen() {
  Backend backend = Backend::kScalar;
  if (chosen_backend(backend) != Status::kOk) return std::nullopt;
  return static_cast<int>(backend);
}

std::optional<std::string> forced() {
  const char* name = forced_backend_name();
  return name == nullptr ? std::nullopt : std::optional<std::string>(name);
}

}  // namespace

void register_features(py::module_& module) {
  module.def("backends", &backends,
             "(name, compiled, usable) of every backend; its place is its number.");
  module.def("chosen_backend", &chosen,
             "The number of the backend in use, or None where the forced one is not usable.");
  module.def("forced_backend", &forced,
             "HALVE_FORCE_BACKEND as the first call of this module read it, or None.");
}

}  // namespace halve::bindings
