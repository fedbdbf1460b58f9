// What the threads of a block move and reduce together, on host threads, against the host's kernels: every alignment, in place, any
// number of sources, destinations and threads. Nothing may be read or written beyond the ends.
#include "collectives/executors/cuda/moves.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <random>
#include <thread>

#include "collectives/reduce/annotate.h"
#include "collectives/reduce/kernels.h"
#include "tests/catch.h"
#include "tests/gpu/arithmetic_support.h"
#include "tests/reduce/operands.h"

namespace {

using operands::Bytes;
using operands::Guarded;
using tutti::DataType;
using tutti::ReduceOp;
using tutti::cuda::Block;
using tutti::cuda::BlockBarrier;
using tutti::cuda::DevicePacket;

constexpr unsigned char kPoison = 0xa5;
constexpr size_t kCapacity = 16384;
constexpr size_t kMostSources = 9;

/// The threads of a block one after the other. Since they do not wait for each other, the result must not depend on it.
template <typename Body>
void in_turn(unsigned threads, bool backwards, const Body& body) {
  BlockBarrier barrier;
  for (unsigned t = 0; t < threads; ++t) body(Block(backwards ? threads - 1 - t : t, threads, barrier));
}

/// The threads of a block at the same time.
template <typename Body>
void at_once(unsigned threads, const Body& body) {
  BlockBarrier barrier;
  std::vector<std::thread> others;
  for (unsigned t = 1; t < threads; ++t) others.emplace_back([&, t] { body(Block(t, threads, barrier)); });
  body(Block(0, threads, barrier));
  for (auto& other : others) other.join();
}

// ---- reduce

template <typename A>
struct Reduce {
  static void run(const Block& block, const tutti::cuda::Operands& operands, size_t count, uint32_t divisor) {
    tutti::cuda::reduce<A>(block, operands, count, divisor);
  }
};
using ReduceFn = void (*)(const Block&, const tutti::cuda::Operands&, size_t, uint32_t);

Bytes by_host(device::Pair pair, const std::vector<Bytes>& sources, size_t count, uint32_t divisor) {
  Bytes result(count * size_of(pair.type));
  std::vector<const void*> src;
  for (const Bytes& source : sources) src.push_back(source.data());
  const auto reduce =
      tutti::reduce::kernels().reduce[static_cast<size_t>(pair.op)][static_cast<size_t>(pair.type)];
  reduce({result.data(), nullptr, src.data(), static_cast<int>(src.size()), count, divisor,
          tutti::reduce::Store::cached});
  return result;
}

/// How the operands lie in memory: pointers end `before` bytes before a forbidden page, each further one `stagger` bytes more.
struct Layout {
  unsigned threads;
  size_t before;
  size_t stagger;
  int in_place;  // the first destination is this source, or -1
  size_t destinations;
};

constexpr Layout kLayouts[] = {
    {1, 0, 0, -1, 1}, {2, 0, 0, -1, 2}, {3, 16, 16, 0, 1}, {3, 8, 0, -1, 3},  {2, 8, 8, 1, 1},
    {1, 4, 0, 0, 2},  {3, 12, 4, 1, 1}, {2, 2, 0, -1, 1},  {1, 6, 2, -1, 2},  {3, 2, 32, 0, 1},
    {2, 1, 0, -1, 1}, {3, 0, 1, 0, 1},  {2, 5, 16, 1, 2},  {37, 8, 16, 0, 1}, {64, 0, 0, 1, 1},
};

struct Arena {
  std::vector<std::unique_ptr<Guarded>> src, dst;
  Arena() {
    for (size_t s = 0; s < kMostSources; ++s) src.push_back(std::make_unique<Guarded>(kCapacity));
    for (size_t d = 0; d < 3; ++d) dst.push_back(std::make_unique<Guarded>(kCapacity));
  }
};

struct Placed {
  std::vector<const void*> srcs;
  std::vector<void*> dsts;
};

Placed place(Arena& arena, const Layout& layout, const std::vector<Bytes>& data, size_t bytes) {
  Placed placed;
  for (size_t s = 0; s < data.size(); ++s) {
    unsigned char* at = arena.src[s]->last(bytes, layout.before + s * layout.stagger);
    if (bytes != 0) std::memcpy(at, data[s].data(), bytes);
    placed.srcs.push_back(at);
  }
  for (size_t d = 0; d < layout.destinations; ++d) {
    arena.dst[d]->fill(kPoison);
    placed.dsts.push_back(arena.dst[d]->last(bytes, layout.before + (d + 1) * layout.stagger));
  }
  if (layout.in_place >= 0 && static_cast<size_t>(layout.in_place) < data.size()) {
    placed.dsts[0] = const_cast<void*>(placed.srcs[static_cast<size_t>(layout.in_place)]);
  }
  return placed;
}

/// What is wrong after a reduction, or an empty text.
std::string wrong_in(const Arena& arena, const Placed& placed, const std::vector<Bytes>& data,
                     const Bytes& expected) {
  const size_t bytes = expected.size();
  for (size_t d = 0; d < placed.dsts.size(); ++d) {
    const auto* at = static_cast<const unsigned char*>(placed.dsts[d]);
    if (bytes != 0 && std::memcmp(at, expected.data(), bytes) != 0) return "a destination differs";
    const bool is_source = std::find(placed.srcs.begin(), placed.srcs.end(), at) != placed.srcs.end();
    if (!is_source && !arena.dst[d]->only_within(at, bytes, kPoison)) return "wrote outside a destination";
  }
  for (size_t s = 0; s < data.size(); ++s) {
    if (placed.srcs[s] == placed.dsts[0]) continue;
    if (bytes != 0 && std::memcmp(placed.srcs[s], data[s].data(), bytes) != 0) return "changed a source";
  }
  return {};
}

void check(Arena& arena, int i, size_t sources, size_t count, uint32_t divisor, std::mt19937_64& random) {
  const device::Pair pair = device::pair_of(i);
  std::vector<Bytes> data;
  for (size_t s = 0; s < sources; ++s) data.push_back(operands::random_elements(pair.type, count, random));
  const Bytes expected = by_host(pair, data, count, divisor);
  for (size_t l = 0; l < std::size(kLayouts); ++l) {
    const Layout& layout = kLayouts[l];
    const Placed placed = place(arena, layout, data, expected.size());
    const tutti::cuda::Operands operands{placed.dsts.data(), static_cast<int>(placed.dsts.size()),
                                         placed.srcs.data(), static_cast<int>(sources)};
    in_turn(layout.threads, l % 2 == 1, [&](const Block& block) {
      device::kTable<ReduceFn, Reduce>[static_cast<size_t>(i)](block, operands, count, divisor);
    });
    const std::string wrong = wrong_in(arena, placed, data, expected);
    if (wrong.empty()) continue;
    FAIL(device::describe(pair) << ", " << sources << " sources, " << count << " elements, divisor "
                                << divisor << ", layout " << l << ": " << wrong);
  }
}

// ---- packets

/// Waits while the data of another thread may come; every wait is bounded.
struct Patience {
  uint64_t turns = 0;
  bool keep_waiting(uint64_t, int) {
    if (++turns % 16 == 0) std::this_thread::yield();
    return turns < 2'000'000'000;
  }
};

/// Notes what it is asked, and gives up at once.
struct Impatience {
  std::vector<std::pair<uint64_t, int>> seen;
  bool keep_waiting(uint64_t flag, int source) {
    seen.emplace_back(flag, source);
    return false;
  }
};

template <typename A>
struct TakeAll {
  static bool run(const Block& block, const tutti::cuda::PacketOperands& operands, size_t bytes,
                  uint64_t flag, uint32_t divisor) {
    Impatience spin;
    return tutti::cuda::reduce_packets<A>(block, operands, bytes, flag, divisor, spin) && spin.seen.empty();
  }
};
using TakeFn = bool (*)(const Block&, const tutti::cuda::PacketOperands&, size_t, uint64_t, uint32_t);

constexpr uint64_t kFlag = 0x0000000700001234;

/// Packets as they are after older messages.
std::vector<DevicePacket> used_packets(size_t bytes) {
  return std::vector<DevicePacket>(tutti::cuda::device_packets_for(bytes),
                                   DevicePacket{~uint64_t{0}, kFlag - (uint64_t{1} << 32)});
}

void check_packets(Arena& arena, int i, size_t sources, size_t count, uint32_t divisor,
                   std::mt19937_64& random) {
  const device::Pair pair = device::pair_of(i);
  const size_t bytes = count * size_of(pair.type);
  std::vector<Bytes> data;
  std::vector<std::vector<DevicePacket>> packets;
  for (size_t s = 0; s < sources; ++s) {
    data.push_back(operands::random_elements(pair.type, count, random));
    packets.push_back(used_packets(bytes));
  }
  const Bytes expected = by_host(pair, data, count, divisor);
  for (const size_t before : {size_t{0}, size_of(pair.type), size_t{4}, size_t{2}, size_t{1}}) {
    for (const unsigned threads : {1u, 3u}) {
      std::vector<tutti::cuda::PacketSource> operands;
      for (size_t s = 0; s < sources; ++s) {
        unsigned char* const at = arena.src[s]->last(bytes, before);
        if (bytes != 0) std::memcpy(at, data[s].data(), bytes);
        packets[s] = used_packets(bytes);
        if ((s + before) % 3 == 1) {  // plain: may be the destination
          operands.push_back({nullptr, at});
          continue;
        }
        in_turn(threads, false, [&](const Block& block) {
          tutti::cuda::put_packets(block, packets[s].data(), at, bytes, kFlag);
        });
        operands.push_back({packets[s].data(), nullptr});
      }
      arena.dst[0]->fill(kPoison);
      unsigned char* const dst = arena.dst[0]->last(bytes, before);
      bool done = true;
      in_turn(threads, true, [&](const Block& block) {
        done = device::kTable<TakeFn, TakeAll>[static_cast<size_t>(i)](
                   block, {dst, operands.data(), static_cast<int>(sources)}, bytes, kFlag, divisor) &&
               done;
      });
      const bool same = bytes == 0 || std::memcmp(dst, expected.data(), bytes) == 0;
      if (done && same && arena.dst[0]->only_within(dst, bytes, kPoison)) continue;
      FAIL(device::describe(pair) << ", " << sources << " sources, " << count << " elements, divisor "
                                  << divisor << ", " << before << " bytes before the end, " << threads
                                  << " threads: "
                                  << (done ? same ? "wrote outside" : "wrong data" : "not all taken"));
    }
  }
}

/// What two ranks share: for each, two areas of packets that take turns. When a rank starts epoch e + 2 it has seen the peer's message
/// of e + 1, which the peer sent after it had read the message of e: the area is free again.
struct Exchange {
  std::vector<DevicePacket> packets[2][2];
  BlockBarrier barriers[2];
  std::atomic<uint32_t> wrong{0};
  explicit Exchange(size_t bytes) {
    for (auto& of_rank : packets) {
      for (auto& area : of_rank) area = std::vector<DevicePacket>(tutti::cuda::device_packets_for(bytes));
    }
  }
};

int32_t value_of(uint32_t rank, uint32_t epoch, size_t i) {
  return static_cast<int32_t>(epoch * 7 + rank * 3 + static_cast<uint32_t>(i));
}

/// One thread of one rank's block. Thread t owns the packets t, t + threads, ...: what it puts, takes and checks.
void exchange(Exchange& shared, uint32_t rank, const Block& block, std::vector<int32_t>& input,
              std::vector<int32_t>& output, uint32_t epochs) {
  constexpr size_t kPerPacket = tutti::cuda::kDevicePacketData / sizeof(int32_t);
  const size_t bytes = input.size() * sizeof(int32_t);
  const auto each = [&](const auto& body) {
    for (size_t i = 0; i < input.size(); ++i) {
      if (i / kPerPacket % block.threads() == block.thread()) body(i);
    }
  };
  for (uint32_t epoch = 1; epoch <= epochs; ++epoch) {
    each([&](size_t i) { input[i] = value_of(rank, epoch, i); });
    const uint64_t flag = uint64_t{epoch} << 32 | 0xabcd;
    tutti::cuda::put_packets(block, shared.packets[rank][epoch % 2].data(), input.data(), bytes, flag);
    const tutti::cuda::PacketSource sources[] = {{shared.packets[1 - rank][epoch % 2].data(), nullptr},
                                                 {nullptr, input.data()}};
    Patience spin;
    const bool all = tutti::cuda::reduce_packets<tutti::cuda::Arithmetic<DataType::int32, ReduceOp::sum>>(
        block, {output.data(), sources, 2}, bytes, flag, 0, spin);
    if (!all) shared.wrong.fetch_add(1);
    each([&](size_t i) {
      if (output[i] != value_of(0, epoch, i) + value_of(1, epoch, i)) shared.wrong.fetch_add(1);
    });
  }
}

constexpr uint32_t kEpochs = tutti::reduce::kThreadSanitizer ? 1000 : 10000;

}  // namespace

