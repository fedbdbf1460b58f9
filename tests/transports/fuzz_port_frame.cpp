// Fuzz target: no sequence of messages, good or bad, makes a receiver write outside its slots, lower a counter, or raise one
// before what precedes it has come.
//
// The input is a list of messages: two bytes say how many bytes of header follow (modulo 256) and how many of data (modulo 256), then
// the header, then the data. A whole header that begins with 0 gets the magic and the key, or else libFuzzer would make little but
// strangers. libFuzzer drives this function where TUTTI_FUZZ=ON, test_fuzz_port_frame.cpp with a seeded
// generator everywhere. Returns 0 as libFuzzer wants it.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/transports/guarded_slots.h"
#include "transports/port_frame.h"
#include "transports/port_receiver.h"
#include "transports/ucx/address.h"

namespace {

using namespace tutti;
using namespace tutti::ucx;

constexpr size_t kSlots = 512;
constexpr PortFrameLimits kLimits = {.rank = 1, .ranks = 3, .key = 0x4b4b4b4b4b4b4b4b, .slots_bytes = kSlots};

void demand(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz_port_frame: violated: %s\n", what);
  std::abort();
}

struct Counters {
  uint64_t first = 0;
  uint64_t second = 0;
  uint64_t granted = 0;
};

Counters read(const Inbox& inbox) {
  return {inbox.line.counters[0], inbox.line.counters[1], inbox.granted};
}

void check_address(const uint8_t* data, size_t size) {
  try {
    const Address address = unpack({reinterpret_cast<const char*>(data), size});
    demand(pack(address) == std::string(reinterpret_cast<const char*>(data), size),
           "an address is packed as it came");
  } catch (const Error& error) {
    demand(error.code() == Result::invalid_argument, "a bad address is an invalid argument");
  }
}

class Target {
 public:
  Target() : guarded_(kSlots), receiver_(guarded_.slots()) {}

  void give(const uint8_t* header, size_t header_bytes, const uint8_t* data, size_t data_bytes) {
    PortFrame known;
    if (header_bytes == sizeof(PortFrame) && header[0] == 0) {
      std::memcpy(&known, header, sizeof(PortFrame));
      known.magic = kPortFrameMagic;
      known.key = kLimits.key;
      header = reinterpret_cast<const uint8_t*>(&known);
    }
    const PortFrameCheck check = parse_port_frame(header, header_bytes, data_bytes, kLimits);
    demand((check.verdict == PortFrameCheck::Verdict::good) == check.reason.empty(),
           "a refusal has a reason");
    if (check.verdict != PortFrameCheck::Verdict::stranger)
      demand(check.frame.source < kLimits.ranks && check.frame.source != kLimits.rank,
             "who is broken is a peer");
    if (check.verdict != PortFrameCheck::Verdict::good || is_broken_) return;
    if (++taken_ == 5) receiver_.attach(inbox_);
    const Counters before = read(inbox_);
    is_broken_ = !receiver_.take(check.frame, data).empty();
    const Counters after = read(inbox_);
    demand(after.first >= before.first && after.second >= before.second && after.granted >= before.granted,
           "counters only grow");
    demand(guarded_.are_guards_whole(), "bytes outside the slots are not written");
  }

 private:
  port_test::GuardedSlots guarded_;
  PortReceiver receiver_;
  Inbox inbox_ = {};
  int taken_ = 0;
  bool is_broken_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  check_address(data, size);
  Target target;
  while (size >= 2) {
    const size_t header_bytes = std::min<size_t>(data[0], size - 2);
    const size_t data_bytes = std::min<size_t>(data[1], size - 2 - header_bytes);
    target.give(data + 2, header_bytes, data + 2 + header_bytes, data_bytes);
    data += 2 + header_bytes + data_bytes;
    size -= 2 + header_bytes + data_bytes;
  }
  return 0;
}
