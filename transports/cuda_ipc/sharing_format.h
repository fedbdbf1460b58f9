// The bytes that describe a shared range of device memory: a header, then one record for each piece.
//
//     header   magic u32 | version u16 | pieces u16 | process u64 | offset u64 | bytes u64 | checksum u64
//     piece    size u64 | id u64 | kind u8 | 7 zero bytes | handle, 64 bytes (zero for a descriptor)
//
// The range begins `offset` bytes into the first piece; the pieces follow each other without gaps. Both sides are processes of one
// machine, so numbers are in its own order. The checksum finds accidents; every number is checked besides.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tutti::cuda {

/// Most pieces of one range, and so most descriptors of one export.
inline constexpr size_t kMostPieces = 512;

/// Longest export in bytes.
inline constexpr size_t kMostExportBytes = 40 + kMostPieces * 88;

enum class HandleKind : uint8_t { none = 0, ipc = 1, posix = 2, fabric = 3 };

constexpr std::string_view name_of(HandleKind kind) {
  constexpr std::string_view kNames[] = {"none", "ipc", "posix", "fabric"};
  return kNames[static_cast<size_t>(kind)];
}

using HandleBytes = std::array<uint8_t, 64>;

struct SharedPiece {
  uint64_t size = 0;  // of the whole allocation or chunk
  uint64_t id = 0;    // its buffer id in the process that owns it
  HandleKind kind = HandleKind::none;
  HandleBytes handle{};  // of ipc and fabric
};

struct SharedRange {
  uint64_t process = 0;  // a random number of the process that owns it
  uint64_t offset = 0;   // of the range in its first piece
  uint64_t bytes = 0;
  std::vector<SharedPiece> pieces;
};

std::string pack(const SharedRange& range);

/// Throws Error(system_error) saying what is wrong; `from` names the sender. What it returns is consistent: 1 to kMostPieces
/// pieces of known kinds, none of them empty; all descriptors or exactly one ipc handle or all fabric handles; bytes is not 0 and
/// the range lies within the pieces, beginning in the first and ending in the last.
SharedRange unpack(std::string_view packed, size_t descriptors, const std::string& from);

}  // namespace tutti::cuda
