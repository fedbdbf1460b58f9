// Exporting: a range is cut into its pieces, each gets a handle. Importing: one table holds the ipc handles that are open, since
// one handle may be open only once in a process and on a device; virtual memory is mapped anew each time.
#include "transports/cuda_ipc/sharing.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <array>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "transports/cuda_ipc/memory.h"
#include "transports/cuda_ipc/virtual_range.h"

namespace tutti::cuda {
namespace {

static_assert(sizeof(CUipcMemHandle) == sizeof(HandleBytes) &&
              sizeof(CUmemFabricHandle) == sizeof(HandleBytes));

/// Tells processes apart, where process ids of several containers may be the same.
uint64_t this_process() {
  static const uint64_t token = [] {
    uint64_t value = 0;
    if (getrandom(&value, sizeof value, 0) != sizeof value)
      raise_errno(errno, "getrandom of {} bytes", sizeof value);
    return value;
  }();
  return token;
}

/// What one handle stands for: an allocation, or a mapped chunk of virtual memory.
struct Piece {
  CUdeviceptr base = 0;
  size_t size = 0;
  uint64_t buffer_id = 0;
};

Piece piece_at(const Device& device, CUdeviceptr at) {
  const Driver& driver = device.driver();
  const PointerInfo info = inspect(device, pointer_to(at));
  driver.check(info.result, fmt::format("cuPointerGetAttributes of {:#x}", at));
  if (info.kind != MemoryKind::device)
    raise(Result::invalid_argument, "{:#x} is {} memory; expected memory of a device", at,
          name_of(info.kind));
  Piece piece;
  piece.buffer_id = info.buffer_id;
  if (driver.cuMemGetAddressRange(&piece.base, &piece.size, at) != CUDA_SUCCESS || piece.size == 0)
    raise(Result::invalid_argument, "no memory is mapped at {:#x}", at);
  return piece;
}

/// All pieces of a range, which follow each other.
std::vector<Piece> pieces_of(const Device& device, CUdeviceptr at, size_t bytes) {
  if (bytes == 0 || at + bytes < at)
    raise(Result::invalid_argument, "{} bytes at {:#x} are not a range of memory", bytes, at);
  const ContextGuard context(device);
  std::vector<Piece> pieces{piece_at(device, at)};
  for (;;) {
    const CUdeviceptr end = pieces.back().base + pieces.back().size;
    if (end >= at + bytes) return pieces;
    if (pieces.size() == kMostPieces)
      raise(Result::unsupported, "{} bytes at {:#x} lie in more than {} chunks of memory", bytes, at,
            kMostPieces);
    pieces.push_back(piece_at(device, end));
    if (pieces.back().base != end)
      raise(Result::invalid_argument, "{} bytes at {:#x} are not one range of memory", bytes, at);
  }
}

/// The handle of the physical memory mapped at an address; throws where there is none to be had.
PhysicalMemory physical_at(const Driver& driver, CUdeviceptr at) {
  CUmemGenericAllocationHandle handle{};
  driver.check(driver.cuMemRetainAllocationHandle(&handle, pointer_to(at)),
               fmt::format("cuMemRetainAllocationHandle of {:#x}", at));
  return {driver, handle};
}

void export_ipc(const Driver& driver, const Piece& piece, SharedPiece& shared) {
  CUipcMemHandle handle{};
  driver.check(driver.cuIpcGetMemHandle(&handle, piece.base),
               fmt::format("cuIpcGetMemHandle of {} bytes at {:#x}", piece.size, piece.base));
  std::memcpy(shared.handle.data(), &handle, sizeof handle);
}

Descriptor export_posix(const Driver& driver, const Piece& piece) {
  const PhysicalMemory memory = physical_at(driver, piece.base);
  int descriptor = -1;
  driver.check(driver.cuMemExportToShareableHandle(&descriptor, memory.handle(),
                                                   CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
               fmt::format("cuMemExportToShareableHandle of {} bytes at {:#x}", piece.size, piece.base));
  return Descriptor(descriptor);
}

void export_fabric(const Driver& driver, const Piece& piece, SharedPiece& shared) {
  const PhysicalMemory memory = physical_at(driver, piece.base);
  CUmemFabricHandle handle{};
  driver.check(driver.cuMemExportToShareableHandle(&handle, memory.handle(), CU_MEM_HANDLE_TYPE_FABRIC, 0),
               fmt::format("cuMemExportToShareableHandle of {} bytes at {:#x}", piece.size, piece.base));
  std::memcpy(shared.handle.data(), &handle, sizeof handle);
}

/// The allocations of other processes that are open here: each once, however often it was imported.
class OpenAllocations {
 public:
  /// Whose, which, and for which device of this process.
  using Key = std::tuple<uint64_t, uint64_t, HandleBytes, int>;

  static OpenAllocations& process() {
    static OpenAllocations open;
    return open;
  }

  CUdeviceptr open(const Device& device, const Key& key) {
    const std::lock_guard lock(mutex_);
    if (const auto known = entries_.find(key); known != entries_.end()) {
      ++known->second.users;
      return known->second.address;
    }
    const Driver& driver = device.driver();
    CUipcMemHandle handle{};
    std::memcpy(&handle, std::get<HandleBytes>(key).data(), sizeof handle);
    CUdeviceptr address = 0;
    driver.check(driver.cuIpcOpenMemHandle(&address, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS),
                 fmt::format("cuIpcOpenMemHandle on CUDA device {}", device.ordinal()));
    entries_[key] = {address, 1};
    return address;
  }

  void close(const Device& device, const Key& key) noexcept {
    const std::lock_guard lock(mutex_);
    const auto known = entries_.find(key);
    if (known == entries_.end() || --known->second.users != 0) return;
    device.in_context([&] { return device.driver().cuIpcCloseMemHandle(known->second.address); });
    entries_.erase(known);
  }

 private:
  struct Entry {
    CUdeviceptr address = 0;
    size_t users = 0;
  };

  std::mutex mutex_;
  std::map<Key, Entry> entries_;
};

/// One import of an allocation.
class IpcMapping {
 public:
  IpcMapping(DevicePtr device, const OpenAllocations::Key& key)
      : device_(std::move(device)), key_(key), address_(OpenAllocations::process().open(*device_, key)) {}
  ~IpcMapping() { OpenAllocations::process().close(*device_, key_); }
  IpcMapping(const IpcMapping&) = delete;
  IpcMapping& operator=(const IpcMapping&) = delete;
  CUdeviceptr address() const { return address_; }

 private:
  DevicePtr device_;
  OpenAllocations::Key key_;
  CUdeviceptr address_;
};

std::shared_ptr<const IpcMapping> map_ipc(const DevicePtr& device, const SharedRange& range) {
  const SharedPiece& piece = range.pieces.front();
  if (range.process == this_process())
    raise(Result::invalid_usage, "it belongs to this process, which uses its pointer instead");
  const OpenAllocations::Key key(range.process, piece.id, piece.handle, device->ordinal());
  auto mapping = std::make_shared<const IpcMapping>(device, key);
  // The size is the peer's word; where the driver knows better, it is held against it.
  CUdeviceptr base = 0;
  size_t size = 0;
  const CUdeviceptr end = mapping->address() + range.offset + range.bytes;
  if (device->driver().cuMemGetAddressRange(&base, &size, mapping->address()) == CUDA_SUCCESS &&
      end > base + size) {
    raise(Result::system_error, "the allocation has {} bytes; expected {} at offset {}", size, range.bytes,
          range.offset);
  }
  return mapping;
}

PhysicalMemory import_piece(const Driver& driver, const SharedPiece& piece, const Descriptor* descriptor) {
  CUmemGenericAllocationHandle handle{};
  CUmemFabricHandle fabric{};
  std::memcpy(&fabric, piece.handle.data(), sizeof fabric);
  // The driver takes a descriptor as a number in the pointer's place.
  const bool posix = descriptor != nullptr;
  void* source =
      posix ? pointer_to(static_cast<CUdeviceptr>(descriptor->get())) : static_cast<void*>(&fabric);
  const auto type = posix ? CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR : CU_MEM_HANDLE_TYPE_FABRIC;
  driver.check(driver.cuMemImportFromShareableHandle(&handle, source, type),
               fmt::format("cuMemImportFromShareableHandle of {} bytes", piece.size));
  return {driver, handle};
}

std::shared_ptr<const VirtualRange> map_virtual(const DevicePtr& device, const SharedRange& range,
                                                const std::vector<Descriptor>& descriptors) {
  const Driver& driver = device->driver();
  size_t all = 0;
  for (const SharedPiece& piece : range.pieces) all += piece.size;
  const auto mapped = std::make_shared<VirtualRange>(device, all);
  for (size_t i = 0; i < range.pieces.size(); ++i) {
    const SharedPiece& piece = range.pieces[i];
    const PhysicalMemory memory =
        import_piece(driver, piece, piece.kind == HandleKind::posix ? &descriptors[i] : nullptr);
    CUmemAllocationProp properties{};
    driver.check(driver.cuMemGetAllocationPropertiesFromHandle(&properties, memory.handle()),
                 "cuMemGetAllocationPropertiesFromHandle");
    if (properties.location.type != CU_MEM_LOCATION_TYPE_DEVICE)
      raise(Result::system_error, "piece {} is not memory of a device", i);
    mapped->append(memory, piece.size);
  }
  return mapped;
}

uint64_t mixed(uint64_t hash, uint64_t value) {
  hash ^= value + 0x9e3779b97f4a7c15 + (hash << 6) + (hash >> 2);
  hash *= 0xff51afd7ed558ccd;
  return hash ^ (hash >> 33);
}

/// The number of the physical memory behind an address, where the driver has one.
uint64_t memory_block(const Device& device, CUdeviceptr at) {
  uint64_t id = 0;
  const CUresult known =
      device.attributes(at, std::array{CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID}, std::array<void*, 1>{&id});
  return known == CUDA_SUCCESS ? id : 0;
}

}  // namespace

HandleKind sharing_of(const Device& device, CUdeviceptr at) noexcept {
  constexpr std::array kAttributes = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_IS_MANAGED,
                                      CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE,
                                      CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES};
  uint32_t type = 0;
  uint32_t managed = 0;
  uint32_t ipc = 0;
  uint64_t types = 0;
  const std::array<void*, kAttributes.size()> values = {&type, &managed, &ipc, &types};
  if (device.attributes(at, kAttributes, values) != CUDA_SUCCESS) return HandleKind::none;
  if (type != CU_MEMORYTYPE_DEVICE || managed != 0) return HandleKind::none;
  if (ipc != 0) return HandleKind::ipc;
  // Memory of pools has types too, but no handle.
  const Driver& driver = device.driver();
  CUmemGenericAllocationHandle handle{};
  if (driver.cuMemRetainAllocationHandle(&handle, pointer_to(at)) != CUDA_SUCCESS) return HandleKind::none;
  driver.cuMemRelease(handle);
  if ((types & CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) != 0) return HandleKind::posix;
  return (types & CU_MEM_HANDLE_TYPE_FABRIC) != 0 ? HandleKind::fabric : HandleKind::none;
}

RangeIdentity identify(const Device& device, CUdeviceptr at, size_t bytes) {
  const std::vector<Piece> pieces = pieces_of(device, at, bytes);
  RangeIdentity identity{.base = pieces.front().base, .bytes = 0, .pieces = pieces.size(), .ids = 0};
  for (const Piece& piece : pieces) {
    identity.bytes += piece.size;
    identity.ids = mixed(identity.ids, piece.size);
    identity.ids = mixed(identity.ids, piece.buffer_id);
    identity.ids = mixed(identity.ids, memory_block(device, piece.base));
  }
  return identity;
}

Exported export_memory(const Device& device, CUdeviceptr at, size_t bytes) {
  const std::vector<Piece> pieces = pieces_of(device, at, bytes);
  const Driver& driver = device.driver();
  const ContextGuard context(device);
  const HandleKind kind = sharing_of(device, at);
  if (kind == HandleKind::none) {
    raise(Result::unsupported,
          "memory at {:#x} cannot be shared with other processes: it is from a pool (cudaMallocAsync), or "
          "was made "
          "without a kind of handle (cuMemCreate)",
          at);
  }
  SharedRange range{
      .process = this_process(), .offset = at - pieces.front().base, .bytes = bytes, .pieces = {}};
  Exported exported;
  for (const Piece& piece : pieces) {
    if (sharing_of(device, piece.base) != kind || (kind == HandleKind::ipc && pieces.size() > 1)) {
      raise(Result::invalid_argument, "{} bytes at {:#x} reach from one allocation into another", bytes, at);
    }
    SharedPiece shared{.size = piece.size, .id = piece.buffer_id, .kind = kind, .handle = {}};
    if (kind == HandleKind::ipc) export_ipc(driver, piece, shared);
    if (kind == HandleKind::posix) exported.descriptors.push_back(export_posix(driver, piece));
    if (kind == HandleKind::fabric) export_fabric(driver, piece, shared);
    range.pieces.push_back(shared);
  }
  exported.bytes = pack(range);
  return exported;
}

Imported::Imported(const DevicePtr& device, std::string_view bytes,
                   const std::vector<Descriptor>& descriptors, const std::string& from) {
  const SharedRange range = unpack(bytes, descriptors.size(), from);
  const ContextGuard context(*device);
  try {
    if (range.pieces.front().kind == HandleKind::ipc) {
      auto mapping = map_ipc(device, range);
      address_ = mapping->address() + range.offset;
      mapping_ = std::move(mapping);
    } else {
      auto mapping = map_virtual(device, range, descriptors);
      address_ = mapping->address() + range.offset;
      mapping_ = std::move(mapping);
    }
  } catch (const Error& error) {
    raise(error.code(), "{} bytes of memory of {} cannot be mapped: {}", range.bytes, from, error.what());
  }
  size_ = range.bytes;
}

}  // namespace tutti::cuda
