// Device memory of one process, used by another.
//
// The owner *exports* a range: plain bytes, and descriptors, which the caller carries to the peer (over a Unix socket). The peer
// *imports* them and has the range in its own address space while the Imported lives. A range consists of *pieces*, each with a
// handle of its own: one for memory from cuMemAlloc or cudaMalloc, one for every mapped chunk of virtual memory.
//
//     handle   how it travels                  for
//     ipc      64 bytes, names an allocation   memory from cuMemAlloc, cudaMalloc
//     posix    a descriptor                    virtual memory (also frameworks' expandable segments), on one node
//     fabric   64 bytes                        virtual memory, where descriptors are not allowed by its owner
//
// Nothing that comes from a peer is believed: bytes are checked before the driver sees them, and the driver checks the handles.
// Inside one process nothing is exported: the pointer itself is used.
//
// The owner must keep the memory until all peers have dropped what they imported; virtual memory stays alive by itself until then.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/descriptor.h"
#include "transports/cuda_ipc/device.h"
#include "transports/cuda_ipc/sharing_format.h"

namespace tutti::cuda {

/// How the memory at this address can be shared; none where it cannot: host memory, managed memory, memory of pools
/// (cudaMallocAsync), and virtual memory whose owner has asked for no kind of handle.
HandleKind sharing_of(const Device& device, CUdeviceptr at) noexcept;

/// Which memory a range of addresses stands for at the moment. Another value after memory was freed, or unmapped, and allocated
/// again at the same address: a cache of anything about memory is keyed by it, never by addresses alone.
struct RangeIdentity {
  CUdeviceptr base = 0;  // of the first piece
  size_t bytes = 0;      // of all pieces
  uint64_t pieces = 0;   // how many
  uint64_t ids = 0;      // a hash of all their buffer ids, in order
  bool operator==(const RangeIdentity&) const = default;
};
/// Throws Error(invalid_argument) where part of the range is no memory of a device.
RangeIdentity identify(const Device& device, CUdeviceptr at, size_t bytes);

/// What a peer needs to map a range.
struct Exported {
  std::string bytes;
  std::vector<Descriptor> descriptors;  // to be passed in this order
};

/// Throws Error: unsupported where the memory cannot be shared (the message says why), invalid_argument where the range is no
/// memory of a device.
Exported export_memory(const Device& device, CUdeviceptr at, size_t bytes);

/// A range of a peer's memory, mapped into this process. Copies share the mapping; the last one ends it.
class Imported {
 public:
  Imported() = default;
  /// For kernels on `device`. `from` names the peer in errors ("rank 3"). Throws Error: system_error where the bytes are damaged
  /// or the driver refuses them, invalid_usage for an ipc handle of this process itself.
  Imported(const DevicePtr& device, std::string_view bytes, const std::vector<Descriptor>& descriptors,
           const std::string& from);

  CUdeviceptr address() const { return address_; }
  size_t size() const { return size_; }
  explicit operator bool() const { return address_ != 0; }
  void reset() { *this = Imported(); }

 private:
  std::shared_ptr<const void> mapping_;
  CUdeviceptr address_ = 0;
  size_t size_ = 0;
};

}  // namespace tutti::cuda
