// What one thread of the cast kernel does. The kernel and the host's simulation of it call the same
// functions; README.md beside this file says how the work is shared out.
#pragma once

#include <float.h>

#include "cuda/tensors.h"
#include "cuda/vector.h"
#include "kernels/cast/definition.h"
#include "kernels/cast/thresholds.h"

namespace halve::cuda {
namespace {

namespace definition = halve::kernels;

// Eight elements: two vectors of float32, one of the result.
inline constexpr uint64_t kUnitElements = 8;
inline constexpr unsigned kCastThreads = 256;
// Units that a thread has in flight at a time.
inline constexpr unsigned kUnitsInFlight = 2;
inline constexpr uint64_t kTileUnits = uint64_t{kCastThreads} * kUnitsInFlight;

HALVE_INLINE void deposit(SharedCounts* total, const CastCounts& part) {
  add_shared(&total->raised, part.raised);
  add_shared(&total->lowered, part.lowered);
  add_shared(&total->flushed, part.flushed);
  add_shared(&total->subnormal, part.subnormal);
  add_shared(&total->overflow, part.overflow);
  add_shared(&total->nan, part.nan);
  add_shared(&total->inf, part.inf);
  raise_shared(&total->max_abs, definition::pattern_of(part.max_abs));
  raise_shared(&total->max_abs_error, definition::pattern_of(part.max_abs_error));
  raise_shared(&total->max_rel_error, definition::pattern_of(part.max_rel_error));
}

// What was deposited for a tensor of so many elements.
HALVE_INLINE CastCounts counts_of(const SharedCounts& from, uint64_t elements) {
  CastCounts c;
  c.elements = elements;
  c.raised = from.raised;
  c.lowered = from.lowered;
  c.flushed = from.flushed;
  c.subnormal = from.subnormal;
  c.overflow = from.overflow;
  c.nan = from.nan;
  c.inf = from.inf;
  c.max_abs = definition::value_of(from.max_abs);
  c.max_abs_error = definition::value_of(from.max_abs_error);
  c.max_rel_error = definition::value_of(from.max_rel_error);
  return c;
}

HALVE_INLINE void combine(CastCounts& total, const CastCounts& part) {
  total.raised += part.raised;
  total.lowered += part.lowered;
  total.flushed += part.flushed;
  total.subnormal += part.subnormal;
  total.overflow += part.overflow;
  total.nan += part.nan;
  total.inf += part.inf;
  total.max_abs = definition::larger(total.max_abs, part.max_abs);
  total.max_abs_error = definition::larger(total.max_abs_error, part.max_abs_error);
  total.max_rel_error = definition::larger(total.max_rel_error, part.max_rel_error);
}

// Rounding of a magnitude between 2^-70 and the last one that does not overflow, and the way back,
// each one instruction on the device. The definition gives the same bits for every such magnitude.
struct Float16Unit {
  using Half = definition::ToFloat16;
  using Limits = definition::Float16Limits;
  static HALVE_INLINE uint32_t round(uint32_t magnitude) {
#if defined(__CUDA_ARCH__)
    uint16_t half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(definition::value_of(magnitude)));
    return half;
#else
    return Half::round(magnitude);
#endif
  }
  static HALVE_INLINE float widen(uint32_t half) {
#if defined(__CUDA_ARCH__)
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(static_cast<uint16_t>(half)));
    return value;
#else
    return Half::widen(half);
#endif
  }
};

struct BFloat16Unit {
  using Half = definition::ToBFloat16;
  using Limits = definition::BFloat16Limits;
  static HALVE_INLINE uint32_t round(uint32_t magnitude) { return Half::round(magnitude); }
  static HALVE_INLINE float widen(uint32_t half) { return Half::widen(half); }
};

// Eight patterns of float32.
struct Unit {
  uint32_t x[kUnitElements];
};

template <class R>
class CastThread {
 public:
  HALVE_INLINE explicit CastThread(CastBounds bounds)
      : bounds_(bounds), limits_(definition::make_thresholds<typename R::Limits>(bounds)) {
    reset();
  }

