#include "registry.h"

#include <cstdlib>
#include <string>

#include "cpu_features.h"

namespace halve {
namespace {

constexpr const char* kNames[kBackendCount] = {"scalar", "avx2", "avx512", "neon"};

// In order of priority: the first usable one is chosen.
const BackendEntry kRegistry[] = {
#ifdef HALVE_HAS_AVX512
    {Backend::kAvx512, cpu_features().avx512, kernels::halve_cast_f32_f16_avx512,
     kernels::halve_cast_f32_bf16_avx512, kernels::halve_widen_f16_avx512,
     kernels::halve_widen_bf16_avx512, kernels::halve_compare_avx512, kernels::halve_stats_avx512,
     &kernels::halve_twin_avx512},
#endif
#ifdef HALVE_HAS_AVX2
    {Backend::kAvx2, cpu_features().avx2_f16c_fma, kernels::halve_cast_f32_f16_avx2,
     kernels::halve_cast_f32_bf16_avx2, kernels::halve_widen_f16_avx2,
     kernels::halve_widen_bf16_avx2, kernels::halve_compare_avx2, kernels::halve_stats_avx2,
     &kernels::halve_twin_avx2},
#endif
#ifdef HALVE_HAS_NEON
    {Backend::kNeon, cpu_features().neon, kernels::halve_cast_f32_f16_neon,
     kernels::halve_cast_f32_bf16_neon, kernels::halve_widen_f16_neon,
     kernels::halve_widen_bf16_neon, kernels::halve_compare_scalar, kernels::halve_stats_scalar,
     &kernels::halve_twin_scalar},
#endif
    {Backend::kScalar, true, kernels::halve_cast_f32_f16_scalar,
     kernels::halve_cast_f32_bf16_scalar, kernels::halve_widen_f16_scalar,
     kernels::halve_widen_bf16_scalar, kernels::halve_compare_scalar, kernels::halve_stats_scalar,
     &kernels::halve_twin_scalar},
};

struct Choice {
  Status status = Status::kUnsupportedBackend;
  Backend backend = Backend::kScalar;
  std::string forced;
};

bool matches(const BackendEntry& entry, const std::string& forced) {
  return forced.empty() || forced == kNames[static_cast<int>(entry.backend)];
}

Choice choose() {
  Choice choice;
  if (const char* value = std::getenv("HALVE_FORCE_BACKEND")) choice.forced = value;
  for (const BackendEntry& entry : kRegistry) {
    if (!entry.usable || !matches(entry, choice.forced)) continue;
    choice.backend = entry.backend;
    choice.status = Status::kOk;
    break;
  }
  return choice;
}

const Choice& choice() noexcept {
  static const Choice made = choose();
  return made;
}

}  // namespace

const BackendEntry* find_backend(Backend backend) noexcept {
  for (const BackendEntry& entry : kRegistry) {
    if (entry.backend == backend) return &entry;
  }
  return nullptr;
}

const char* backend_name(Backend backend) noexcept {
  const int index = static_cast<int>(backend);
  return index < kBackendCount ? kNames[index] : "unknown";
}

bool backend_compiled(Backend backend) noexcept { return find_backend(backend) != nullptr; }

bool backend_usable(Backend backend) noexcept {
  const BackendEntry* entry = find_backend(backend);
  return entry != nullptr && entry->usable;
}

Status chosen_backend(Backend& backend) noexcept {
  if (choice().status == Status::kOk) backend = choice().backend;
  return choice().status;
}

const char* forced_backend_name() noexcept {
  return choice().forced.empty() ? nullptr : choice().forced.c_str();
}

}  // namespace halve
