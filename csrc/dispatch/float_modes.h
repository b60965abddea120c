// The floating-point modes that every kernel runs in.
#pragma once

#include <cfenv>

namespace halve {

// Default rounding and subnormal handling for the life of the object: what a kernel computes does
// not depend on the caller's modes.
class DefaultFloatModes {
 public:
  DefaultFloatModes() noexcept {
    std::fegetenv(&saved_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloatModes() { std::fesetenv(&saved_); }
  DefaultFloatModes(const DefaultFloatModes&) = delete;
  DefaultFloatModes& operator=(const DefaultFloatModes&) = delete;

 private:
  std::fenv_t saved_;
};

}  // namespace halve
