// Where connections come in during set-up: tells the ranks of the job from strangers.
//
// Whoever connects has kPatienceNs to say a whole hello with the secret; it is turned away with a log line (the first few) when it
// says anything else or too little. At most kMostStrangers connections are in this state, each with less than 100 bytes of
// memory; of more, the oldest is closed, and a rank that this happens to comes again. What a stranger says never ends the job.
#pragma once

#include <poll.h>

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/bootstrap/control_link.h"
#include "runtime/bootstrap/unique_id.h"

namespace tutti {

class Reception {
 public:
  static constexpr size_t kMostStrangers = 256;
  static constexpr uint64_t kPatienceNs = 2'000'000'000;

  struct Guest {
    Link link;  // belongs to the rank
    Hello hello;
  };

  /// `socket` may be empty: then nobody comes.
  Reception(const UniqueId& id, int size, Descriptor socket);
  Reception(Reception&&) = default;
  Reception(const Reception&) = delete;
  ~Reception();

  /// What poll() shall look at.
  void watch(std::vector<pollfd>& entries);
  /// Handles what poll() has found; the ranks that have said hello. Turns away hellos of another size, or of a rank that
  /// does not exist.
  std::vector<Guest> admit(const std::vector<pollfd>& entries);
  /// For poll(): milliseconds until somebody's patience ends, at most `most`.
  int poll_ms(int most) const;

  /// Tells a guest why it is turned away, and the log.
  void turn_away(Link& link, Result code, const std::string& text);
  /// What the latest hello with the secret was turned away for; empty when there was none.
  const std::string& last_refusal() const { return last_refusal_; }
  /// Nobody comes any more.
  void close();

 private:
  struct Stranger {
    Link link;
    std::string from;
    Deadline patience;
  };

  void accept_some(std::vector<Guest>& guests);
  /// True when the stranger is none any more.
  bool listen_to(Stranger& stranger, std::vector<Guest>& guests);
  void complain(const std::string& what);

  const UniqueId& id_;
  int size_;
  Descriptor socket_;
  std::vector<Stranger> strangers_;
  size_t first_entry_ = 0;
  int complaints_ = 0;
  std::string last_refusal_;
};

}  // namespace tutti
