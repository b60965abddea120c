#include "cuda/caster.h"
#include "cuda_bindings.h"

namespace py = pybind11;

namespace halve::bindings {

void register_cuda_caster(py::module_& module) {
  py::class_<cuda::StreamCaster>(module, "StreamCaster",
                                 "Casts a stream's payload by way of a device.")
      .def(py::init<int>(), py::arg("device"), py::call_guard<py::gil_scoped_release>())
      .def_property_readonly(
          "capsule",
          [](const cuda::StreamCaster& caster) {
            return py::capsule(static_cast<const void*>(&caster.caster()), kCasterName);
          },
          "What halve._core.stream_run takes; valid as long as this object.")
      .def_property_readonly("problem", &cuda::StreamCaster::problem,
                             "What failed first; empty where nothing did.");
}

}  // namespace halve::bindings