TEST_CASE("a copy reaches every destination, and no byte more") {
  std::mt19937_64 random(1);
  Guarded from(kCapacity), to(kCapacity), second(kCapacity);
  for (const unsigned threads : {1u, 2u, 3u, 40u}) {
    for (const size_t bytes : {0, 1, 3, 4, 15, 16, 17, 31, 32, 33, 63, 64, 100, 128, 257, 1000, 4096, 5003}) {
      const Bytes data = operands::random_elements(DataType::uint8, bytes, random);
      for (size_t from_before = 0; from_before < 16; ++from_before) {
        for (const size_t to_before :
             {from_before, size_t{0}, from_before + 8, from_before + 4, from_before + 2, from_before + 1}) {
          unsigned char* const src = from.last(bytes, from_before);
          if (bytes != 0) std::memcpy(src, data.data(), bytes);
          to.fill(kPoison);
          second.fill(kPoison);
          void* const dsts[] = {to.last(bytes, to_before), second.last(bytes, from_before)};
          in_turn(threads, false, [&](const Block& block) {
            tutti::cuda::copy(block, {dsts, 2, src}, bytes);
          });
          INFO(bytes << " bytes, " << from_before << " and " << to_before << " before the ends, " << threads
                     << " threads");
          REQUIRE((bytes == 0 || std::memcmp(dsts[0], data.data(), bytes) == 0));
          REQUIRE((bytes == 0 || std::memcmp(dsts[1], data.data(), bytes) == 0));
          REQUIRE((bytes == 0 || std::memcmp(src, data.data(), bytes) == 0));
          REQUIRE(to.only_within(static_cast<unsigned char*>(dsts[0]), bytes, kPoison));
          REQUIRE(second.only_within(static_cast<unsigned char*>(dsts[1]), bytes, kPoison));
        }
      }
    }
  }
}

