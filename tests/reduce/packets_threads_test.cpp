// Packets between two threads: a small all-reduce that runs many times with data that change each time, so that stale
// data cannot pass. ThreadSanitizer sees here whether the flag alone orders the data.
#include <array>
#include <atomic>
#include <thread>

#include "collectives/reduce/annotate.h"
#include "tests/catch.h"
#include "tests/reduce/operands.h"

namespace {

using tutti::DataType;
using tutti::kPacketData;
using tutti::Packet;
using tutti::packets_for;
using tutti::reduce::Kernels;
using tutti::reduce::PacketJob;
using tutti::reduce::PacketSource;

constexpr uint32_t kEpochs = tutti::reduce::kThreadSanitizer ? 3000 : 20000;
constexpr size_t kMaxCount = 512;

/// What two ranks share: for each, two areas of lines that take turns. When a rank starts epoch e + 2 it has seen the
/// peer's message of e + 1, which the peer sent after it had read the message of e: the area is free again.
struct Shared {
  std::vector<Packet> lines[2][2];
  std::atomic<uint32_t> wrong{0};
  explicit Shared(size_t bytes) {
    for (auto& of_rank : lines) {
      for (auto& area : of_rank) area = std::vector<Packet>(packets_for(bytes));
    }
  }
};

float value(uint32_t rank, uint32_t epoch, size_t i) {
  return static_cast<float>(epoch * 7 + rank * 3 + static_cast<uint32_t>(i));
}

void rank_main(const Kernels& kernels, Shared& shared, uint32_t rank, size_t count) {
  const auto reduce = kernels.reduce_packets[0][static_cast<size_t>(DataType::float32)];
  const size_t bytes = count * sizeof(float);
  std::array<float, kMaxCount> input{}, output{};
  for (uint32_t epoch = 1; epoch <= kEpochs; ++epoch) {
    for (size_t i = 0; i < count; ++i) input[i] = value(rank, epoch, i);
    output.fill(-1.0f);
    const uint64_t flag = uint64_t{epoch} << 32 | 0xabcd;
    kernels.put_packets(shared.lines[rank][epoch % 2].data(), input.data(), bytes, flag);
    const PacketSource own{nullptr, input.data()}, peer{shared.lines[1 - rank][epoch % 2].data(), nullptr};
    const PacketSource sources[] = {rank == 0 ? own : peer, rank == 0 ? peer : own};
    const PacketJob job{output.data(), sources, 2, bytes, flag, 0};
    for (size_t next = 0, turns = 0; (next = reduce(job, next)) < packets_for(bytes);) {
      if (++turns % 64 == 0) std::this_thread::yield();
    }
    for (size_t i = 0; i < count; ++i) {
      if (output[i] != value(0, epoch, i) + value(1, epoch, i)) shared.wrong.fetch_add(1);
    }
  }
}

}  // namespace

TEST_CASE("two threads all-reduce packets with changing data") {
  for (const Kernels* kernels : operands::all_kernels()) {
    for (size_t count : {size_t{1}, size_t{14}, size_t{200}}) {
      Shared shared(count * sizeof(float));
      std::thread peer([&] { rank_main(*kernels, shared, 1, count); });
      rank_main(*kernels, shared, 0, count);
      peer.join();
      INFO(kernels->name << " " << count << " elements");
      CHECK(shared.wrong.load() == 0);
    }
  }
}
