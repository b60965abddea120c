#include "bindings.h"

namespace halve::bindings {

void register_features(pybind11::module_& /*module*/) {}

}  // namespace halve::bindings
