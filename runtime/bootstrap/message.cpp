#include "runtime/bootstrap/message.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <system_error>

namespace tutti {

Parsed parse_message(const unsigned char* bytes, size_t size) {
  Parsed parsed;
  MessageHeader& header = parsed.message.header;
  if (size < sizeof(header)) {
    parsed.problem = fmt::format("a message of {} bytes, expected at least {}", size, sizeof(header));
    return parsed;
  }
  std::memcpy(&header, bytes, sizeof(header));
  if (header.magic != MessageHeader::kMagic) {
    parsed.problem = fmt::format("a message that begins with {:#010x}, expected {:#010x}", header.magic,
                                 MessageHeader::kMagic);
  } else if (header.version != MessageHeader::kVersion) {
    parsed.problem = fmt::format("protocol version {}, expected {}", header.version, MessageHeader::kVersion);
  } else if (header.type < MessageType::hello || header.type > MessageType::error) {
    parsed.problem = fmt::format("message type {}", static_cast<int>(header.type));
  } else if (header.text_size > kMaxMessageText || header.text_size != size - sizeof(header)) {
    parsed.problem = fmt::format("{} bytes of text announced, {} came, at most {} allowed", header.text_size,
                                 size - sizeof(header), kMaxMessageText);
  } else {
    parsed.message.text.assign(reinterpret_cast<const char*>(bytes) + sizeof(header), header.text_size);
  }
  return parsed;
}

bool send_message(int socket, const MessageHeader& header, const std::string& text,
                  const std::vector<int>& descriptors, int flags) {
  MessageHeader full = header;
  const size_t length = std::min(text.size(), kMaxMessageText);
  full.text_size = static_cast<uint32_t>(length);
  iovec parts[2] = {{&full, sizeof(full)},
                    {const_cast<char*>(text.data()), length}};  // NOLINT: iovec is not const
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxMessageDescriptors * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  if (!descriptors.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
    std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptors.size() * sizeof(int));
  }
  ssize_t sent = 0;
  do {
    sent = sendmsg(socket, &message, MSG_NOSIGNAL | flags);
  } while (sent < 0 && errno == EINTR);
  return sent >= 0;
}

Parsed receive_message(int socket) {
  static_assert(sizeof(MessageHeader) == 40);
  unsigned char bytes[sizeof(MessageHeader) + kMaxMessageText];
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxMessageDescriptors * sizeof(int))];
  iovec part = {bytes, sizeof(bytes)};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t got = 0;
  // A peer that closes with something unread resets the connection, which is said once before what it has sent comes.
  bool was_reset = false;
  do {
    was_reset = got < 0 && errno == ECONNRESET;
    got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (got < 0 && (errno == EINTR || (errno == ECONNRESET && !was_reset)));

  // Descriptors are taken over first, so that they are closed whatever the message is.
  std::vector<Descriptor> descriptors;
  if (got > 0) {
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
        descriptors.emplace_back(fd);
      }
    }
  }
  Parsed parsed;
  if (got <= 0) {
    parsed.problem = got == 0 || errno == ECONNRESET ? kClosed : std::system_category().message(errno);
    return parsed;
  }
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    parsed.problem = (message.msg_flags & MSG_TRUNC) != 0
                         ? "an oversized message"
                         : fmt::format(
                               "more descriptors than this process can take (at most {} in a message; "
                               "{} came; 'ulimit -n' is the limit of open files)",
                               kMaxMessageDescriptors, descriptors.size());
    return parsed;
  }
  parsed = parse_message(bytes, static_cast<size_t>(got));
  parsed.message.descriptors = std::move(descriptors);
  return parsed;
}

MessageHeader error_header(Result code) {
  MessageHeader header;
  header.type = MessageType::error;
  header.code = static_cast<int32_t>(code);
  return header;
}

Error error_of(const Message& message) {
  const int32_t code = message.header.code;
  const bool known = code >= static_cast<int32_t>(Result::invalid_argument) &&
                     code <= static_cast<int32_t>(Result::internal_error);
  return {known ? static_cast<Result>(code) : Result::internal_error, message.text};
}

}  // namespace tutti
