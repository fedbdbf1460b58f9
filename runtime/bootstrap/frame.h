// Frames of the control connections: a fixed header of 16 bytes, then a payload; every number big endian.
//
//     magic 4 | version 2 | type 2 | rank 4 | length of the payload 4 | payload
//
// Each type has a largest payload, so nobody can announce more than that; where payloads have a fixed layout, it is a struct below
// with a function that reads it. Reading is safe on any bytes: it gives what they say, or what is wrong with them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "runtime/bootstrap/clock_map.h"
#include "runtime/bootstrap/control.h"
#include "runtime/bootstrap/interfaces.h"
#include "runtime/bootstrap/stamp_batch.h"

namespace tutti {

enum class FrameType : uint16_t {
  hello = 1,          // a rank that has connected says who it is
  welcome = 2,        // the answer, with the secret: the one called belongs to the job too
  limit = 3,          // a rank tells rank 0 how much longer it will wait
  show_digest = 4,    // rank 0 asks for the text behind a hash that differs from its own
  digest = 5,         // the text
  neighbours = 6,     // rank 0 tells a rank whom to connect to
  ready = 7,          // a rank is connected with its neighbours and knows the clock
  go = 8,             // all ranks are ready
  error = 9,          // set-up ends
  ping = 10,          // what time is it?
  pong = 11,          // the time
  clock = 12,         // a rank's own offset from rank 0, told to its children
  entry = 13,         // all_gather: one rank's bytes, on the way to rank 0
  table = 14,         // all_gather: one rank's bytes, on the way down
  heartbeat = 15,     // nothing, each second
  spread_error = 16,  // the first error of the job
  gone = 17,          // a rank has closed or ended
  query = 18,         // a survey
  answer = 19,        // to a survey
  time_query = 20,    // what do you know of the time? To the parent, all the time
  time_answer = 21,   // the answer
  stamps = 22,        // a node's arrivals and exits, on the way to rank 0
  ask_stamps = 23,    // rank 0 wants them now
};

struct FrameHeader {
  static constexpr size_t kBytes = 16;
  static constexpr uint32_t kMagic = 0x74747463;
  static constexpr uint16_t kVersion = 1;
  FrameType type = FrameType::heartbeat;
  int32_t rank = 0;  // whom the frame is about: the sender, or the rank that it is forwarded for
  uint32_t length = 0;
};

struct Frame {
  FrameHeader header;
  std::string payload;
};

inline constexpr size_t kMostErrorText = 16384;
inline constexpr size_t kMostDigest = 65536;
inline constexpr size_t kMostEntry = 1 << 20;
inline constexpr size_t kMostNeighbours = 2;  // that a rank connects to

/// The largest payload of a type.
size_t most_payload(FrameType type);

/// The bytes of a frame. A text that is too long is cut.
std::string frame_bytes(FrameType type, int rank, std::string_view payload);

/// The header in kBytes bytes; `problem` says what is wrong with them, in printable words, or is empty.
FrameHeader parse_frame_header(const unsigned char* bytes, std::string& problem);

/// One whole frame. Safe on any bytes.
Frame parse_frame(const unsigned char* bytes, size_t size, std::string& problem);

// ---- payloads. Each read_ function returns nothing where the bytes are not such a payload.

struct Hello {
  static constexpr size_t kBytes = UniqueId::kSecretBytes + 4 + 2 + 16 + 8;
  std::array<unsigned char, UniqueId::kSecretBytes> secret{};
  int32_t size = 0;     // ranks of the communicator
  uint16_t port = 0;    // where this rank listens for others; 0: it does not
  IpAddress address;    // the same
  uint64_t digest = 0;  // digest_hash()
};
std::string write_hello(const Hello& hello);
std::optional<Hello> read_hello(std::string_view payload);

struct Contact {
  int32_t rank = 0;
  uint16_t port = 0;
  IpAddress address;
};
struct Neighbours {
  uint64_t remaining = 0;  // ns in which rank 0 wants everybody to be ready
  std::vector<Contact> contacts;
};
std::string write_neighbours(const Neighbours& neighbours);
std::optional<Neighbours> read_neighbours(std::string_view payload);

struct ErrorReport {
  Result code = Result::internal_error;
  std::string text;  // control characters other than the end of a line are replaced
};
std::string write_error(Result code, const std::string& text);
std::optional<ErrorReport> read_error(std::string_view payload);

/// limit: ns. ping: one number. pong: what was asked, and the time. clock: offset and error.
std::string write_numbers(uint64_t first, std::optional<uint64_t> second = std::nullopt);
std::optional<std::array<uint64_t, 2>> read_numbers(std::string_view payload);

struct Entry {
  uint32_t sequence = 0;  // which all_gather
  std::string_view bytes;
};
std::string write_entry(const Entry& entry);
std::optional<Entry> read_entry(std::string_view payload);

std::string write_gone(PeerState state);
std::optional<PeerState> read_gone(std::string_view payload);

struct Answer {
  int32_t asker = 0;
  uint32_t number = 0;  // of the survey, counted by the asker
  RankStatus status;    // without its rank, which is the frame's
};
std::string write_query(uint32_t number);
std::optional<uint32_t> read_query(std::string_view payload);
std::string write_answer(const Answer& answer);
std::optional<Answer> read_answer(std::string_view payload);

/// What a parent says of the time. (A time query is one number: when it was sent.)
struct TimeAnswer {
  static constexpr size_t kBytes = 8 + 8 + 8;
  static constexpr size_t kMapBytes = 7 * 8;
  uint64_t sent = 0;                // as the query said
  uint64_t time = 0;                // its stamp_clock_ns() when it answered
  uint64_t scale = 0;               // ns per tick of its clock, times 2^32
  std::optional<ClockMap> to_root;  // from its clock to that of rank 0, once it knows
};
std::string write_time_answer(const TimeAnswer& answer);
std::optional<TimeAnswer> read_time_answer(std::string_view payload);

/// At most StampBatch::kMost summaries.
std::string write_stamps(const StampBatch& batch);
std::optional<StampBatch> read_stamps(std::string_view payload);

}  // namespace tutti
