// What the processor knows and the operating system saves across a context switch.
#pragma once

namespace halve {

struct CpuFeatures {
  bool avx2_f16c_fma = false;  // AVX2, F16C and FMA; YMM state saved
  bool avx512 = false;         // F, BW, VL and DQ as well; ZMM and mask state saved
  bool neon = false;           // part of every aarch64
};

// Asked of the hardware at the first call, remembered after.
const CpuFeatures& cpu_features() noexcept;

}  // namespace halve
