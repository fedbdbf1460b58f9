// Messages of more than 2^31 bytes and elements: nothing counts in 32 bits.
#include <fstream>

#include "tests/catch.h"
#include "tests/process/support/forked.h"

namespace {

constexpr size_t kBytes = (size_t{1} << 31) + 4099;
constexpr uint64_t kNeeded = uint64_t{6} << 30;

uint64_t available_memory() {
  std::ifstream info("/proc/meminfo");
  std::string name;
  uint64_t kib = 0;
  while (info >> name >> kib) {
    if (name == "MemAvailable:") return kib * 1024;
    info.ignore(64, '\n');
  }
  return 0;
}

/// What rank `rank` has at byte `i`: differs between neighbours, blocks and ranks.
unsigned char byte_of(size_t i, int rank) {
  return static_cast<unsigned char>((i * 2654435761u >> 13) + i / 65537 + static_cast<size_t>(rank) * 97);
}

class Memory {
 public:
  Memory() {
    void* at = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    expect(at != MAP_FAILED, "no {} bytes of memory", kBytes);
    data_ = static_cast<unsigned char*>(at);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() { munmap(data_, kBytes); }
  unsigned char* data() { return data_; }

  void fill(int rank) {
    for (size_t i = 0; i < kBytes; ++i) data_[i] = byte_of(i, rank);
  }
  template <typename Wanted>
  void check(int rank, Wanted&& wanted) const {
    for (size_t i = 0; i < kBytes; ++i) {
      if (data_[i] == wanted(i)) continue;
      expect(false, "rank {}: byte {} is {}, expected {}", rank, i, data_[i], wanted(i));
    }
  }

 private:
  unsigned char* data_ = nullptr;
};

}  // namespace

TEST_CASE("more than 2^31 elements, in place") {
  if (available_memory() < kNeeded) {
    std::puts("SKIPPED: less than 6 GiB of memory are available");
    return;
  }
  const tutti_unique_id_t id = make_id();
  Forked group;
  for (int rank = 0; rank < 2; ++rank) {
    group.start([&, rank] {
      const OwnRank own(id, rank, 2, patient_config());
      Memory memory;
      memory.fill(rank);
      expect_success(tutti_all_reduce(memory.data(), memory.data(), static_cast<int64_t>(kBytes), TUTTI_UINT8,
                                      TUTTI_SUM, own.get(), nullptr),
                     "all-reduce");
      memory.check(rank, [](size_t i) { return static_cast<unsigned char>(byte_of(i, 0) + byte_of(i, 1)); });
      if (rank == 1) memory.fill(7);
      expect_success(tutti_broadcast(memory.data(), memory.data(), static_cast<int64_t>(kBytes), TUTTI_UINT8,
                                     1, own.get(), nullptr),
                     "broadcast");
      memory.check(rank, [](size_t i) { return byte_of(i, 7); });
    });
  }
  group.expect_all_good(240 * kSecond);
}
