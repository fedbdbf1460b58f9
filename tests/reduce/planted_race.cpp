// A mistake on purpose: data are handed over by a relaxed store, for every kernel of every instruction set. Only built
// with ThreadSanitizer, which has to report each one (its reports are printed, and counted here): so a real missing edge
// would not go unseen either, although the sanitizer does not look into vector instructions.
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/catch.h"
#include "tests/reduce/operands.h"

namespace {
std::atomic<int> reports{0};
}

// Called by the sanitizer's run-time library; it ships no header for them.
extern "C" {
__attribute__((visibility("default"))) void __tsan_on_report(void*) {  // NOLINT
  reports.fetch_add(1, std::memory_order_relaxed);
}
__attribute__((visibility("default"))) const char* __tsan_default_options() {  // NOLINT
  return "exitcode=0:halt_on_error=0:suppress_equal_stacks=0:suppress_equal_addresses=0";
}
}

namespace {

using tutti::DataType;
using tutti::Packet;
using tutti::ReduceOp;
using tutti::reduce::Kernels;
using tutti::reduce::PacketSource;
using tutti::reduce::Store;

constexpr size_t kLines = 8;
constexpr size_t kBytes = kLines * tutti::kPacketData;

/// What one thread writes and the other reads. The flags of the lines are from the start what the reader expects.
struct Shared {
  std::vector<unsigned char> bytes = std::vector<unsigned char>(kBytes);
  std::vector<Packet> lines{kLines};
  std::atomic<int> ready{0};
};

struct Touch {
  const char* name;
  void (*write)(const Kernels&, Shared&, unsigned char* own);
  void (*read)(const Kernels&, Shared&, unsigned char* own);
};

void write_plain(const Kernels& kernels, Shared& shared, unsigned char* own) {
  kernels.copy(shared.bytes.data(), own, kBytes, Store::streaming);
}
void read_plain(const Kernels& kernels, Shared& shared, unsigned char* own) {
  kernels.copy(own, shared.bytes.data(), kBytes, Store::cached);
}
void reduce_to(const Kernels& kernels, unsigned char* dst, const void* a, const void* b) {
  const void* src[] = {a, b};
  const auto fn = kernels.reduce[static_cast<size_t>(ReduceOp::sum)][static_cast<size_t>(DataType::float32)];
  fn({dst, nullptr, src, 2, kBytes / 4, 0, Store::streaming});
}

constexpr Touch kTouches[] = {
    {"copy reads and writes", write_plain, read_plain},
    {"reduce writes",
     [](const Kernels& kernels, Shared& shared, unsigned char* own) {
       reduce_to(kernels, shared.bytes.data(), own, own);
     },
     [](const Kernels& kernels, Shared& shared, unsigned char* own) { read_plain(kernels, shared, own); }},
    {"reduce reads", write_plain,
     [](const Kernels& kernels, Shared& shared, unsigned char* own) {
       reduce_to(kernels, own, own, shared.bytes.data());
     }},
    {"put_packets writes a line",
     [](const Kernels& kernels, Shared& shared, unsigned char* own) {
       kernels.put_packets(shared.lines.data(), own, kBytes, 0);
     },
     [](const Kernels& kernels, Shared& shared, unsigned char* own) {
       kernels.copy(own, shared.lines[kLines - 1].data, tutti::kPacketData, Store::cached);
     }},
    {"reduce_packets reads a line",
     [](const Kernels& kernels, Shared& shared, unsigned char* own) {
       kernels.copy(shared.lines[kLines - 1].data, own, tutti::kPacketData, Store::cached);
     },
     [](const Kernels& kernels, Shared& shared, unsigned char* own) {
       const PacketSource sources[] = {{nullptr, own}, {shared.lines.data(), nullptr}};
       const auto fn =
           kernels.reduce_packets[static_cast<size_t>(ReduceOp::sum)][static_cast<size_t>(DataType::float32)];
       fn({own, sources, 2, kBytes, 0, 0}, 0);
     }},
};

int reports_of(const Kernels& kernels, const Touch& touch, std::memory_order order) {
  const int before = reports.load();
  Shared shared;
  std::vector<unsigned char> of_writer(kBytes), of_reader(kBytes);
  std::thread writer([&] {
    touch.write(kernels, shared, of_writer.data());
    shared.ready.store(1, order);
  });
  while (shared.ready.load(std::memory_order_acquire) == 0) std::this_thread::yield();
  touch.read(kernels, shared, of_reader.data());
  writer.join();
  return reports.load() - before;
}

}  // namespace

TEST_CASE("ThreadSanitizer sees what every kernel reads and writes") {
  for (const Kernels* kernels : operands::all_kernels()) {
    for (const Touch& touch : kTouches) {
      INFO(kernels->name << ": " << touch.name);
      CHECK(reports_of(*kernels, touch, std::memory_order_relaxed) > 0);
      CHECK(reports_of(*kernels, touch, std::memory_order_release) == 0);
    }
  }
}
