// One register_* function a topic of halve._cuda; cuda_module.cc calls them.
#pragma once

#include <pybind11/pybind11.h>

namespace halve::bindings {

void register_cuda_device(pybind11::module_& module);  // cuda_device.cc: what there is
void register_cuda_arrays(pybind11::module_& module);  // cuda_arrays.cc: casts, comparisons
void register_cuda_memory(pybind11::module_& module);  // cuda_memory.cc: for tests and benchmarks

void register_cuda_caster(pybind11::module_& module);  // cuda_caster.cc: casts of the stream

}  // namespace halve::bindings
