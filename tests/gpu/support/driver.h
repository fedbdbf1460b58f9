// The driver of a test: skipped where there is no device, be it a real or an emulated one.
#pragma once

#include <cstdio>
#include <string>

#include "tests/catch.h"
#include "transports/cuda_ipc/device.h"

/// Why a test that needs a device cannot run; empty where there is one.
inline std::string missing_device() {
  const tutti::cuda::DeviceList list = tutti::cuda::list_devices();
  return list.devices.empty() ? "no CUDA device: " + list.why_none : "";
}

/// For the first line of a test case: `if (skipped()) return;`. ctest reads the line that it prints.
inline bool skipped() {
  static const std::string missing = missing_device();
  if (!missing.empty()) std::printf("SKIPPED: %s\n", missing.c_str());
  return !missing.empty();
}
