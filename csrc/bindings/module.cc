#include "bindings.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "Native kernels of halve; import them through halve._native.";
  halve::bindings::register_features(module);
  halve::bindings::register_cast(module);
  halve::bindings::register_compare(module);
  halve::bindings::register_switches(module);
  halve::bindings::register_twin(module);
  halve::bindings::register_wire(module);
  halve::bindings::register_stream(module);
}
