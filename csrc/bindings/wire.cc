#include "bindings.h"

namespace halve::bindings {

void register_wire(pybind11::module_& /*module*/) {}

}  // namespace halve::bindings
