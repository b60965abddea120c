// halve._cuda: a module of its own, because it may be absent while halve._core never is.
#include "cuda/check.h"
#include "cuda_bindings.h"

PYBIND11_MODULE(_cuda, module) {
  module.doc() = "CUDA side of halve; import it through halve._native.cuda.";
  pybind11::register_exception<halve::cuda::CudaError>(module, "CudaError", PyExc_RuntimeError);
  halve::bindings::register_cuda_device(module);
  halve::bindings::register_cuda_arrays(module);
  halve::bindings::register_cuda_memory(module);
  halve::bindings::register_cuda_caster(module);
}
