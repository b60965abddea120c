// halve._cuda: a module of its own, because it may be absent while halve._core never is.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "cuda/check.h"
#include "cuda/device.h"

namespace py = pybind11;
namespace cuda = halve::cuda;

namespace {

py::dict device_dict(const cuda::Device& device) {
  py::dict row;
  row["index"] = device.index;
  row["name"] = device.name;
  row["capability"] = py::make_tuple(device.major, device.minor);
  row["memory_bytes"] = device.memory_bytes;
  row["multiprocessors"] = device.multiprocessors;
  return row;
}

py::tuple versions() {
  const cuda::Versions found = cuda::versions();
  return py::make_tuple(found.runtime, found.driver);
}

py::list devices() {
  std::vector<cuda::Device> found;
  {
    const py::gil_scoped_release release;
    found = cuda::devices();
  }
  py::list rows;
  for (const cuda::Device& device : found) rows.append(device_dict(device));
  return rows;
}

}  // namespace

PYBIND11_MODULE(_cuda, module) {
  module.doc() = "CUDA side of halve; import it through halve._native.cuda.";
  py::register_exception<cuda::CudaError>(module, "CudaError", PyExc_RuntimeError);
  module.def("versions", &versions, "(runtime, driver) as CUDA counts them; driver 0 if none.");
  module.def("devices", &devices, "A dict a device; CudaError without a driver or device.");
  module.def("executed_architecture", &cuda::executed_architecture, py::arg("device"),
             py::call_guard<py::gil_scoped_release>(),
             "The architecture of the code that ran on a device.");
}
