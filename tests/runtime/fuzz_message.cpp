// Fuzz target: whatever bytes a datagram of the set-up socket has, parse_message gives either a message that means what the bytes
// say, or a problem that is fit to print.
//
// libFuzzer drives this function where TUTTI_FUZZ=ON, test_fuzz_message.cpp with a seeded generator everywhere.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "runtime/bootstrap/message.h"

namespace {

using namespace tutti;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz_message: violated: %s\n", what);
  std::abort();
}

bool fit_to_print(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Parsed parsed = parse_message(data, size);
  const MessageHeader& header = parsed.message.header;
  require(parsed.message.descriptors.empty(), "bytes bring no descriptors");
  if (!parsed.problem.empty()) {
    require(parsed.problem.size() < 200 && fit_to_print(parsed.problem), "a problem is short and printable");
    require(parsed.message.text.empty(), "a malformed message has no text");
    return 0;
  }
  require(size == sizeof(header) + header.text_size, "a message is as long as it says");
  require(std::memcmp(&header, data, sizeof(header)) == 0, "the header is the first bytes");
  require(header.magic == MessageHeader::kMagic && header.version == MessageHeader::kVersion,
          "magic and version");
  require(header.type >= MessageType::hello && header.type <= MessageType::error, "the type exists");
  require(parsed.message.text.size() == header.text_size && header.text_size <= kMaxMessageText,
          "the text's size");
  require(std::memcmp(parsed.message.text.data(), data + sizeof(header), header.text_size) == 0,
          "the text's bytes");
  return 0;
}
