// Memory of a device: an anonymous file, which any number of address ranges, here and in other processes, may show.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "tests/gpu/emulation/driver_api.h"

namespace tutti::emulation {

class Physical {
 public:
  /// Filled with poison. `handle_types`: those it may be exported as. Null, and why, where the device's memory does not suffice.
  static std::shared_ptr<Physical> create(int device, size_t bytes, CUmemAllocationHandleType handle_types,
                                          CUresult& why);
  /// A file that another emulation has created, from a descriptor that becomes this object's. Null where it is none.
  static std::shared_ptr<Physical> adopt(int descriptor);
  /// The file that process `pid` knows as `descriptor`. Null where it is none that an emulation has created.
  static std::shared_ptr<Physical> open(int pid, int descriptor);

  Physical(int device, size_t bytes, int descriptor, CUmemAllocationHandleType handle_types, bool charged);
  ~Physical();
  Physical(const Physical&) = delete;
  Physical& operator=(const Physical&) = delete;

  int device() const { return device_; }
  size_t bytes() const { return bytes_; }
  int descriptor() const { return descriptor_; }
  CUmemAllocationHandleType handle_types() const { return handle_types_; }
  /// No two files on this machine have the same.
  std::string name() const;
  /// Shows the file at pages of this process. False where the system refuses.
  bool show(uintptr_t address, size_t bytes, size_t offset, bool accessible) const;

 private:
  int device_;
  size_t bytes_;
  int descriptor_;
  CUmemAllocationHandleType handle_types_;
  bool charged_;
};

/// Bytes of the device's memory that this process has in use.
size_t bytes_in_use(int device);

}  // namespace tutti::emulation
