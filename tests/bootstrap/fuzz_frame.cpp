// Fuzz target: whatever bytes a control connection has, parse_frame gives either a frame that means what the bytes say, or a problem
// that is fit to print; and every payload is read as what it is, or as nothing.
//
// libFuzzer drives this function where TUTTI_FUZZ=ON, test_fuzz_frame.cpp with a seeded generator everywhere.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "runtime/bootstrap/frame.h"

namespace {

using namespace tutti;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz_frame: violated: %s\n", what);
  std::abort();
}

bool fit_to_print(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

bool fit_to_log(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == '\n' || (byte >= ' ' && byte != 0x7f);
  });
}

/// What a payload was read as is written as the same bytes again.
void read_payload(std::string_view payload) {
  if (const auto hello = read_hello(payload)) require(write_hello(*hello) == payload, "hello");
  if (const auto neighbours = read_neighbours(payload)) {
    require(neighbours->contacts.size() <= kMostNeighbours, "few neighbours");
    require(write_neighbours(*neighbours) == payload, "neighbours");
  }
  if (const auto report = read_error(payload)) {
    require(report->code >= Result::invalid_argument && report->code <= Result::internal_error,
            "a code of an error");
    require(report->text.size() == payload.size() - 4 && fit_to_log(report->text), "a text");
  }
  if (const auto numbers = read_numbers(payload)) {
    require((payload.size() == 16 ? write_numbers((*numbers)[0], (*numbers)[1])
                                  : write_numbers((*numbers)[0])) == payload,
            "numbers");
  }
  if (const auto entry = read_entry(payload)) require(write_entry(*entry) == payload, "entry");
  if (const auto state = read_gone(payload)) {
    require(*state != PeerState::alive && write_gone(*state) == payload, "gone");
  }
  if (const auto number = read_query(payload)) require(write_query(*number) == payload, "query");
  if (const auto answer = read_answer(payload)) require(write_answer(*answer) == payload, "answer");
  if (const auto time = read_time_answer(payload)) {
    require(write_time_answer(*time) == payload, "time answer");
    if (time->to_root) {
      require(time->to_root->valid(), "a valid map");
      time->to_root->then(*time->to_root).error_at(time->to_root->map(time->time));
    }
  }
  if (const auto stamps = read_stamps(payload)) {
    require(stamps->epochs.size() <= StampBatch::kMost && write_stamps(*stamps) == payload, "stamps");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string problem;
  const Frame frame = parse_frame(data, size, problem);
  read_payload({reinterpret_cast<const char*>(data), size});
  if (!problem.empty()) {
    require(problem.size() < 200 && fit_to_print(problem), "a problem is short and printable");
    require(frame.payload.empty(), "a malformed frame has no payload");
    return 0;
  }
  const FrameHeader& header = frame.header;
  require(header.type >= FrameType::hello && header.type <= FrameType::ask_stamps, "the type exists");
  require(header.length == frame.payload.size() && header.length <= most_payload(header.type), "the length");
  require(frame_bytes(header.type, header.rank, frame.payload) ==
              std::string(reinterpret_cast<const char*>(data), size),
          "a frame is written as it was read");
  read_payload(frame.payload);
  return 0;
}
