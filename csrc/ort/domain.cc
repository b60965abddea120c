// The domain "halve" of operators, and the function by which ONNX Runtime comes to them.

#include <iterator>
#include <mutex>

#include "op.h"

namespace halve::ort {
namespace {

// Sessions refer to it for as long as they live, so that it is never released.
struct Domain {
  OpDomain* made = nullptr;
  CustomOp ops[4] = {measure_op(), measure_in_place_op(), round_op(), choose_op()};

  Status* make(const Api& api) noexcept {
    using Create = Status*(const char*, OpDomain**) noexcept;
    using Add = Status*(OpDomain*, const CustomOp*) noexcept;
    Status* error = nullptr;
    OpDomain* domain = nullptr;
    const auto create = function<Create>(api, Slot::kCreateOpDomain);
    if (!passed(create("halve", &domain), error)) return error;
    for (const CustomOp& op : ops) {
      if (!passed(function<Add>(api, Slot::kAddOp)(domain, &op), error)) return error;
    }
    made = domain;
    return nullptr;
  }
};

Status* find_domain(const Api& api, OpDomain*& found) {
  static std::mutex lock;
  static Domain& domain = *new Domain;
  const std::lock_guard<std::mutex> guard(lock);
  Status* error = domain.made == nullptr ? domain.make(api) : nullptr;
  found = domain.made;
  return error;
}

}  // namespace
}  // namespace halve::ort

#if defined(_WIN32)
#define HALVE_EXPORT __declspec(dllexport)
#else
#define HALVE_EXPORT __attribute__((visibility("default")))
#endif

// ONNX Runtime looks this up by name where it is told of this library.
extern "C" HALVE_EXPORT halve::ort::Status* RegisterCustomOps(halve::ort::SessionOptions* options,
                                                              const halve::ort::ApiBase* base) {
  using namespace halve::ort;
  const Api* api = base->get(kVersion);
  ask_release(*base);
  if (api == nullptr) return nullptr;  // a session with such nodes says that it does not know them
  OpDomain* domain = nullptr;
  if (Status* error = find_domain(*api, domain)) return error;
  using Add = Status*(SessionOptions*, OpDomain*) noexcept;
  return function<Add>(*api, Slot::kAddOpDomain)(options, domain);
}
