// Fuzz target: nothing that a peer can write into a mailbox, and no immediate, makes a receiver write outside its slots or lower a counter;
// and a header that can be read is packed again to the same frame.
//
// The input is a list of messages: an immediate (4 bytes), then for a record one byte that says how many bytes of it follow; those behind them
// are what was there before. libFuzzer drives this function where TUTTI_FUZZ=ON, test_verbs_record.cpp with a seeded generator everywhere.
// Returns 0 as libFuzzer wants it.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "tests/transports/guarded_slots.h"
#include "transports/port_receiver.h"
#include "transports/verbs/immediate.h"
#include "transports/verbs/record.h"

namespace {

using namespace tutti;
using namespace tutti::verbs;

constexpr size_t kSlots = 512;
constexpr size_t kMostData = 168;

void demand(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz_verbs_record: violated: %s\n", what);
  std::abort();
}

class Target {
 public:
  Target() : guarded_(kSlots), record_(kMostHeader + kMostData), receiver_(guarded_.slots()) {
    receiver_.attach(inbox_);
  }

  void give(uint32_t bits, std::span<const uint8_t> written) {
    const Immediate immediate = unpack_immediate(bits);
    const uint64_t number = whole_number(immediate.number, receiver_.applied());
    std::memcpy(record_.data(), written.data(), std::min(written.size(), record_.size()));
    if (immediate.kind == Immediate::Kind::record) check_header();
    if (is_broken_) return;
    const uint64_t before[] = {inbox_.line.counters[0], inbox_.line.counters[1]};
    if (immediate.kind == Immediate::Kind::record) {
      is_broken_ = !take_record(record_.data(), kMostData, number, kSlots, receiver_).problem.empty();
    } else if (immediate.kind == Immediate::Kind::bare_signal) {
      is_broken_ =
          !receiver_.take({.sequence = number, .kind = kBareSignal, .index = immediate.index}, nullptr)
               .empty();
    }
    demand(inbox_.line.counters[0] >= before[0] && inbox_.line.counters[1] >= before[1],
           "counters only grow");
    demand(guarded_.are_guards_whole(), "bytes outside the slots are not written");
  }

 private:
  void check_header() const {
    const UnpackedRecord unpacked = unpack_record(record_.data());
    if (unpacked.header_bytes == 0) return;
    demand(unpacked.header_bytes <= kMostHeader, "a header fits");
    std::byte again[kMostHeader];
    demand(pack_record(unpacked.frame, again) <= unpacked.header_bytes, "it is packed as short as it can be");
    const UnpackedRecord twice = unpack_record(again);
    demand(std::memcmp(&twice.frame, &unpacked.frame, sizeof(PortFrame)) == 0,
           "a frame is unpacked as it was packed");
  }

  port_test::GuardedSlots guarded_;
  std::vector<std::byte> record_;
  PortReceiver receiver_;
  Inbox inbox_ = {};
  bool is_broken_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Target target;
  while (size > sizeof(uint32_t)) {
    uint32_t bits = 0;
    std::memcpy(&bits, data, sizeof(bits));
    const size_t bytes = std::min<size_t>(data[sizeof(bits)], size - sizeof(bits) - 1);
    target.give(bits, {data + sizeof(bits) + 1, bytes});
    data += sizeof(bits) + 1 + bytes;
    size -= sizeof(bits) + 1 + bytes;
  }
  return 0;
}
