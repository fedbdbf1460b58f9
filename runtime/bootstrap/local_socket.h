// Local sockets by which the processes of one host meet: a name outside the file system ("abstract"), datagrams that keep their
// borders and their order, and what the kernel says about the process at the other end.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "core/descriptor.h"
#include "runtime/bootstrap/control_link.h"
#include "runtime/bootstrap/message.h"
#include "runtime/bootstrap/unique_id.h"

namespace tutti {

/// The name of a meeting: "tutti-", `purpose`, and the random name in the id.
std::string local_name(const UniqueId& id, std::string_view purpose = {});

/// Binds the name and listens. Empty with errno when that fails (EADDRINUSE: somebody has the name).
Descriptor listen_locally(const std::string& name);

/// Empty with errno when nobody listens there or the queue stays full for a second.
Descriptor connect_locally(const std::string& name);

/// Whether connecting may succeed later: nobody listens yet, or too many come at once.
bool may_connect_later(int error);

/// Waits up to `timeout_ms` until something can be read, the end included.
bool readable(int socket, int timeout_ms);

/// The process at the other end: who has connected, or who listened when this one connected.
struct PeerProcess {
  pid_t pid = 0;  // 0: not known
  uid_t user = static_cast<uid_t>(-1);
};
PeerProcess peer_process(int socket);

/// Sends one message while `deadline` has not passed, waiting where the queue is full or where too many descriptors are on their
/// way. False with errno; ETIMEDOUT when the deadline has passed.
bool send_within(const Deadline& deadline, int socket, const MessageHeader& header, const std::string& text,
                 const std::vector<int>& descriptors);

}  // namespace tutti
