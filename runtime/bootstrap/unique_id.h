// The unique id: where rank 0 of a communicator that is about to be made can be found, and the secret by which its ranks know
// each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace tutti {

/// The contents of tutti_unique_id_t; plain bytes, the same on all hosts.
struct UniqueId {
  static constexpr size_t kBytes = 128;
  static constexpr size_t kSecretBytes = 16;
  unsigned char magic[8];
  unsigned char secret[kSecretBytes];
  unsigned char name[kSecretBytes];  // of the local sockets of its nodes
  unsigned char address[16];         // IPv6, or IPv4 mapped into it, network byte order
  uint32_t scope;                    // of a link-local IPv6 address: the interface's index on rank 0's host; big endian
  uint16_t port;                     // big endian
  unsigned char unused[kBytes - 8 - 2 * kSecretBytes - 16 - 4 - 2];

  /// Picks an interface and a port of this host and keeps listening there until join() as rank 0 in this process takes the
  /// socket over. (Rank 0 in another process of this host binds the same address anew.) Empty strings: as by default.
  static UniqueId create(const std::string& interfaces, const std::string& ports);
  /// An id that all ranks compute by themselves: host and port of rank 0, the secret derived from `key`.
  static UniqueId derive(const std::string& host, uint16_t port, const std::string& key);
  /// Throws Error(invalid_argument) when the bytes are no unique id.
  void check() const;
  /// "10.0.0.1:40123".
  std::string address_text() const;
};
static_assert(sizeof(UniqueId) == UniqueId::kBytes);

}  // namespace tutti
