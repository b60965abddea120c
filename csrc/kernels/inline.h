// How functions that are compiled once an instruction set, and for a GPU, are declared. All of them
// have internal linkage: no copy made for one instruction set may reach code for another.
#pragma once

#if defined(__CUDACC__)
// The same text for the processor and the device, so that tests of the one cover the other.
#define HALVE_INLINE __host__ __device__ __forceinline__
#define HALVE_NOINLINE __host__ __device__ __noinline__
#define HALVE_HOST_INLINE inline
#elif defined(_MSC_VER) && !defined(__clang__)
#define HALVE_INLINE __forceinline
#define HALVE_NOINLINE __declspec(noinline)
#define HALVE_HOST_INLINE __forceinline
#else
#define HALVE_INLINE inline __attribute__((always_inline))
#define HALVE_NOINLINE __attribute__((noinline))
#define HALVE_HOST_INLINE inline __attribute__((always_inline))
#endif

// `p`, of which the compiler may take that it is a multiple of `n`.
#if defined(_MSC_VER) && !defined(__clang__)
#define HALVE_ALIGNED(p, n) (p)
#else
#define HALVE_ALIGNED(p, n) __builtin_assume_aligned(p, n)
#endif