TEST_CASE("every reduction of a block equals the host's bit by bit") {
  std::mt19937_64 random(2);
  Arena arena;
  for (int i = 0; i < device::kPairs; ++i) {
    for (const size_t sources : {1, 2, 3, 4, 5, 8, 9}) {
      for (const size_t count : {0, 1, 2, 7, 15, 16, 33, 64, 100, 515})
        check(arena, i, sources, count, 0, random);
    }
    if (device::pair_of(i).op != ReduceOp::avg) continue;
    for (const uint32_t divisor : {1u, 2u, 3u, 8u, 300u, 65535u}) {
      for (const size_t sources : {1, 2, 3}) check(arena, i, sources, 101, divisor, random);
    }
  }
  SUCCEED();
}

TEST_CASE("a divisor means nothing to the device's other operators") {
  std::mt19937_64 random(3);
  Arena arena;
  for (int i = 0; i < device::kPairs; ++i) {
    const ReduceOp op = device::pair_of(i).op;
    if (op == ReduceOp::sum || op == ReduceOp::avg) continue;
    for (const size_t sources : {1, 2, 3}) check(arena, i, sources, 33, 3, random);
    check_packets(arena, i, 1, 33, 3, random);
  }
  SUCCEED();
}

TEST_CASE("a block's threads reduce and copy side by side") {
  using A = tutti::cuda::Arithmetic<DataType::float32, ReduceOp::sum>;
  constexpr size_t kCount = 1001;
  for (const unsigned threads : {2u, 3u}) {
    std::vector<float> a(kCount), b(kCount), copy(kCount + 1);
    void* const dsts[] = {a.data(), copy.data() + 1};
    const void* const srcs[] = {a.data(), b.data()};
    bool right = true;
    at_once(threads, [&](const Block& block) {
      for (int turn = 1; turn < 50; ++turn) {
        if (block.is_leader()) {
          for (size_t i = 0; i < kCount; ++i) a[i] = b[i] = static_cast<float>(turn + static_cast<int>(i));
        }
        block.sync();
        tutti::cuda::reduce<A>(block, {dsts, 2, srcs, 2}, kCount, 0);
        block.sync();
        tutti::cuda::copy(block, b.data(), copy.data() + 1, kCount * sizeof(float));
        block.sync();
        if (block.is_leader()) {
          for (size_t i = 0; i < kCount; ++i) {
            const auto expected = static_cast<float>(2 * (turn + static_cast<int>(i)));
            right = right && a[i] == expected && b[i] == expected;
          }
        }
        block.sync();
      }
    });
    CHECK(right);
  }
}

