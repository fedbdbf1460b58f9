// Prints what the kernels reach on this machine: GB/s of copies and of reductions of two operands, counting bytes read
// and written, and nanoseconds of packets, also between two threads.
//
//   reduce_kernels_bench [portable|avx2|avx512]
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "collectives/reduce/kernels.h"

namespace {

using tutti::DataType;
using tutti::Packet;
using tutti::packets_for;
using tutti::ReduceOp;
using tutti::reduce::Kernels;
using tutti::reduce::PacketJob;
using tutti::reduce::PacketSource;
using tutti::reduce::ReduceJob;
using tutti::reduce::Store;

using Clock = std::chrono::steady_clock;

/// Nanoseconds of one call: the best of many short rounds, because others share this machine.
template <typename Body>
double best_ns(size_t calls, Body&& body) {
  double best = 1e30;
  for (int round = 0; round < (calls > 2 ? 200 : 5); ++round) {
    const auto start = Clock::now();
    for (size_t i = 0; i < calls; ++i) body();
    const std::chrono::duration<double, std::nano> took = Clock::now() - start;
    best = std::min(best, took.count() / static_cast<double>(calls));
  }
  return best;
}

/// Calls that move about 2 MiB, within reason.
size_t calls_for(size_t bytes) {
  return std::max<size_t>(2, std::min<size_t>(5000, (size_t{2} << 20) / (bytes + 64)));
}

/// Memory aligned to a page, plus `shift`; the pages are touched. The bytes make numbers near one in every type:
/// subnormal ones would measure the processor's slow path.
class Buffer {
 public:
  explicit Buffer(size_t bytes, size_t shift = 0) : storage_(bytes + shift + 4096 + 64, 1) {
    const auto address = reinterpret_cast<uintptr_t>(storage_.data());
    start_ = storage_.data() + (4096 - address % 4096) % 4096 + shift;
    for (size_t i = 0; i < bytes; ++i) start_[i] = static_cast<unsigned char>(0x3c + i % 3);
  }
  unsigned char* data() { return start_; }

