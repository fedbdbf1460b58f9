// The emulated driver itself: memory of other processes, and virtual memory.
#include <algorithm>
#include <cstring>

#include "tests/gpu/emulation_support.h"

namespace {

constexpr size_t kBytes = 10'000;
constexpr size_t kChunk = size_t{2} << 20;

std::string hexadecimal(const CUipcMemHandle& handle) {
  std::string text;
  for (const char byte : handle.reserved) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[static_cast<unsigned char>(byte) / 16];
    text += kDigits[static_cast<unsigned char>(byte) % 16];
  }
  return text;
}

CUipcMemHandle handle_from(const std::string& text) {
  CUipcMemHandle handle{};
  for (size_t i = 0; i < sizeof handle.reserved; ++i) {
    handle.reserved[i] = static_cast<char>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  }
  return handle;
}

CUmemAllocationProp shareable() {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  properties.location.id = 0;
  return properties;
}

CUmemAccessDesc access(CUmemAccess_flags flags) {
  CUmemAccessDesc wanted{};
  wanted.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  wanted.flags = flags;
  return wanted;
}

}  // namespace

TEST_CASE("emulation: a peer process with a handle", "[.child]") {
  const InContext in;
  const CUipcMemHandle handle = handle_from(std::getenv("HANDLE"));
  CUdeviceptr pointer = 0;
  CUdeviceptr again = 0;
  REQUIRE(in.cuda.cuIpcOpenMemHandle(&pointer, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS) == CUDA_SUCCESS);
  auto* const bytes = reinterpret_cast<unsigned char*>(pointer);
  CHECK(std::all_of(bytes, bytes + kBytes, [](unsigned char byte) { return byte == 0x5C; }));
  std::memset(bytes, 0x3E, kBytes);
  CUdeviceptr base = 0;
  size_t size = 0;
  CHECK(in.cuda.cuMemGetAddressRange(&base, &size, pointer + 99) == CUDA_SUCCESS);
  CHECK((base == pointer && size == kBytes));
  CUipcMemHandle passed_on{};
  CHECK(in.cuda.cuIpcGetMemHandle(&passed_on, pointer) == CUDA_ERROR_INVALID_VALUE);
  // Opened twice, closed twice.
  CHECK(in.cuda.cuIpcOpenMemHandle(&again, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS) == CUDA_SUCCESS);
  CHECK(again == pointer);
  CHECK(in.cuda.cuIpcCloseMemHandle(pointer) == CUDA_SUCCESS);
  CHECK(is_readable(pointer));
  CHECK(in.cuda.cuIpcCloseMemHandle(pointer) == CUDA_SUCCESS);
  CHECK_FALSE(is_readable(pointer));
  CHECK(in.cuda.cuIpcCloseMemHandle(pointer) == CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("emulation: a peer process with a handle of what is no more", "[.child]") {
  const InContext in;
  CUdeviceptr pointer = 0;
  CHECK(in.cuda.cuIpcOpenMemHandle(&pointer, handle_from(std::getenv("HANDLE")),
                                   CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS) == CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("emulation: a handle names an allocation to other processes") {
  const InContext in;
  const CUdeviceptr pointer = in.allocate(kBytes);
  auto* const bytes = reinterpret_cast<unsigned char*>(pointer);
  std::memset(bytes, 0x5C, kBytes);
  CUipcMemHandle handle{};
  REQUIRE(in.cuda.cuIpcGetMemHandle(&handle, pointer + 1234) == CUDA_SUCCESS);
  CUdeviceptr own = 0;
  CHECK(in.cuda.cuIpcOpenMemHandle(&own, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS) ==
        CUDA_ERROR_INVALID_CONTEXT);
  const std::vector<std::string> environment = {"HANDLE=" + hexadecimal(handle)};
  CHECK(run_test_case("emulation: a peer process with a handle", environment).status == 0);
  CHECK(std::all_of(bytes, bytes + kBytes, [](unsigned char byte) { return byte == 0x3E; }));

  // The next allocation has the address, perhaps the descriptor, but not the key.
  REQUIRE(in.cuda.cuMemFree(pointer) == CUDA_SUCCESS);
  const CUdeviceptr next = in.allocate(kBytes);
  CHECK(next == pointer);
  CHECK(run_test_case("emulation: a peer process with a handle of what is no more", environment).status == 0);
  CHECK(in.cuda.cuMemFree(next) == CUDA_SUCCESS);
  int local = 0;
  CHECK(in.cuda.cuIpcGetMemHandle(&handle, reinterpret_cast<CUdeviceptr>(&local)) ==
        CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("emulation: virtual memory can be reached from cuMemSetAccess to cuMemUnmap") {
  const InContext in;
  const CUmemAllocationProp properties = shareable();
  const CUmemAccessDesc full = access(CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
  size_t granularity = 0;
  REQUIRE(in.cuda.cuMemGetAllocationGranularity(&granularity, &properties,
                                                CU_MEM_ALLOC_GRANULARITY_MINIMUM) == CUDA_SUCCESS);
  REQUIRE(granularity == kChunk);
  CUdeviceptr range = 0;
  REQUIRE(in.cuda.cuMemAddressReserve(&range, 3 * kChunk, 0, 0, 0) == CUDA_SUCCESS);
  CHECK(range % kChunk == 0);
  CUmemGenericAllocationHandle chunks[2] = {};
  for (size_t i = 0; i < 2; ++i) {
    REQUIRE(in.cuda.cuMemCreate(&chunks[i], kChunk, &properties, 0) == CUDA_SUCCESS);
    REQUIRE(in.cuda.cuMemMap(range + i * kChunk, kChunk, 0, chunks[i], 0) == CUDA_SUCCESS);
  }
  CHECK(in.cuda.cuMemMap(range, kChunk, 0, chunks[0], 0) == CUDA_ERROR_INVALID_VALUE);
  CHECK(in.cuda.cuMemMap(range + 3 * kChunk, kChunk, 0, chunks[0], 0) == CUDA_ERROR_INVALID_VALUE);
  CHECK_FALSE(is_readable(range));
  CHECK(in.cuda.cuMemSetAccess(range, 3 * kChunk, &full, 1) == CUDA_ERROR_INVALID_VALUE);
  REQUIRE(in.cuda.cuMemSetAccess(range, 2 * kChunk, &full, 1) == CUDA_SUCCESS);
  CHECK((is_readable(range) && is_readable(range + 2 * kChunk - 1) && !is_readable(range + 2 * kChunk)));
  CHECK(*reinterpret_cast<unsigned char*>(range) == 0xA7);
  // A copy may cross from one chunk to the next.
  CHECK(in.cuda.cuMemcpyDtoDAsync(range, range + kChunk / 2, kChunk, nullptr) == CUDA_SUCCESS);
  CHECK(in.cuda.cuStreamSynchronize(nullptr) == CUDA_SUCCESS);

  // Exported, imported, shown a second time.
  int descriptor = -1;
  REQUIRE(in.cuda.cuMemExportToShareableHandle(&descriptor, chunks[1],
                                               CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0) == CUDA_SUCCESS);
  CUmemGenericAllocationHandle imported = 0;
  REQUIRE(in.cuda.cuMemImportFromShareableHandle(&imported,
                                                 reinterpret_cast<void*>(static_cast<intptr_t>(descriptor)),
                                                 CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) == CUDA_SUCCESS);
  close(descriptor);
  CHECK(in.cuda.cuMemImportFromShareableHandle(&imported, reinterpret_cast<void*>(intptr_t{0}),
                                               CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) ==
        CUDA_ERROR_INVALID_VALUE);
  REQUIRE(in.cuda.cuMemMap(range + 2 * kChunk, kChunk, 0, imported, 0) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuMemSetAccess(range + 2 * kChunk, kChunk, &full, 1) == CUDA_SUCCESS);
  *reinterpret_cast<uint64_t*>(range + kChunk + 64) = 0x1234567890ABCDEF;
  CHECK(*reinterpret_cast<uint64_t*>(range + 2 * kChunk + 64) == 0x1234567890ABCDEF);

  CUmemGenericAllocationHandle retained = 0;
  CHECK(in.cuda.cuMemRetainAllocationHandle(&retained, reinterpret_cast<void*>(range + 100)) == CUDA_SUCCESS);
  CHECK(retained == chunks[0]);
  CUmemAllocationProp said{};
  CHECK(in.cuda.cuMemGetAllocationPropertiesFromHandle(&said, retained) == CUDA_SUCCESS);
  CHECK(said.requestedHandleTypes == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);

  for (const auto handle : {chunks[0], chunks[1], imported, retained}) {
    CHECK(in.cuda.cuMemRelease(handle) == CUDA_SUCCESS);
  }
  CHECK(in.cuda.cuMemRelease(retained) == CUDA_ERROR_INVALID_VALUE);
  CHECK(is_readable(range));  // mapped memory stays
  CHECK(in.cuda.cuMemAddressFree(range, 3 * kChunk) == CUDA_ERROR_INVALID_VALUE);
  CHECK(in.cuda.cuMemUnmap(range, 3 * kChunk) == CUDA_SUCCESS);
  CHECK_FALSE(is_readable(range));
  CHECK(in.cuda.cuMemUnmap(range, kChunk) == CUDA_ERROR_INVALID_VALUE);
  CHECK(in.cuda.cuMemAddressFree(range, 3 * kChunk) == CUDA_SUCCESS);
}

TEST_CASE("emulation: physical memory counts until nothing shows it") {
  const InContext in;
  CUmemAllocationProp properties = shareable();
  properties.requestedHandleTypes = CU_MEM_HANDLE_TYPE_NONE;
  size_t before = 0;
  size_t free = 0;
  size_t total = 0;
  REQUIRE(in.cuda.cuMemGetInfo(&before, &total) == CUDA_SUCCESS);
  CUmemGenericAllocationHandle handle = 0;
  CHECK(in.cuda.cuMemCreate(&handle, kChunk + 4096, &properties, 0) == CUDA_ERROR_INVALID_VALUE);
  CHECK(in.cuda.cuMemCreate(&handle, kDeviceMemory + kChunk, &properties, 0) == CUDA_ERROR_OUT_OF_MEMORY);
  REQUIRE(in.cuda.cuMemCreate(&handle, kChunk, &properties, 0) == CUDA_SUCCESS);
  int descriptor = -1;
  CHECK(in.cuda.cuMemExportToShareableHandle(&descriptor, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
                                             0) == CUDA_ERROR_INVALID_VALUE);
  CUdeviceptr range = 0;
  REQUIRE(in.cuda.cuMemAddressReserve(&range, kChunk, 0, 0, 0) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuMemMap(range, kChunk, 0, handle, 0) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuMemRelease(handle) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuMemGetInfo(&free, &total) == CUDA_SUCCESS);
  CHECK(before - free == kChunk);
  const CUmemAccessDesc reading = access(CU_MEM_ACCESS_FLAGS_PROT_READ);
  REQUIRE(in.cuda.cuMemSetAccess(range, kChunk, &reading, 1) == CUDA_SUCCESS);
  CHECK(is_readable(range));
  CHECK(in.cuda.cuMemUnmap(range, kChunk) == CUDA_SUCCESS);
  CHECK(in.cuda.cuMemAddressFree(range, kChunk) == CUDA_SUCCESS);
  REQUIRE(in.cuda.cuMemGetInfo(&free, &total) == CUDA_SUCCESS);
  CHECK(free == before);
}
