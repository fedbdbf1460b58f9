// Packets on one thread: what a line holds, what a reduction of lines gives, where it stops and goes on.
#include <random>

#include "tests/catch.h"
#include "tests/reduce/operands.h"

namespace {

using operands::Bytes;
using operands::Guarded;
using tutti::DataType;
using tutti::kPacketData;
using tutti::Packet;
using tutti::packets_for;
using tutti::ReduceOp;
using tutti::reduce::Kernels;
using tutti::reduce::PacketJob;
using tutti::reduce::PacketSource;

constexpr uint64_t kFlag = 0x0000000700001234;
constexpr unsigned char kPoison = 0x3c;

/// Lines as they are after older messages: flags of another epoch, data that no one may look at.
std::vector<Packet> used_lines(size_t lines) {
  std::vector<Packet> packets(lines);
  for (auto& packet : packets) {
    std::memset(packet.data, 0xff, kPacketData);
    packet.flag.store(kFlag - (uint64_t{1} << 32));
  }
  return packets;
}

/// One message from several sources: those with an odd number (or all) come in packets, the others are plain.
struct Message {
  std::vector<Bytes> data;
  std::vector<std::vector<Packet>> lines;
  std::vector<std::unique_ptr<Guarded>> plain;
  std::vector<PacketSource> sources;

  Message(const Kernels& kernels, DataType type, size_t count, size_t n, bool all_packets,
          std::mt19937_64& random) {
    const size_t bytes = count * tutti::size_of(type);
    for (size_t s = 0; s < n; ++s) {
      data.push_back(operands::random_elements(type, count, random));
      plain.push_back(std::make_unique<Guarded>(bytes + 1));
      unsigned char* at = plain.back()->last(bytes);
      if (bytes != 0) std::memcpy(at, data.back().data(), bytes);
      lines.push_back(used_lines(packets_for(bytes)));
      if (all_packets || s % 2 == 1) {
        kernels.put_packets(lines.back().data(), at, bytes, kFlag);
        sources.push_back({lines.back().data(), nullptr});
      } else {
        sources.push_back({nullptr, at});
      }
    }
  }
};

void check(const Kernels& kernels, DataType type, ReduceOp op, size_t n, size_t count, uint32_t divisor,
           bool all_packets, std::mt19937_64& random) {
  Message message(kernels, type, count, n, all_packets, random);
  const Bytes expected = reference::reduce(type, op, message.data, count, divisor);
  const size_t bytes = expected.size();
  Guarded dst(bytes + 1);
  for (size_t before : {size_t{0}, tutti::size_of(type), size_t{1}}) {
    dst.fill(kPoison);
    unsigned char* to = dst.last(bytes, before);
    const PacketJob job{to, message.sources.data(), static_cast<int>(n), bytes, kFlag, divisor};
    const size_t done = kernels.reduce_packets[static_cast<size_t>(op)][static_cast<size_t>(type)](job, 0);
    const bool same = bytes == 0 || std::memcmp(to, expected.data(), bytes) == 0;
    if (done == packets_for(bytes) && same && dst.only_within(to, bytes, kPoison)) continue;
    FAIL(operands::describe(kernels, type, op)
         << ", " << n << " sources, " << count << " elements, divisor " << divisor << ": line " << done
         << " of " << packets_for(bytes) << (same ? "" : ", wrong data")
         << (dst.only_within(to, bytes, kPoison) ? "" : ", wrote outside dst"));
  }
}

}  // namespace

TEST_CASE("put_packets lays the message out line by line") {
  std::mt19937_64 random(1);
  for (const Kernels* kernels : operands::all_kernels()) {
    for (size_t bytes = 0; bytes <= 400; ++bytes) {
      const Bytes data = operands::random_elements(DataType::uint8, bytes, random);
      Guarded src(bytes + 1);
      if (bytes != 0) std::memcpy(src.last(bytes), data.data(), bytes);
      std::vector<Packet> lines = used_lines(packets_for(bytes) + 1);
      kernels->put_packets(lines.data(), src.last(bytes), bytes, kFlag);
      bool right = lines.back().flag.load() != kFlag;  // one line more than the message takes stays as it was
      for (size_t i = 0; i < packets_for(bytes); ++i) {
        const size_t in_line = std::min(kPacketData, bytes - i * kPacketData);
        right = right && lines[i].flag.load() == kFlag;
        right =
            right && (bytes == 0 || std::memcmp(lines[i].data, data.data() + i * kPacketData, in_line) == 0);
      }
      INFO(kernels->name << " " << bytes << " bytes");
      REQUIRE(right);
    }
  }
}

