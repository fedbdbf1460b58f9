#include "transports/shm/window.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/error.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

namespace tutti::shm {

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kNodeLimit = size_t{64} << 20;
constexpr size_t kMostAutomatic = size_t{2} << 20;
constexpr size_t kLeastPackets = size_t{64} << 10;
constexpr size_t kMostPackets = size_t{256} << 10;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

constexpr size_t round_up(size_t value, size_t unit) {
  return (value + unit - 1) / unit * unit;
}

}  // namespace

Layout layout(int ranks, size_t scratch_bytes, size_t annex_bytes) {
  const auto n = static_cast<size_t>(ranks);
  Layout l;
  l.annex_size = round_up(annex_bytes, kPage);
  const size_t share = kNodeLimit / n / kPage * kPage;
  l.total = scratch_bytes != 0 ? scratch_bytes
                               : std::min(kMostAutomatic, share - std::min(share - kPage, l.annex_size));
  l.pairs = round_up(sizeof(WindowHeader), kCacheLine);
  l.packets = round_up(l.pairs + n * sizeof(PairLine), kPage);
  l.packets_size = std::clamp(l.total / 16, kLeastPackets, kMostPackets);
  l.slots = l.packets + l.packets_size;
  // Very many ranks: the control part grows, the scratch does not fall below one packet ring's size.
  l.total = std::max(round_up(l.total, kPage), l.slots + kLeastPackets);
  l.slots_size = l.total - l.slots;
  // At the end, so that whatever the annex is, the scratch before it lies as it does without.
  l.annex = round_up(l.total, kPage);
  l.total = l.annex + l.annex_size;
  return l;
}

Mapping::Mapping(int descriptor, size_t size) : size_(size) {
  void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, descriptor, 0);
  if (at == MAP_FAILED) raise_errno(errno, "mapping a window of {} bytes", size);
  data_ = static_cast<std::byte*>(at);
  // Few, large pages where the system allows them for shared memory; a refusal costs nothing.
  madvise(at, size, MADV_HUGEPAGE);
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Mapping::~Mapping() {
  if (data_ != nullptr) munmap(data_, size_);
}

Descriptor create_memory(size_t size, int rank) {
  const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  Descriptor memory(memfd_create("tutti-window", flags | MFD_NOEXEC_SEAL));
  if (!memory) memory = Descriptor(memfd_create("tutti-window", flags));  // kernels before 6.3
  if (!memory) raise_errno(errno, "rank {}: memfd_create", rank);
  if (ftruncate(memory.get(), static_cast<off_t>(size)) != 0) {
    raise_errno(errno, "rank {}: a shared window of {} bytes", rank, size);
  }
  if (const int error = posix_fallocate(memory.get(), 0, static_cast<off_t>(size)); error != 0) {
    raise_errno(error, "rank {}: reserving {} bytes of shared memory (TUTTI_SCRATCH_BYTES makes it smaller)",
                rank, size);
  }
  if (fcntl(memory.get(), F_ADD_SEALS, kSeals) != 0) raise_errno(errno, "rank {}: sealing the window", rank);
  return memory;
}

void check_memory(int descriptor, size_t size, int peer) {
  struct stat status {};
  if (fstat(descriptor, &status) != 0) raise_errno(errno, "the window of rank {}", peer);
  if (static_cast<size_t>(status.st_size) != size) {
    raise(Result::mismatch, "the window of rank {} has {} bytes, expected {}", peer, status.st_size, size);
  }
  const int seals = fcntl(descriptor, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) {
    raise(Result::mismatch, "the window of rank {} is not a sealed memory file", peer);
  }
}

}  // namespace tutti::shm