TEST_CASE("packets hold a message, and zeros behind its end") {
  std::mt19937_64 random(4);
  for (size_t bytes = 0; bytes <= 70; ++bytes) {
    const Bytes data = operands::random_elements(DataType::uint8, bytes, random);
    Guarded src(bytes + 8);
    for (const size_t before : {size_t{0}, bytes % 8, size_t{4}, size_t{2}, size_t{1}}) {
      if (bytes != 0) std::memcpy(src.last(bytes, before), data.data(), bytes);
      const size_t n = tutti::cuda::device_packets_for(bytes);
      std::vector<DevicePacket> first(n + 1), second(n + 1);
      DevicePacket* const dsts[] = {first.data(), second.data()};
      in_turn(3, false, [&](const Block& block) {
        tutti::cuda::put_packets(block, dsts, 2, src.last(bytes, before), bytes, kFlag);
      });
      Bytes expected = data;
      expected.resize(n * tutti::cuda::kDevicePacketData, 0);
      for (const auto& packets : {first, second}) {
        for (size_t i = 0; i < n; ++i) {
          REQUIRE(packets[i].flag == kFlag);
          REQUIRE(std::memcmp(&packets[i].data, expected.data() + 8 * i, 8) == 0);
        }
        REQUIRE(packets[n].flag == 0);
      }
    }
  }
}

