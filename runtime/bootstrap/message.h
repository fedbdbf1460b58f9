// Messages between the processes of a node that are being set up: one datagram each, a fixed header, a text, and descriptors beside it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/descriptor.h"
#include "core/error.h"
#include "runtime/bootstrap/unique_id.h"

namespace tutti {

enum class MessageType : uint16_t { hello = 1, table = 2, ready = 3, go = 4, parcel = 5, error = 6 };

/// The fixed part, in the byte order of the host: both ends are on it.
struct MessageHeader {
  static constexpr uint32_t kMagic = 0x74757474;
  static constexpr uint16_t kVersion = 1;
  uint32_t magic = kMagic;
  uint16_t version = kVersion;
  MessageType type = MessageType::hello;
  int32_t rank = 0;  // hello, ready: of the sender. table: the first rank it describes. parcel: whose it is
  int32_t size = 0;  // hello: ranks of the communicator. table: ranks described here. parcel: pieces it has
  int32_t code = 0;  // error: a Result. parcel: the number of this piece
  uint32_t text_size = 0;
  unsigned char secret[UniqueId::kSecretBytes] = {};
};

inline constexpr size_t kMaxMessageText = 16384;
inline constexpr size_t kMaxMessageDescriptors = 128;

struct Message {
  MessageHeader header;
  std::string text;
  std::vector<Descriptor> descriptors;
};

/// What a datagram says, or why it says nothing.
struct Parsed {
  Message message;
  std::string problem;  // empty when it is well formed
};

/// Parses the bytes of one datagram. Safe on any bytes.
Parsed parse_message(const unsigned char* bytes, size_t size);

/// Sends one message; false with errno when the peer is gone. `flags` as of sendmsg(): with MSG_DONTWAIT also when it would block.
bool send_message(int socket, const MessageHeader& header, const std::string& text,
                  const std::vector<int>& descriptors, int flags = 0);

/// The problem of a message that does not come because the peer has closed.
inline constexpr const char* kClosed = "closed";

/// Receives one message that has arrived (the socket is readable).
Parsed receive_message(int socket);

/// The header of a message that says why this ends; its text is the error's.
MessageHeader error_header(Result code);

/// What a message of type error says. Its code is checked: it comes from outside.
Error error_of(const Message& message);

}  // namespace tutti
