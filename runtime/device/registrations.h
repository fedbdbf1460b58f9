// Buffers that the ranks of a node have registered together: every rank has mapped everybody's, so that kernels can work on them in place.
//
// A kernel tells its peers where its buffers are by *loans*: in which registration, and how far into it (collectives/executors/cuda/launch.h).
// Each rank finds what is lent in a table of its own in device memory, row by registration and column by owner. Registering is collective, and
// so are the rows: all ranks give a registration the same one.
//
//     register     here is mine, or why not ⇄   maps all others'   ⇄ mapped, or why not: all ranks know whether everybody could
//     deregister   my operations are over   ⇄   drops all others'  ⇄ dropped: the owner may free its memory
//
// Where one rank's buffer cannot be shared, no rank's is used in place: which plan runs must be the same everywhere.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "runtime/bootstrap/parcels.h"
#include "transports/cuda_ipc/memory.h"
#include "transports/cuda_ipc/sharing.h"

namespace tutti {

/// Used by one thread at a time.
class Registrations {
 public:
  /// Registrations that may live at a time.
  static constexpr size_t kMost = 1024;

  /// Gives all ranks of the node a parcel, and gets theirs, by place.
  using Exchange = std::function<std::vector<Parcel>(Parcel mine)>;

  /// Place `place` of `size` ranks, with `device`. Throws Error(system_error) where there is no memory for the table.
  Registrations(cuda::DevicePtr device, int place, int size, Exchange exchange);

  const uint64_t* table() const { return table_.as<uint64_t>(); }

  /// Collective. `id` has not been used before and is the same on all ranks. Memory that cannot be shared is no error. Throws Error: timeout,
  /// peer_lost, unsupported above kMost, invalid_usage where the ranks do not do the same.
  void add(uint64_t id, const void* buffer, size_t bytes);
  /// Collective; this rank's operations have completed. Throws Error as add().
  void remove(uint64_t id);

  /// What tells peers where that part of a registered buffer is; kNoLoan where it is not in one that all ranks could map. Allocates nothing.
  uint64_t lend(const void* at, size_t bytes) const;
  /// Whether what lies there, in a registered buffer, is other memory than was registered: that was freed.
  bool is_stale(const void* at, size_t bytes) const;

  /// "; 2 registered buffers, 1 used in place (buffer 2 is not: ...), 7 calls on them"; empty where there are none.
  std::string describe(uint64_t calls) const;

 private:
  struct Entry {
    uintptr_t begin = 0;
    size_t bytes = 0;
    size_t row = 0;
    std::string why_not;  // it is not used in place; empty: it is
    cuda::RangeIdentity identity;
    std::vector<cuda::Imported> others;  // by place; the own one is empty
  };

  const Entry* entry_of(const void* at, size_t bytes) const;
  std::vector<Parcel> meet(Parcel mine, uint64_t id, uint32_t what) const;
  std::string agree(uint64_t id, uint32_t what, const std::string& problem) const;
  std::string map_all(Entry& entry, const std::vector<Parcel>& parcels) const;
  void write_row(const Entry& entry) const;
  size_t free_row() const;

  cuda::DevicePtr device_;
  int place_;
  size_t size_;
  Exchange exchange_;
  cuda::DeviceMemory table_;
  std::map<uint64_t, Entry> entries_;                  // by id
  std::multimap<uintptr_t, const Entry*> by_address_;  // those that are used in place, by where they begin
  size_t longest_ = 0;                                 // that has been among them
};

}  // namespace tutti
