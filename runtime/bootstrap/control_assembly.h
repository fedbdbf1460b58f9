// The second part of joining: connections between neighbours, the clock, and the start of all ranks at once.
// The protocol is in control_join.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/bootstrap/control_connector.h"
#include "runtime/bootstrap/control_join.h"
#include "runtime/bootstrap/control_reception.h"

namespace tutti {

class Assembly {
 public:
  /// `links`: to rank 0, or rank 0's to all others. `upwards`: whom to connect to besides.
  Assembly(const UniqueId& id, const ControlSettings& settings, std::vector<Link> links,
           std::vector<Contact> upwards, Reception reception, Deadline deadline);

  Joined run();

 private:
  static constexpr int kPings = 8;

  /// A rank upwards that is not rank 0.
  struct Upper {
    Contact contact;
    Connector connector;
    std::optional<Link> link;  // has no welcome yet
    bool joined = false;
  };

  void take_turn();
  int poll_ms() const;
  void advance(Upper& upper);
  void await_welcome(Upper& upper);
  void take(Reception::Guest guest);
  void listen_to(Link& link);
  void handle(Link& link, const Frame& frame);
  void pong(const Frame& frame);
  void ping();
  void know_clock();
  void become_ready();
  void check_time() const;
  Link* link_to(int rank);
  [[noreturn]] void unexpected(int rank, const Frame& frame) const;
  Joined result();

  const UniqueId& id_;
  const ControlSettings& settings_;
  std::vector<Link> links_;
  std::vector<Upper> uppers_;
  Reception reception_;
  Deadline deadline_;
  Deadline patience_;           // a little longer
  std::vector<int> awaited_;    // ranks downwards that have not connected
  std::vector<int> not_ready_;  // rank 0: ranks it awaits
  uint64_t margin_;

  int pongs_ = 0;
  int64_t offset_from_parent_ = 0;
  uint64_t shortest_ = UINT64_MAX;  // half a round trip to the parent
  std::optional<std::array<uint64_t, 2>> parents_clock_;
  bool clock_known_ = false;
  int64_t clock_offset_ = 0;
  uint64_t clock_error_ = 0;
  bool ready_ = false;
  bool go_ = false;
};

}  // namespace tutti
