#include <pybind11/stl.h>

#include "cuda/device.h"
#include "cuda_bindings.h"

namespace py = pybind11;

namespace halve::bindings {
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

void register_cuda_device(py::module_& module) {
  module.def("versions", &versions, "(runtime, driver) as CUDA counts them; driver 0 if none.");
  module.def("devices", &devices, "A dict a device; CudaError without a driver or device.");
  module.def("executed_architecture", &cuda::executed_architecture, py::arg("device"),
             py::call_guard<py::gil_scoped_release>(),
             "The architecture of the code that ran on a device.");
  module.def(
      "pointer_device", [](std::uintptr_t p) { return cuda::pointer_device(p); },
      py::arg("pointer"), "The device whose memory an address is in, or None.");
}

}  // namespace halve::bindings
