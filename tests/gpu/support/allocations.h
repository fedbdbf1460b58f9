// Memory as programs other than Tutti make it: from cuMemAlloc, and a reserved range of several chunks, as frameworks' expandable
// segments are.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "transports/cuda_ipc/memory.h"
#include "transports/cuda_ipc/virtual_range.h"

/// From cuMemAlloc.
class Allocation {
 public:
  Allocation(tutti::cuda::DevicePtr device, size_t bytes) : device_(std::move(device)) {
    const tutti::cuda::ContextGuard context(*device_);
    device_->driver().check(device_->driver().cuMemAlloc(&address_, bytes), "cuMemAlloc");
  }
  Allocation(const Allocation&) = delete;
  Allocation& operator=(const Allocation&) = delete;
  ~Allocation() {
    const tutti::cuda::ContextGuard context(*device_);
    device_->driver().cuMemFree(address_);
  }
  CUdeviceptr address() const { return address_; }

 private:
  tutti::cuda::DevicePtr device_;
  CUdeviceptr address_ = 0;
};

/// Virtual memory of equal chunks that can be exchanged one by one.
class Segments {
 public:
  Segments(tutti::cuda::DevicePtr device, size_t chunks,
           CUmemAllocationHandleType handles = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
      : device_(std::move(device)), handles_(handles) {
    const tutti::cuda::Driver& driver = device_->driver();
    const CUmemAllocationProp wanted = properties();
    driver.check(
        driver.cuMemGetAllocationGranularity(&chunk_bytes_, &wanted, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED),
        "cuMemGetAllocationGranularity");
    driver.check(driver.cuMemAddressReserve(&address_, chunks * chunk_bytes_, 0, 0, 0),
                 "cuMemAddressReserve");
    mapped_.resize(chunks);
    for (size_t i = 0; i < chunks; ++i) map(i);
  }
  Segments(const Segments&) = delete;
  Segments& operator=(const Segments&) = delete;
  ~Segments() {
    for (size_t i = 0; i < mapped_.size(); ++i) unmap(i);
    device_->driver().cuMemAddressFree(address_, mapped_.size() * chunk_bytes_);
  }

  void map(size_t chunk) {
    const tutti::cuda::Driver& driver = device_->driver();
    const CUmemAllocationProp wanted = properties();
    CUmemGenericAllocationHandle handle{};
    driver.check(driver.cuMemCreate(&handle, chunk_bytes_, &wanted, 0), "cuMemCreate");
    const tutti::cuda::PhysicalMemory memory(driver, handle);
    const CUdeviceptr at = address_ + chunk * chunk_bytes_;
    driver.check(driver.cuMemMap(at, chunk_bytes_, 0, handle, 0), "cuMemMap");
    mapped_[chunk] = true;
    CUmemAccessDesc access{};
    access.location = wanted.location;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    driver.check(driver.cuMemSetAccess(at, chunk_bytes_, &access, 1), "cuMemSetAccess");
  }
  void unmap(size_t chunk) {
    if (mapped_[chunk]) device_->driver().cuMemUnmap(address_ + chunk * chunk_bytes_, chunk_bytes_);
    mapped_[chunk] = false;
  }

  CUdeviceptr address() const { return address_; }
  size_t chunk_bytes() const { return chunk_bytes_; }
  size_t bytes() const { return mapped_.size() * chunk_bytes_; }

 private:
  CUmemAllocationProp properties() const {
    CUmemAllocationProp wanted{};
    wanted.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    wanted.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    wanted.location.id = device_->ordinal();
    wanted.requestedHandleTypes = handles_;
    return wanted;
  }

  tutti::cuda::DevicePtr device_;
  CUmemAllocationHandleType handles_;
  CUdeviceptr address_ = 0;
  size_t chunk_bytes_ = 0;
  std::vector<bool> mapped_;
};