TEST_CASE("every packet reduction of a block equals the host's bit by bit") {
  std::mt19937_64 random(5);
  Arena arena;
  for (int i = 0; i < device::kPairs; ++i) {
    for (const size_t sources : {1, 2, 3, 4, 5, 9}) {
      for (const size_t count : {0, 1, 2, 3, 7, 8, 9, 33, 100})
        check_packets(arena, i, sources, count, 0, random);
    }
    if (device::pair_of(i).op != ReduceOp::avg) continue;
    for (const uint32_t divisor : {2u, 3u, 300u}) {
      for (const size_t sources : {1, 2, 3}) check_packets(arena, i, sources, 21, divisor, random);
    }
  }
  SUCCEED();
}

TEST_CASE("a packet reduction waits for each source, and gives up when it is told to") {
  using A = tutti::cuda::Arithmetic<DataType::uint64, ReduceOp::sum>;
  BlockBarrier barrier;
  const Block block(0, 1, barrier);
  for (size_t missing = 0; missing < 6; ++missing) {
    std::vector<std::vector<DevicePacket>> packets(6, std::vector<DevicePacket>(3, DevicePacket{5, kFlag}));
    std::vector<tutti::cuda::PacketSource> sources;
    for (auto& of_source : packets) sources.push_back({of_source.data(), nullptr});
    packets[missing][1] = {5, kFlag + 1};
    std::vector<uint64_t> dst(3, 1);
    Impatience impatient;
    const auto take = [&](auto& spin) {
      return tutti::cuda::reduce_packets<A>(block, {dst.data(), sources.data(), 6}, 24, kFlag, 0, spin);
    };
    CHECK_FALSE(take(impatient));
    CHECK(impatient.seen == std::vector<std::pair<uint64_t, int>>{{kFlag + 1, static_cast<int>(missing)}});
    CHECK(dst == std::vector<uint64_t>{30, 1, 1});

    // The packet comes at the third look.
    struct Late {
      DevicePacket* packet;
      int looks = 0;
      bool keep_waiting(uint64_t, int) {
        if (++looks == 3) tutti::cuda::store_packet(packet, {6, kFlag});
        return looks < 10;
      }
    } late{&packets[missing][1]};
    CHECK(take(late));
    CHECK(late.looks == 3);
    CHECK(dst == std::vector<uint64_t>{30, 31, 30});
  }
}

TEST_CASE("an empty message is one packet that is awaited") {
  using A = tutti::cuda::Arithmetic<DataType::float32, ReduceOp::max>;
  std::vector<DevicePacket> packet(1, DevicePacket{0, 0});
  const tutti::cuda::PacketSource sources[] = {{nullptr, nullptr}, {packet.data(), nullptr}};
  BlockBarrier barrier;
  const Block block(0, 1, barrier);
  Impatience early, in_time;
  CHECK_FALSE(tutti::cuda::reduce_packets<A>(block, {nullptr, sources, 2}, 0, kFlag, 0, early));
  CHECK(early.seen.size() == 1);
  tutti::cuda::put_packets(block, packet.data(), nullptr, 0, kFlag);
  CHECK(tutti::cuda::reduce_packets<A>(block, {nullptr, sources, 2}, 0, kFlag, 0, in_time));
}

TEST_CASE("two blocks all-reduce packets with changing data") {
  for (const unsigned threads : {1u, 2u}) {
    for (const size_t count : {size_t{1}, size_t{17}, size_t{64}}) {
      Exchange shared(count * sizeof(int32_t));
      std::vector<int32_t> input[2], output[2];
      for (auto& of_rank : input) of_rank.resize(count);
      for (auto& of_rank : output) of_rank.resize(count);
      const uint32_t epochs = kEpochs / (threads * threads);
      std::thread peer([&] {
        at_once(threads,
                [&](const Block& block) { exchange(shared, 1, block, input[1], output[1], epochs); });
      });
      at_once(threads, [&](const Block& block) { exchange(shared, 0, block, input[0], output[0], epochs); });
      peer.join();
      INFO(threads << " threads, " << count << " elements");
      CHECK(shared.wrong.load() == 0);
    }
  }
}
