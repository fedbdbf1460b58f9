// Two processes of a test that pass each other messages and descriptors. Every wait is bounded.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "core/descriptor.h"
#include "tests/runtime/support/expect.h"

/// Both ends; made before the processes are forked. Process 0 uses the first, process 1 the second.
class Passing {
 public:
  Passing() {
    int ends[2];
    expect(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0, "socketpair: {}",
           strerror(errno));
    for (int i = 0; i < 2; ++i) {
      ends_[i] = tutti::Descriptor(ends[i]);
      const int bytes = 1 << 20;
      setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    }
  }

  /// Closes the other ends, so that the end of a process is noticed.
  void keep(int own) { ends_[1 - own].reset(); }
  void keep_none() {
    for (tutti::Descriptor& end : ends_) end.reset();
  }

  void send(int from, const std::string& bytes, const std::vector<tutti::Descriptor>& descriptors = {}) {
    alignas(cmsghdr) char control[CMSG_SPACE(kMost * sizeof(int))] = {};
    iovec part = {const_cast<char*>(bytes.data()), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    expect(descriptors.size() <= kMost, "{} descriptors are too many", descriptors.size());
    if (!descriptors.empty()) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
      for (size_t i = 0; i < descriptors.size(); ++i) {
        const int fd = descriptors[i].get();
        std::memcpy(CMSG_DATA(header) + i * sizeof fd, &fd, sizeof fd);
      }
    }
    expect(sendmsg(ends_[from].get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()),
           "sendmsg: {}", strerror(errno));
  }

  struct Received {
    std::string bytes;
    std::vector<tutti::Descriptor> descriptors;
  };

  Received receive(int at) {
    pollfd ready = {ends_[at].get(), POLLIN, 0};
    expect(poll(&ready, 1, 60'000) == 1, "process {} has waited 60 s for a message", at);
    std::string bytes(size_t{1} << 16, '\0');
    alignas(cmsghdr) char control[CMSG_SPACE(kMost * sizeof(int))] = {};
    iovec part = {bytes.data(), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t got = recvmsg(ends_[at].get(), &message, MSG_CMSG_CLOEXEC);
    expect(got > 0, "process {}: the other one has ended, or recvmsg: {}", at, strerror(errno));
    Received received{bytes.substr(0, static_cast<size_t>(got)), {}};
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
      const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
        received.descriptors.emplace_back(fd);
      }
    }
    return received;
  }

  /// The other process says this, and nothing else.
  void expect_word(int at, const std::string& word) {
    const Received received = receive(at);
    expect(received.bytes == word, "process {}: '{}' came, expected '{}'", at, received.bytes, word);
  }

 private:
  static constexpr size_t kMost = 64;
  tutti::Descriptor ends_[2];
};
