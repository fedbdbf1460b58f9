// How a record lies in a mailbox: a header, and behind it the data of a put that is small enough.
//
//   control, 8 bytes | ten numbers of a frame, each in as few bytes as it needs, the low ones first | data
//
//   control: bits 0-7 kind, 8-15 counter, 16-55 how many bytes each number has (four bits each), the rest 0
//
// Most numbers are small or 0, so that the header of a signal takes 10 to 40 bytes, where a frame has 104. Who sent a record, and its number,
// are known from the queue pair and the immediate that it came by.
#pragma once

#include <cstddef>
#include <cstdint>

#include <string>

#include "transports/port_frame.h"
#include "transports/port_receiver.h"

namespace tutti::verbs {

inline constexpr size_t kRecordNumbers = 10;
/// What a header takes at most; so much of a record is written and read whatever it holds.
inline constexpr size_t kMostHeader = sizeof(uint64_t) * (1 + kRecordNumbers);

/// Writes the header for `frame` to the kMostHeader bytes at `to`, and returns how long it is.
size_t pack_record(const PortFrame& frame, std::byte* to);

struct UnpackedRecord {
  PortFrame frame;  // what the header says of it; the rest as in a new one. Nothing of it has been checked
  size_t header_bytes = 0;  // 0: this is no header
};
/// Reads the kMostHeader bytes at `from`, each once.
UnpackedRecord unpack_record(const std::byte* from);

struct TakenRecord {
  std::string problem;    // why the peer is broken; empty: nothing is amiss
  uint64_t received = 0;  // how many of this rank's records have been applied there, as it says
};
/// Gives `receiver` record `number` of its peer, which lies in the kMostHeader + `most_data` bytes at `record`, if it makes sense. `slots_bytes`: of this rank.
TakenRecord take_record(const std::byte* record, size_t most_data, uint64_t number, uint64_t slots_bytes,
                        PortReceiver& receiver);

}  // namespace tutti::verbs