  // The elements of a unit: where it begins and how many there are.
  static HALVE_INLINE uint64_t begin_of(const CastTensor& t, uint64_t unit) {
    return unit == 0 ? 0 : whole_begin(t, unit);
  }
  static HALVE_INLINE uint64_t size_of(const CastTensor& t, uint64_t unit) {
    if (unit == 0) return t.head;
    const uint64_t left = t.elements - begin_of(t, unit);
    return left < kUnitElements ? left : kUnitElements;
  }

  // This thread's units of a tile that begins with unit `first`; returns whether the largest
  // relative error rose. Whole units are all read before one is used.
  HALVE_INLINE bool tile(const CastTensor& t, uint64_t first, unsigned thread) {
    const uint64_t mine = first + thread, wholes = (t.elements - t.head) / kUnitElements;
    const bool by_vectors = address_of(t.src + sizeof(float) * t.head) % kVectorBytes == 0;
    Unit units[kUnitsInFlight];
    HALVE_UNROLL_ALL
    for (unsigned i = 0; i < kUnitsInFlight; ++i) {
      const uint64_t unit = mine + i * kCastThreads;
      if (!is_whole(unit, wholes)) continue;
      units[i] = load_unit(t.src + sizeof(float) * whole_begin(t, unit), by_vectors);
    }
    bool rose = false;
    HALVE_UNROLL_ALL
    for (unsigned i = 0; i < kUnitsInFlight; ++i) {
      const uint64_t unit = mine + i * kCastThreads, begin = whole_begin(t, unit);
      if (!is_whole(unit, wholes)) continue;
      rose |= finish(units[i], t.src + sizeof(float) * begin, t.dst + sizeof(uint16_t) * begin);
    }
    // Few tiles have the first unit, or the last.
    if (first != 0 && first + kTileUnits < t.units) return rose;
    return rest(t, mine) || rose;
  }

  // The largest relative error so far: here, and of threads beside this one.
  HALVE_INLINE float relative() const { return counts_.max_rel_error; }
  HALVE_INLINE void follow(float relative) { factor_ = relative < FLT_MAX ? relative : FLT_MAX; }

  // What was counted since the last call.
  HALVE_INLINE CastCounts take() {
    const CastCounts part = counts_;
    reset();
    return part;
  }

 private:
  // Of a tensor's units all but the first, and perhaps the last.
  static HALVE_INLINE bool is_whole(uint64_t unit, uint64_t wholes) { return unit - 1 < wholes; }
  static HALVE_INLINE uint64_t whole_begin(const CastTensor& t, uint64_t unit) {
    return t.head + (unit - 1) * kUnitElements;
  }

