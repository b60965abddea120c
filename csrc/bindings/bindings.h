// One register_* function a topic; module.cc calls them and does nothing else.
#pragma once

#include <pybind11/pybind11.h>

namespace halve::bindings {

void register_cast(pybind11::module_& module);      // cast.cc: arrays
void register_compare(pybind11::module_& module);   // compare.cc: pairs of arrays, statistics
void register_features(pybind11::module_& module);  // features.cc: CPU backends
void register_stream(pybind11::module_& module);    // stream.cc: files to files
void register_switches(pybind11::module_& module);  // switches.cc: what rules a run of the probe
void register_twin(pybind11::module_& module);      // twin.cc: both runs' values in one pass
void register_wire(pybind11::module_& module);      // wire.cc: protobuf without payload

}  // namespace halve::bindings
