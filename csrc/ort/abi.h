// The part of ONNX Runtime's C interface that an operator of our own needs.
//
// The interface is a table of functions to which releases only append, and a struct that says how
// much of itself is filled in; so places and layouts hold for every release since 1.18, and no
// header of a release is needed to build.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace halve::ort {

using Shape = std::vector<std::int64_t>;

// ONNX Runtime's own, used by address only.
struct Status;
struct SessionOptions;
struct OpDomain;
struct Value;
struct ShapeInfo;
struct KernelInfo;
struct KernelContext;

// Places of functions in the table.
enum class Slot : std::size_t {
  kCreateStatus = 0,
  kCreateOpDomain = 26,
  kAddOp = 27,
  kAddOpDomain = 28,
  kTensorData = 51,
  kRank = 61,
  kShape = 62,
  kElementCount = 64,
  kShapeInfo = 65,
  kIntAttribute = 86,
  kInput = 90,
  kOutput = 91,
  kReleaseShapeInfo = 99,
  kShapeReference = 414,  // only where refers_to_shapes says so
};
inline constexpr std::size_t kSlots = 415;

struct Api {  // as much of it as the release fills in
  void (*slots[kSlots])();
};

struct ApiBase {
  const Api* (*get)(std::uint32_t version) noexcept;
  const char* (*version)() noexcept;
};

enum class ElementType : int { kFloat32 = 1, kBool = 9 };
enum class ErrorCode : int { kFail = 1 };

// Calls the function at a place; `Signature` is its type.
template <class Signature>
Signature* function(const Api& api, Slot slot) noexcept {
  return reinterpret_cast<Signature*>(api.slots[static_cast<std::size_t>(slot)]);
}

inline constexpr std::uint32_t kVersion = 18;

// An operator, as of kVersion.
struct CustomOp {
  std::uint32_t version;
  void* (*create_kernel)(const CustomOp*, const Api*, const KernelInfo*);
  const char* (*name)(const CustomOp*);
  const char* (*provider)(const CustomOp*);
  ElementType (*input_type)(const CustomOp*, std::size_t);
  std::size_t (*input_count)(const CustomOp*);
  ElementType (*output_type)(const CustomOp*, std::size_t);
  std::size_t (*output_count)(const CustomOp*);
  void (*compute)(void*, KernelContext*);
  void (*destroy_kernel)(void*);
  int (*input_kind)(const CustomOp*, std::size_t);
  int (*output_kind)(const CustomOp*, std::size_t);
  int (*input_memory)(const CustomOp*, std::size_t);
  int (*least_inputs)(const CustomOp*);
  int (*equal_inputs)(const CustomOp*);
  int (*least_outputs)(const CustomOp*);
  int (*equal_outputs)(const CustomOp*);
  Status* (*create_kernel_or_fail)(const CustomOp*, const Api*, const KernelInfo*, void**);
  Status* (*compute_or_fail)(void*, KernelContext*);
  Status* (*infer_shape)(const CustomOp*, void*);
  int (*first_version)(const CustomOp*);
  int (*last_version)(const CustomOp*);
  std::size_t (*may_reuse)(int**, int**);
  void (*release_may_reuse)(int*, int*);
  std::size_t (*shares)(int**, int**);
  void (*release_shares)(int*, int*);
};

}  // namespace halve::ort
