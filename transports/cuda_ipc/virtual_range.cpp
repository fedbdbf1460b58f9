#include "transports/cuda_ipc/virtual_range.h"

#include <fmt/format.h>

#include <utility>

#include "core/error.h"

namespace tutti::cuda {
namespace {

CUmemAccessDesc read_write(const Device& device) {
  CUmemAccessDesc access{};
  access.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  access.location.id = device.ordinal();
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  return access;
}

}  // namespace

VirtualRange::VirtualRange(DevicePtr device, size_t bytes) : device_(std::move(device)), reserved_(bytes) {
  const Driver& driver = device_->driver();
  driver.check(driver.cuMemAddressReserve(&address_, bytes, 0, 0, 0),
               fmt::format("cuMemAddressReserve of {} bytes", bytes));
}

void VirtualRange::append(const PhysicalMemory& memory, size_t bytes, std::span<const DevicePtr> peers) {
  if (bytes == 0 || bytes > reserved_ - mapped_) {
    raise(Result::internal_error, "{} bytes were to be mapped into {} free ones", bytes, reserved_ - mapped_);
  }
  const Driver& driver = device_->driver();
  const CUdeviceptr at = address_ + mapped_;
  pieces_.reserve(pieces_.size() + 1);
  driver.check(driver.cuMemMap(at, bytes, 0, memory.handle(), 0), fmt::format("cuMemMap of {} bytes", bytes));
  pieces_.push_back(bytes);
  mapped_ += bytes;

  std::vector<CUmemAccessDesc> accesses{read_write(*device_)};
  for (const DevicePtr& peer : peers) {
    if (peer->ordinal() != device_->ordinal()) accesses.push_back(read_write(*peer));
  }
  driver.check(driver.cuMemSetAccess(at, bytes, accesses.data(), accesses.size()),
               fmt::format("cuMemSetAccess for CUDA device {} and {} others", device_->ordinal(),
                           accesses.size() - 1));
}

VirtualRange::~VirtualRange() {
  const Driver& driver = device_->driver();
  CUdeviceptr at = address_;
  for (const size_t bytes : pieces_) {
    driver.cuMemUnmap(at, bytes);
    at += bytes;
  }
  driver.cuMemAddressFree(address_, reserved_);
}

}  // namespace tutti::cuda