 private:
  std::vector<unsigned char> storage_;
  unsigned char* start_;
};

constexpr size_t kSizes[] = {64, 512, 4096, 16384, 65536, size_t{1} << 20, size_t{64} << 20};

void print_header(const char* what) {
  std::printf("\n%-26s", what);
  for (size_t bytes : kSizes)
    std::printf(bytes < 1024 ? "%8zu B" : "%6zu KiB", bytes < 1024 ? bytes : bytes / 1024);
  std::printf("\n");
}

void bench_copies(const Kernels& kernels) {
  print_header("copy, GB/s");
  for (size_t shift : {size_t{0}, size_t{16}}) {
    Buffer src(kSizes[6], shift), dst(kSizes[6], shift);
    const auto row = [&](const char* name, auto&& copy) {
      std::printf("%-18s +%-6zu", name, shift);
      for (size_t bytes : kSizes) {
        const double ns = best_ns(calls_for(bytes), [&] { copy(bytes); });
        std::printf("%10.1f", 2.0 * static_cast<double>(bytes) / ns);
      }
      std::printf("\n");
    };
    row("cached", [&](size_t bytes) { kernels.copy(dst.data(), src.data(), bytes, Store::cached); });
    row("streaming", [&](size_t bytes) { kernels.copy(dst.data(), src.data(), bytes, Store::streaming); });
    row("memcpy", [&](size_t bytes) {
      std::memcpy(dst.data(), src.data(), bytes);
      asm volatile("" ::: "memory");
    });
  }
}

void bench_reduce(const Kernels& kernels, ReduceOp op, DataType type, int sources, size_t shift,
                  uint32_t divisor, Store store) {
  std::vector<std::unique_ptr<Buffer>> operands;
  std::vector<const void*> src;
  for (int s = 0; s < sources; ++s) {
    operands.push_back(std::make_unique<Buffer>(kSizes[6], shift));
    src.push_back(operands.back()->data());
  }
  Buffer dst(kSizes[6], shift);
  const auto fn = kernels.reduce[static_cast<size_t>(op)][static_cast<size_t>(type)];
  std::printf("%-4s %-8s k=%-2d +%-2zu %s", std::string(name_of(op)).c_str(),
              std::string(name_of(type)).c_str(), sources, shift, store == Store::streaming ? "nt " : "   ");
  for (size_t bytes : kSizes) {
    const ReduceJob job{dst.data(), nullptr, src.data(), sources, bytes / size_of(type), divisor, store};
    const double ns = best_ns(calls_for(bytes), [&] { fn(job); });
    std::printf("%10.1f", static_cast<double>(sources + 1) * static_cast<double>(bytes) / ns);
  }
  std::printf("\n");
}

void bench_packets(const Kernels& kernels) {
  std::printf("\npackets, fp32 sum, ns      ");
  constexpr size_t kBytes[] = {4, 8, 32, 56, 64, 1024, 8192, 16384};
  for (size_t bytes : kBytes) std::printf("%7zu B", bytes);
  Buffer plain(16384), out(16384);
  std::vector<Packet> lines(packets_for(16384)), other(packets_for(16384));
  const auto fn = kernels.reduce_packets[0][static_cast<size_t>(DataType::float32)];
  const auto row = [&](const char* name, auto&& body) {
    std::printf("\n%-27s", name);
    for (size_t bytes : kBytes) std::printf("%9.1f", best_ns(calls_for(bytes), [&] { body(bytes); }));
  };
  const PacketSource sources[] = {{nullptr, plain.data()}, {lines.data(), nullptr}, {other.data(), nullptr}};
  row("put_packets", [&](size_t bytes) { kernels.put_packets(lines.data(), plain.data(), bytes, 1); });
  row("put_packets, again", [&](size_t bytes) { kernels.put_packets(other.data(), plain.data(), bytes, 1); });
  row("reduce_packets plain+lines", [&](size_t bytes) {
    fn(PacketJob{out.data(), sources, 2, bytes, 1, 0}, 0);
  });
  row("reduce_packets lines+lines", [&](size_t bytes) {
    fn(PacketJob{out.data(), sources + 1, 2, bytes, 1, 0}, 0);
  });
  row("reduce_packets 3 sources", [&](size_t bytes) {
    fn(PacketJob{out.data(), sources, 3, bytes, 1, 0}, 0);
  });
  row("reduce_packets lines", [&](size_t bytes) {
    fn(PacketJob{out.data(), sources + 1, 1, bytes, 1, 0}, 0);
  });
  row("poll, nothing there", [&](size_t bytes) { fn(PacketJob{out.data(), sources, 2, bytes, 2, 0}, 0); });
  std::printf("\n");
}

constexpr int kAreas = 8;
constexpr uint32_t kBatch = 64, kBatches = 400;

/// Packet lines of two ranks; areas take turns, so that lines are not taken back while the peer still reads them.
struct Exchange {
  std::array<std::array<std::vector<Packet>, kAreas>, 2> lines;
  explicit Exchange(size_t bytes) {
    for (auto& of_rank : lines) {
      for (auto& area : of_rank) area = std::vector<Packet>(packets_for(bytes));
    }
  }
};

/// One rank of an all-reduce by packets; returns the nanoseconds of one, in the fastest batch and in the middle one.
std::pair<double, double> exchange(const Kernels& kernels, Exchange& shared, size_t rank, size_t bytes) {
  Buffer in(bytes + 64), out(bytes + 64);
  const auto fn = kernels.reduce_packets[0][static_cast<size_t>(DataType::float32)];
  std::vector<double> batches;
  auto start = Clock::now();
  for (uint32_t epoch = 1; epoch <= kBatch * kBatches; ++epoch) {
    const uint64_t flag = uint64_t{epoch} << 32;
    kernels.put_packets(shared.lines[rank][epoch % kAreas].data(), in.data(), bytes, flag);
    PacketSource sources[2];
    sources[rank] = {nullptr, in.data()};
    sources[1 - rank] = {shared.lines[1 - rank][epoch % kAreas].data(), nullptr};
    const PacketJob job{out.data(), sources, 2, bytes, flag, 0};
    for (size_t next = 0, turns = 0; (next = fn(job, next)) < packets_for(bytes);) {
      tutti::cpu_relax();
      if (++turns > 2000) std::this_thread::yield();
    }
    if (epoch % kBatch != 0) continue;
    const auto now = Clock::now();
    batches.push_back(std::chrono::duration<double, std::nano>(now - start).count() / kBatch);
    start = now;
  }
  std::sort(batches.begin(), batches.end());
  return {batches.front(), batches[batches.size() / 2]};
}

void bench_exchange(const Kernels& kernels) {
  std::printf("\nall-reduce of two threads by packets, ns per operation: fastest batch, middle batch\n");
  for (size_t bytes : {size_t{4}, size_t{56}, size_t{64}, size_t{256}, size_t{1024}, size_t{4096},
                       size_t{8192}, size_t{16384}}) {
    Exchange shared(bytes);
    std::thread peer([&] { exchange(kernels, shared, 1, bytes); });
    const auto [fastest, middle] = exchange(kernels, shared, 0, bytes);
    peer.join();
    std::printf("%8zu B %9.1f %9.1f\n", bytes, fastest, middle);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Kernels* kernels = argc > 1 ? tutti::reduce::kernels(argv[1]) : &tutti::reduce::kernels();
  if (kernels == nullptr) {
    std::fprintf(stderr, "this processor or build has no kernels named %s\n", argv[1]);
    return EXIT_FAILURE;
  }
  std::printf("kernels: %s\n", kernels->name);
  bench_packets(*kernels);
  bench_exchange(*kernels);
  bench_copies(*kernels);
  print_header("reduce, GB/s");
  for (int type = 0; type < tutti::kDataTypes; ++type) {
    bench_reduce(*kernels, ReduceOp::sum, static_cast<DataType>(type), 2, 0, 0, Store::cached);
  }
  for (DataType type : {DataType::float16, DataType::bfloat16, DataType::float32}) {
    bench_reduce(*kernels, ReduceOp::max, type, 2, 0, 0, Store::cached);
    bench_reduce(*kernels, ReduceOp::avg, type, 2, 0, 2, Store::cached);
    bench_reduce(*kernels, ReduceOp::avg, type, 2, 0, 3, Store::cached);
    bench_reduce(*kernels, ReduceOp::sum, type, 2, 0, 0, Store::streaming);
    bench_reduce(*kernels, ReduceOp::sum, type, 2, 16, 0, Store::cached);
    for (int sources : {1, 4, 8, 16})
      bench_reduce(*kernels, ReduceOp::sum, type, sources, 0, 0, Store::cached);
  }
  bench_reduce(*kernels, ReduceOp::avg, DataType::int32, 2, 0, 3, Store::cached);
  bench_reduce(*kernels, ReduceOp::avg, DataType::int64, 2, 0, 3, Store::cached);
  bench_reduce(*kernels, ReduceOp::prod, DataType::int8, 2, 0, 0, Store::cached);
  bench_reduce(*kernels, ReduceOp::max, DataType::int8, 2, 0, 0, Store::cached);
  return EXIT_SUCCESS;
}
