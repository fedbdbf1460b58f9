#include "transports/cuda_ipc/sharing_format.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace tutti::cuda {
namespace {

constexpr uint32_t kMagic = 0x4d745574;
constexpr uint16_t kVersion = 1;
constexpr uint64_t kMostBytes = uint64_t{1} << 48;  // of a range: more than addresses reach

struct Header {
  uint32_t magic;
  uint16_t version;
  uint16_t pieces;
  uint64_t process;
  uint64_t offset;
  uint64_t bytes;
  uint64_t checksum;  // of everything, itself taken as 0
};
static_assert(sizeof(Header) == 40);

struct Record {
  uint64_t size;
  uint64_t id;
  uint8_t kind;
  uint8_t zero[7];
  HandleBytes handle;
};
static_assert(sizeof(Record) == 88);
static_assert(kMostExportBytes == sizeof(Header) + kMostPieces * sizeof(Record));

/// FNV-1a, with the header's own field left out.
uint64_t checksum_of(std::string_view packed) {
  uint64_t hash = 0xcbf29ce484222325;
  for (size_t i = 0; i < packed.size(); ++i) {
    const bool own = i >= offsetof(Header, checksum) && i < sizeof(Header);
    hash = (hash ^ (own ? 0 : static_cast<uint8_t>(packed[i]))) * 0x100000001b3;
  }
  return hash;
}

template <typename T>
T read(std::string_view packed, size_t at) {
  T value;
  std::memcpy(&value, packed.data() + at, sizeof value);
  return value;
}

template <typename... Args>
[[noreturn]] void refuse(const std::string& from, fmt::format_string<Args...> format, Args&&... args) {
  raise(Result::system_error, "what {} has sent as its memory is not usable: {}", from,
        fmt::format(format, std::forward<Args>(args)...));
}

Header header_of(std::string_view packed, const std::string& from) {
  if (packed.size() < sizeof(Header))
    refuse(from, "{} bytes; expected {} or more", packed.size(), sizeof(Header));
  const auto header = read<Header>(packed, 0);
  if (header.magic != kMagic)
    refuse(from, "it begins with {:#010x}; expected {:#010x}", header.magic, kMagic);
  if (header.version != kVersion) refuse(from, "version {}; expected {}", header.version, kVersion);
  if (header.pieces < 1 || header.pieces > kMostPieces)
    refuse(from, "{} pieces; expected 1 to {}", header.pieces, kMostPieces);
  const size_t size = sizeof(Header) + header.pieces * sizeof(Record);
  if (packed.size() != size)
    refuse(from, "{} bytes; expected {} for {} pieces", packed.size(), size, header.pieces);
  if (header.checksum != checksum_of(packed)) refuse(from, "its checksum is wrong");
  return header;
}

SharedPiece piece_of(const Record& record, size_t index, const std::string& from) {
  if (record.kind < static_cast<uint8_t>(HandleKind::ipc) ||
      record.kind > static_cast<uint8_t>(HandleKind::fabric)) {
    refuse(from, "piece {} has a handle of kind {}; expected 1 to 3", index, record.kind);
  }
  if (record.size == 0 || record.size > kMostBytes)
    refuse(from, "piece {} has {} bytes; expected 1 to {}", index, record.size, kMostBytes);
  return {.size = record.size,
          .id = record.id,
          .kind = static_cast<HandleKind>(record.kind),
          .handle = record.handle};
}

void check_kinds(const SharedRange& range, size_t descriptors, const std::string& from) {
  const HandleKind kind = range.pieces.front().kind;
  for (const SharedPiece& piece : range.pieces) {
    if (piece.kind != kind)
      refuse(from, "it mixes handles of kinds {} and {}", name_of(kind), name_of(piece.kind));
  }
  if (kind == HandleKind::ipc && range.pieces.size() != 1)
    refuse(from, "{} pieces with ipc handles; expected 1", range.pieces.size());
  const size_t expected = kind == HandleKind::posix ? range.pieces.size() : 0;
  if (descriptors != expected)
    refuse(from, "{} descriptors came with it; expected {}", descriptors, expected);
}

/// The range must begin in the first piece and end in the last.
void check_range(const SharedRange& range, const std::string& from) {
  uint64_t before_last = 0;  // no overflow: at most 512 times 2^48
  for (const SharedPiece& piece : range.pieces) before_last += piece.size;
  const uint64_t all = before_last;
  before_last -= range.pieces.back().size;
  const bool fits = range.bytes >= 1 && range.bytes <= kMostBytes && all <= kMostBytes &&
                    range.offset < range.pieces.front().size && range.offset + range.bytes <= all &&
                    range.offset + range.bytes > before_last;
  if (!fits) {
    refuse(from, "{} bytes at offset {} are not a range of {} pieces of {} bytes", range.bytes, range.offset,
           range.pieces.size(), all);
  }
}

}  // namespace

std::string pack(const SharedRange& range) {
  Header header{.magic = kMagic,
                .version = kVersion,
                .pieces = static_cast<uint16_t>(range.pieces.size()),
                .process = range.process,
                .offset = range.offset,
                .bytes = range.bytes,
                .checksum = 0};
  std::string packed(sizeof(Header) + range.pieces.size() * sizeof(Record), '\0');
  std::memcpy(packed.data(), &header, sizeof header);
  size_t at = sizeof header;
  for (const SharedPiece& piece : range.pieces) {
    const Record record{.size = piece.size,
                        .id = piece.id,
                        .kind = static_cast<uint8_t>(piece.kind),
                        .zero = {},
                        .handle = piece.handle};
    std::memcpy(packed.data() + at, &record, sizeof record);
    at += sizeof record;
  }
  header.checksum = checksum_of(packed);
  std::memcpy(packed.data(), &header, sizeof header);
  return packed;
}

SharedRange unpack(std::string_view packed, size_t descriptors, const std::string& from) {
  const Header header = header_of(packed, from);
  SharedRange range{.process = header.process, .offset = header.offset, .bytes = header.bytes, .pieces = {}};
  for (size_t i = 0; i < header.pieces; ++i) {
    const auto record = read<Record>(packed, sizeof(Header) + i * sizeof(Record));
    range.pieces.push_back(piece_of(record, i, from));
  }
  check_kinds(range, descriptors, from);
  check_range(range, from);
  return range;
}

}  // namespace tutti::cuda
