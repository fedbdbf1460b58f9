#include "tests/gpu/emulation/physical.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <vector>

#include "tests/gpu/emulation/lasting.h"
#include "tests/gpu/emulation/pages.h"
#include "tests/gpu/emulation/poison.h"
#include "tests/gpu/emulation/settings.h"

namespace tutti::emulation {
namespace {

constexpr const char* kPrefix = "/memfd:tutti-emulated-";

struct Usage {
  std::array<std::atomic<size_t>, kMaxDevices> bytes{};
};

std::atomic<size_t>& usage(int device) {
  return lasting<Usage>().bytes.at(static_cast<size_t>(device));
}

bool charge(int device, size_t bytes) {
  size_t used = usage(device).load();
  do {
    if (bytes > settings().memory - std::min(used, settings().memory)) return false;
  } while (!usage(device).compare_exchange_weak(used, used + bytes));
  return true;
}

std::string name_of(int descriptor) {
  char target[128];
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t length = readlink(link.c_str(), target, sizeof target);
  return length < 0 ? std::string{} : std::string{target, static_cast<size_t>(length)};
}

bool fill_with_poison(int descriptor, size_t bytes) {
  static const std::vector<unsigned char> poison(size_t{1} << 20, kPoison);
  for (size_t done = 0; done < bytes;) {
    const ssize_t written =
        pwrite(descriptor, poison.data(), std::min(poison.size(), bytes - done), static_cast<off_t>(done));
    if (written <= 0) return false;
    done += static_cast<size_t>(written);
  }
  return true;
}

}  // namespace

size_t bytes_in_use(int device) {
  return usage(device).load();
}

std::shared_ptr<Physical> Physical::create(int device, size_t bytes, CUmemAllocationHandleType handle_types,
                                           CUresult& why) {
  why = CUDA_ERROR_OUT_OF_MEMORY;
  if (!charge(device, bytes)) return nullptr;
  uint64_t key[2] = {};
  if (getrandom(key, sizeof key, 0) != sizeof key) key[0] = static_cast<uint64_t>(getpid());
  char name[64];
  std::snprintf(name, sizeof name, "tutti-emulated-%02d-%016llx%016llx", device,
                static_cast<unsigned long long>(key[0]), static_cast<unsigned long long>(key[1]));
  const int descriptor = memfd_create(name, MFD_CLOEXEC);
  auto memory = std::make_shared<Physical>(device, bytes, descriptor, handle_types, true);
  if (descriptor < 0 || ftruncate(descriptor, static_cast<off_t>(bytes)) != 0 ||
      !fill_with_poison(descriptor, bytes)) {
    return nullptr;
  }
  why = CUDA_SUCCESS;
  return memory;
}

std::shared_ptr<Physical> Physical::adopt(int descriptor) {
  const std::string name = name_of(descriptor);
  int device = -1;
  struct stat facts {};
  if (name.rfind(kPrefix, 0) != 0 || std::sscanf(name.c_str() + std::strlen(kPrefix), "%2d-", &device) != 1 ||
      device < 0 || device >= settings().devices || fstat(descriptor, &facts) != 0) {
    close(descriptor);
    return nullptr;
  }
  return std::make_shared<Physical>(device, static_cast<size_t>(facts.st_size), descriptor,
                                    CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, false);
}

std::shared_ptr<Physical> Physical::open(int pid, int descriptor) {
  const std::string path = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(descriptor);
  const int opened = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  return opened < 0 ? nullptr : adopt(opened);
}

Physical::Physical(int device, size_t bytes, int descriptor, CUmemAllocationHandleType handle_types,
                   bool charged)
    : device_(device),
      bytes_(bytes),
      descriptor_(descriptor),
      handle_types_(handle_types),
      charged_(charged) {}

Physical::~Physical() {
  if (descriptor_ >= 0) close(descriptor_);
  if (charged_) usage(device_).fetch_sub(bytes_);
}

std::string Physical::name() const {
  return name_of(descriptor_);
}

bool Physical::show(uintptr_t address, size_t bytes, size_t offset, bool accessible) const {
  void* const at = pointer_to(address);
  const int protection = accessible ? PROT_READ | PROT_WRITE : PROT_NONE;
  if (mmap(at, bytes, protection, MAP_SHARED | MAP_FIXED, descriptor_, static_cast<off_t>(offset)) ==
      MAP_FAILED) {
    return false;
  }
  // A forked child has no device memory.
  return madvise(at, bytes, MADV_DONTFORK) == 0;
}

}  // namespace tutti::emulation
