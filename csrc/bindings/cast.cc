#include "bindings.h"

namespace halve::bindings {

void register_cast(pybind11::module_& /*module*/) {}

}  // namespace halve::bindings
