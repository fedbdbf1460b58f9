// Where the ranks of a node come to the one who gathers them: a local socket that listens, and those who have connected but not
// yet said who they are.
//
// A caller is let in by its first message: a hello with the secret of the unique id and the expected number of descriptors.
// Whoever says anything else, or nothing for two seconds, is closed with a log line; of those who say nothing at most 64 are
// kept, so that a flood of connections takes no memory. A rank that is closed in such a flood comes again.
#pragma once

#include <poll.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/descriptor.h"
#include "runtime/bootstrap/message.h"
#include "runtime/bootstrap/unique_id.h"

namespace tutti {

class Door {
 public:
  struct Caller {
    Descriptor socket;
    Message hello;
  };

  /// `listener` listens at the name of the meeting. `occasion` begins the log lines. The id outlives the door.
  Door(Descriptor listener, const UniqueId& id, size_t hello_descriptors, std::string occasion);

  /// Waits up to `timeout_ms` until something happens here or at `others`, whose `revents` it sets. Returns one who has said
  /// hello, if any has; more of them are returned by the next calls.
  std::optional<Caller> wait(std::vector<pollfd>& others, int timeout_ms);

 private:
  struct Stranger {
    Descriptor socket;
    uint64_t since;
  };

  void accept();
  std::optional<Caller> hear(Stranger stranger);
  void complain(const std::string& what);

  Descriptor listener_;
  const UniqueId& id_;
  size_t hello_descriptors_;
  std::string occasion_;
  std::vector<Stranger> strangers_;
  int complaints_ = 0;
};

}  // namespace tutti
