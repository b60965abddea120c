#include "bindings.h"

namespace halve::bindings {

void register_stream(pybind11::module_& /*module*/) {}

}  // namespace halve::bindings
