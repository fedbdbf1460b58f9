// The unique id: where rank 0 of a communicator that is about to be made can be found, and the secret by which its ranks know
// each other.
//
// An id is made in one of two ways. create() opens the listening socket at once, so that the address in the id is certain, and the
// socket waits in a table of this process until join() as rank 0 takes it (a process forked meanwhile has a copy of the table).
// The table holds kMostWaiting sockets; of more ids that nobody joins, the oldest lose theirs, and rank 0 then binds the same
// address anew. derive() opens nothing: all ranks compute the same id from what a launcher has told them, and rank 0 listens
// at that port of all its addresses, since a host need not know its own name by the address that others do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/descriptor.h"
#include "runtime/bootstrap/interfaces.h"

namespace tutti {

/// The contents of tutti_unique_id_t; plain bytes, the same on all hosts.
struct UniqueId {
  static constexpr size_t kBytes = 128;
  static constexpr size_t kSecretBytes = 16;
  unsigned char magic[8];
  unsigned char secret[kSecretBytes];
  unsigned char name[kSecretBytes];  // of the local sockets of its nodes
  unsigned char address[16];         // IPv6, or IPv4 mapped into it, network byte order
  unsigned char scope[4];  // of a link-local IPv6 address: the interface's index on rank 0's host; big endian
  unsigned char port[2];   // big endian
  unsigned char derived;   // 1: by derive()
  unsigned char unused[kBytes - 8 - 2 * kSecretBytes - 16 - 4 - 2 - 1];

  /// Picks an interface and a port of this host and keeps listening there until join() as rank 0 in this process takes the
  /// socket over. (Rank 0 in another process of this host binds the same address anew, for which the creator must have ended.)
  /// Empty strings: as by default. Throws Error.
  static UniqueId create(const std::string& interfaces = {}, const std::string& ports = {});
  /// An id that all ranks compute by themselves: host and port of rank 0, the secret derived from `key`. It is no safer
  /// than the key is unknown to others. Throws Error when the host's name cannot be resolved.
  static UniqueId derive(const std::string& host, uint16_t port, const std::string& key);
  /// Throws Error(invalid_argument) when the bytes are no unique id.
  void check() const;
  /// "10.0.0.1:40123".
  std::string address_text() const;

  IpAddress ip() const;
  uint16_t port_number() const;
  /// Compares in a time that does not depend on the bytes.
  bool has_secret(const unsigned char* bytes) const;
  bool has_secret(std::string_view bytes) const;
};
static_assert(sizeof(UniqueId) == UniqueId::kBytes && alignof(UniqueId) == 1);

/// The most ids of this process that may wait for their rank 0.
inline constexpr size_t kMostWaiting = 64;

/// The socket that create() left for this id; empty where this process has none.
Descriptor take_listener(const UniqueId& id);

}  // namespace tutti
