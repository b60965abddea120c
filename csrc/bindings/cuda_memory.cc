#include <pybind11/pybind11.h>

#include <memory>

#include "cuda/context.h"
#include "cuda/memory.h"
#include "cuda_bindings.h"

namespace py = pybind11;

namespace halve::bindings {
namespace {

using Address = std::uintptr_t;

void* pointer(Address address) { return reinterpret_cast<void*>(address); }

class Timer {
 public:
  explicit Timer(const cuda::Context& context) : context_(context), span_(context.device()) {}
  void start() const { span_.begin(context_.stream()); }
  [[nodiscard]] float stop_ms() const {
    span_.end(context_.stream());
    return span_.elapsed_ms();
  }

 private:
  const cuda::Context& context_;
  cuda::Span span_;
};

}  // namespace

void register_cuda_memory(py::module_& module) {
  const auto unlocked = py::call_guard<py::gil_scoped_release>();
  py::class_<cuda::Memory>(module, "Memory", "Bytes in a device's memory.")
      .def(py::init<int, std::uint64_t>(), py::arg("device"), py::arg("nbytes"), unlocked)
      .def_property_readonly("device", &cuda::Memory::device)
      .def_property_readonly(
          "pointer",
          [](const cuda::Memory& memory) { return reinterpret_cast<Address>(memory.get()); })
      .def_property_readonly("nbytes", &cuda::Memory::nbytes);
  module.def(
      "copy",
      [](const cuda::Context& context, Address dst, Address src, std::uint64_t nbytes, bool wait) {
        cuda::copy(context, pointer(dst), pointer(src), nbytes, wait);
      },
      py::arg("context"), py::arg("dst"), py::arg("src"), py::arg("nbytes"), py::arg("wait") = true,
      unlocked, "Copies between any two memories in the context's stream.");
  py::class_<Timer>(module, "Timer", "The device's own clock around work in a context's stream.")
      .def(py::init<const cuda::Context&>(), py::arg("context"), py::keep_alive<1, 2>())
      .def("start", &Timer::start)
      .def("stop_ms", &Timer::stop_ms, unlocked,
           "Milliseconds since start, when the stream has come so far.");
}

}  // namespace halve::bindings
