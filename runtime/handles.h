// Handles: how the C interface names communicators and requests without ever trusting a pointer it is given.
//
// A handle is a number in a pointer's clothes: the index of a slot and the generation of its content. Looking one up is two
// loads and a comparison, takes no lock, and a handle that was destroyed, never made, or is garbage is found out.
//
//   communicator   generation (32 bits) | slot + 1 (16 bits)
//   request        ticket, low half (32 bits) | generation, low bits (16 bits) | slot + 1 (16 bits)
#pragma once

#include <cstdint>

#include "include/tutti/tutti.h"
#include "runtime/communicator/communicator.h"

namespace tutti::handles {

inline constexpr uint32_t kSlots = 65534;

/// Takes ownership; throws Error(unsupported) when all slots are taken. Thread-safe, as all functions here.
tutti_comm_t add(std::unique_ptr<Communicator> communicator);

/// Has the statistics of all communicators written that live at the end of the process.
void write_statistics_at_exit();

/// Null when the handle names no living communicator, or one made before this process was forked off (`forked` is set).
Communicator* find(tutti_comm_t handle, bool& forked);

/// Ends the handle; the communicator is destroyed. False when it named none.
bool remove(tutti_comm_t handle);

tutti_request_t make_request(tutti_comm_t communicator, uint64_t ticket);

/// The communicator and ticket of a request; null when its communicator is gone.
Communicator* find(tutti_request_t request, uint64_t& ticket, bool& forked);

}  // namespace tutti::handles
