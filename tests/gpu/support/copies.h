// Bytes to and from a device, for tests: each call waits for its own copy and nothing else.
#pragma once

#include <cstdint>
#include <vector>

#include "transports/cuda_ipc/device.h"

class CopyStream {
 public:
  explicit CopyStream(const tutti::cuda::Device& device) : context_(device), driver_(device.driver()) {
    driver_.check(driver_.cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  }
  CopyStream(const CopyStream&) = delete;
  CopyStream& operator=(const CopyStream&) = delete;
  ~CopyStream() { driver_.cuStreamDestroy(stream_); }

  CUstream get() const { return stream_; }
  void wait() const { driver_.check(driver_.cuStreamSynchronize(stream_), "cuStreamSynchronize"); }

 private:
  tutti::cuda::ContextGuard context_;
  const tutti::cuda::Driver& driver_;
  CUstream stream_ = nullptr;
};

inline void upload(const tutti::cuda::Device& device, CUdeviceptr to, const std::vector<uint8_t>& from) {
  const CopyStream stream(device);
  device.driver().check(device.driver().cuMemcpyHtoDAsync(to, from.data(), from.size(), stream.get()),
                        "cuMemcpyHtoDAsync");
  stream.wait();
}

inline std::vector<uint8_t> download(const tutti::cuda::Device& device, CUdeviceptr from, size_t bytes) {
  const CopyStream stream(device);
  std::vector<uint8_t> to(bytes);
  device.driver().check(device.driver().cuMemcpyDtoHAsync(to.data(), from, bytes, stream.get()),
                        "cuMemcpyDtoHAsync");
  stream.wait();
  return to;
}

/// Bytes that differ from those of any other seed, and among themselves.
inline std::vector<uint8_t> pattern(size_t bytes, uint32_t seed) {
  std::vector<uint8_t> data(bytes);
  uint32_t state = seed * 2654435761u + 1;
  for (uint8_t& byte : data) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<uint8_t>(state >> 24);
  }
  return data;
}
