// Parcels: bytes and descriptors that every rank of a node gives to all others, while they are being set up or register memory together.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/descriptor.h"
#include "runtime/bootstrap/unique_id.h"

namespace tutti {

struct Parcel {
  std::string bytes;
  std::vector<Descriptor> descriptors;
};

/// The ranks of one node, who meet again and again. Used by one thread.
class ParcelExchange {
 public:
  /// `place` of `size` ranks of the node. `limit_ns` bounds each exchange.
  ParcelExchange(const UniqueId& id, int place, int size, uint64_t limit_ns);

  /// Collective: everybody's parcel, by place. The descriptors are copies; the own parcel comes back as it was given. Throws Error: timeout
  /// naming the places that did not come, system_error; peer_lost where one ended in the middle.
  std::vector<Parcel> exchange(Parcel mine);

 private:
  UniqueId id_;
  int place_;
  int size_;
  uint64_t limit_ns_;
  uint64_t round_ = 0;
};

}  // namespace tutti
