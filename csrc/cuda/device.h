// What the CUDA runtime sees on this machine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace halve::cuda {

struct Device {
  int index;
  std::string name;
  int major;  // compute capability
  int minor;
  std::uint64_t memory_bytes;
  int multiprocessors;
};

// CUDA versions as the runtime counts them: 13000 is 13.0. `driver` is 0 without a driver.
struct Versions {
  int runtime;
  int driver;
};

// Throws CudaError.
[[nodiscard]] Versions versions();

// All devices, in the runtime's order. Throws CudaError where there is no driver or no device.
[[nodiscard]] std::vector<Device> devices();

// Runs a one-thread kernel on a stream of its own and returns the architecture (__CUDA_ARCH__, as
// in 900) of the code that the device picked: proof that this build has code for it. Throws
// CudaError where it has not.
[[nodiscard]] int executed_architecture(int device);

// The device whose memory, managed memory included, an address is in; none for host memory. Throws
// CudaError.
[[nodiscard]] std::optional<int> pointer_device(std::uintptr_t address);

}  // namespace halve::cuda