  static HALVE_INLINE Unit load_unit(const char* from, bool by_vectors) {
    if (by_vectors) {
      const Vector low = load_once(from), high = load_once(from + kVectorBytes);
      return {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
    }
    Unit u;
    HALVE_UNROLL_ALL
    for (unsigned i = 0; i < kUnitElements; ++i) {
      u.x[i] = load_aligned<uint32_t>(from + sizeof(float) * i);
    }
    return u;
  }

  // Casts and stores a whole unit; returns whether the largest relative error rose.
  HALVE_INLINE bool finish(const Unit& u, const char* from, char* to) {
    Vector out;
    if (!fast(u, out)) return careful(from, to);
    store_vector(to, out);
    return false;
  }

  HALVE_INLINE void reset() {
    counts_ = CastCounts{};
    factor_ = 0.0F;
  }

  HALVE_INLINE uint32_t define(uint32_t x) {
    const uint32_t sign = (x & definition::kSignBit) >> 16;
    return sign | definition::cast_magnitude<typename R::Half>(x & ~definition::kSignBit, bounds_,
                                                               counts_);
  }

  // A whole unit by the definition. It is read again: what was fetched is in registers, which a
  // loop that is not unrolled cannot index.
  HALVE_INLINE bool careful(const char* from, char* to) {
    const float before = counts_.max_rel_error;
    uint64_t low = 0, high = 0;
    HALVE_UNROLL_NOT
    for (uint32_t i = 0; i < kUnitElements; ++i) {
      const uint64_t half = define(load_aligned<uint32_t>(from + sizeof(float) * i));
      (i < 4 ? low : high) |= half << (16 * (i % 4));
    }
    store_vector(to, vector_of(low, high));
    return counts_.max_rel_error > before;
  }

  // The elements of this thread's units that are not whole: the first of a tensor, or the last.
  HALVE_INLINE bool rest(const CastTensor& t, uint64_t mine) {
    const float before = counts_.max_rel_error;
    HALVE_UNROLL_NOT
    for (uint64_t unit = mine; unit < mine + kTileUnits; unit += kCastThreads) {
      if (unit >= t.units || (unit != 0 && size_of(t, unit) == kUnitElements)) continue;
      const uint64_t begin = begin_of(t, unit), end = begin + size_of(t, unit);
      HALVE_UNROLL_NOT
      for (uint64_t i = begin; i < end; ++i) {
        const uint32_t half = define(load_aligned<uint32_t>(t.src + sizeof(float) * i));
        store_aligned(t.dst + sizeof(uint16_t) * i, static_cast<uint16_t>(half));
      }
    }
    return counts_.max_rel_error > before;
  }

  static HALVE_INLINE Vector pack(const uint32_t (&half)[kUnitElements]) {
    return Vector{half[0] | half[1] << 16, half[2] | half[3] << 16, half[4] | half[5] << 16,
                  half[6] | half[7] << 16};
  }

  // The fast path of kernels/cast/README.md: false, and nothing counted, where a magnitude is out
  // of the ordinary or a relative error exceeds the largest so far.
  HALVE_INLINE bool fast(const Unit& u, Vector& out) {
    int32_t smallest = definition::kMagnitudeMask, largest = 0;
    float excess = 0.0F, worst = counts_.max_abs_error;
    uint32_t half[kUnitElements];
    HALVE_UNROLL_ALL
    for (unsigned i = 0; i < kUnitElements; ++i) {
      const uint32_t magnitude = u.x[i] & ~definition::kSignBit;
      const int32_t signed_magnitude = static_cast<int32_t>(magnitude);
      const float value = definition::value_of(magnitude);
      const uint32_t rounded = R::round(magnitude);
      const float error = fabsf(R::widen(rounded) - value);
      smallest = definition::smaller(smallest, definition::zero_last(signed_magnitude));
      largest = definition::larger(largest, signed_magnitude);
      // Where a value is NaN, the largest magnitude says so.
      excess = fmaxf(excess, fmaf(-factor_, value, error));
      worst = fmaxf(worst, error);
      half[i] = (u.x[i] & definition::kSignBit) >> 16 | rounded;
    }
    if (smallest < definition::zero_last(limits_.usual_from) || largest > limits_.usual_to ||
        excess > 0.0F) {
      return false;
    }
    if (smallest < definition::zero_last(limits_.tiny_below)) count_tiny(u);
    counts_.max_abs =
        definition::larger(counts_.max_abs, definition::value_of(static_cast<uint32_t>(largest)));
    counts_.max_abs_error = worst;
    out = pack(half);
    return true;
  }

  // Results that are zero or subnormal, which few units have.
  HALVE_INLINE void count_tiny(const Unit& u) {
    uint32_t flushed = 0, tiny = 0;
    HALVE_UNROLL_ALL
    for (unsigned i = 0; i < kUnitElements; ++i) {
      const int32_t ordered =
          definition::zero_last(static_cast<int32_t>(u.x[i] & ~definition::kSignBit));
      flushed += ordered < definition::zero_last(limits_.flushed_below);
      tiny += ordered < definition::zero_last(limits_.tiny_below);
    }
    counts_.flushed += flushed;
    counts_.subnormal += tiny - flushed;
  }

  CastBounds bounds_;
  definition::Thresholds limits_;
  CastCounts counts_;
  float factor_;  // the largest relative error of this thread's warp
};

// The tensor that a tile of the launch belongs to.
HALVE_INLINE uint64_t tensor_of_tile(const CastTensor* tensors, uint64_t count, uint64_t tile) {
  uint64_t low = 0, high = count;
  while (high - low > 1) {
    const uint64_t middle = low + (high - low) / 2;
    (tensors[middle].first_tile <= tile ? low : high) = middle;
  }
  return low;
}

}  // namespace
}  // namespace halve::cuda