TEST_CASE("packet reductions equal the scalar reference bit by bit") {
  const auto type = static_cast<DataType>(GENERATE(range(0, tutti::kDataTypes)));
  const auto op = static_cast<ReduceOp>(GENERATE(range(0, tutti::kReduceOps)));
  std::mt19937_64 random(static_cast<uint64_t>(type) * 100 + static_cast<uint64_t>(op));
  for (const Kernels* kernels : operands::all_kernels()) {
    for (size_t n : {1, 2, 3, 5, 16}) {
      for (size_t count : {0, 1, 2, 3, 5, 7, 13, 14, 15, 27, 28, 29, 56, 57, 100, 250, 511, 1031}) {
        for (bool all_packets : {false, true}) check(*kernels, type, op, n, count, 0, all_packets, random);
      }
    }
    if (op != ReduceOp::avg) continue;
    for (uint32_t divisor : {2u, 3u, 16u, 255u}) {
      for (size_t n : {1, 2, 3}) {
        for (size_t count : {1, 14, 100}) check(*kernels, type, op, n, count, divisor, true, random);
      }
    }
  }
  SUCCEED();
}

TEST_CASE("a reduction stops before a line that is not there, and goes on from it") {
  std::mt19937_64 random(9);
  for (const Kernels* kernels : operands::all_kernels()) {
    for (size_t n : {1, 2, 3}) {
      for (size_t count : {1, 14, 15, 40, 140, 143}) {
        Message message(*kernels, DataType::float32, count, n, true, random);
        const Bytes expected = reference::reduce(DataType::float32, ReduceOp::sum, message.data, count, 0);
        const size_t lines = packets_for(expected.size());
        for (auto& of_source : message.lines) {
          for (auto& line : of_source) line.flag.store(kFlag - 1);
        }
        Bytes dst(lines * kPacketData, kPoison);
        const PacketJob job{dst.data(), message.sources.data(), static_cast<int>(n), expected.size(), kFlag,
                            0};
        const auto fn = kernels->reduce_packets[0][static_cast<size_t>(DataType::float32)];
        size_t next = 0;
        for (size_t line = 0; line < lines; ++line) {
          const auto raise = [&](size_t s, size_t i, uint64_t flag) { message.lines[s][i].flag.store(flag); };
          for (size_t s = 0; s < n; ++s) {  // the line is complete only with its last source
            if (line + 1 < lines) raise(s, line + 1, kFlag);  // early: must not be taken before this one
            next = fn(job, next);
            REQUIRE(next == line);
            REQUIRE(dst[line * kPacketData] == kPoison);
            if (line + 1 < lines) raise(s, line + 1, kFlag + 1);
            raise(s, line, kFlag);
          }
          next = fn(job, next);
          REQUIRE(next == line + 1);
        }
        REQUIRE(next == lines);
        REQUIRE(fn(job, next) == lines);
        REQUIRE(std::memcmp(dst.data(), expected.data(), expected.size()) == 0);
      }
    }
  }
}

TEST_CASE("an empty message is one flag") {
  for (const Kernels* kernels : operands::all_kernels()) {
    std::vector<Packet> line = used_lines(1);
    const PacketSource sources[] = {{nullptr, nullptr}, {line.data(), nullptr}};
    const PacketJob job{nullptr, sources, 2, 0, kFlag, 0};
    for (const auto& of_op : kernels->reduce_packets) {
      for (const auto fn : of_op) {
        line[0].flag.store(0);
        REQUIRE(fn(job, 0) == 0);
        kernels->put_packets(line.data(), nullptr, 0, kFlag);
        REQUIRE(fn(job, 0) == 1);
        REQUIRE(fn(job, 1) == 1);
      }
    }
  }
}

TEST_CASE("a packet reduction may replace its plain source") {
  std::mt19937_64 random(11);
  for (const Kernels* kernels : operands::all_kernels()) {
    for (size_t count : {1, 3, 7, 8, 60, 250}) {
      Message message(*kernels, DataType::float64, count, 2, false, random);
      const Bytes expected = reference::reduce(DataType::float64, ReduceOp::sum, message.data, count, 0);
      unsigned char* inout = message.plain[0]->last(expected.size());
      const PacketJob job{inout, message.sources.data(), 2, expected.size(), kFlag, 0};
      kernels->reduce_packets[0][static_cast<size_t>(DataType::float64)](job, 0);
      CHECK(std::memcmp(inout, expected.data(), expected.size()) == 0);
    }
  }
}
