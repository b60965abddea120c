// The element types that tensors are compared and measured in.
#pragma once

#include <cstdint>

namespace halve {

enum class FloatType : std::uint8_t { kFloat32 = 0, kFloat16, kBFloat16, kFloat64 };

inline constexpr int kFloatTypeCount = 4;

}  // namespace halve
