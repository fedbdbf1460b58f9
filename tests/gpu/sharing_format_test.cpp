// The bytes of a shared range: what was packed comes out again, and nothing else gets through. Needs neither a driver nor a device.
#include "transports/cuda_ipc/sharing_format.h"

#include <functional>
#include <random>
#include <string>

#include "core/error.h"
#include "tests/catch.h"

using namespace tutti;
using namespace tutti::cuda;

namespace {

constexpr uint64_t kChunk = 2 << 20;

SharedPiece piece(HandleKind kind, uint64_t size, uint8_t fill = 0) {
  SharedPiece made{.size = size, .id = 1000u + fill, .kind = kind, .handle = {}};
  if (kind != HandleKind::posix) made.handle.fill(fill);
  return made;
}

SharedRange ipc_range() {
  return {.process = 17, .offset = 300, .bytes = 5000, .pieces = {piece(HandleKind::ipc, kChunk, 9)}};
}

/// Begins in the first chunk and ends in the third.
SharedRange chunks(HandleKind kind) {
  return {.process = 18,
          .offset = kChunk - 1,
          .bytes = kChunk + 2,
          .pieces = {piece(kind, kChunk, 1), piece(kind, kChunk, 2), piece(kind, kChunk, 3)}};
}

void check_same(const SharedRange& a, const SharedRange& b) {
  CHECK(a.process == b.process);
  CHECK(a.offset == b.offset);
  CHECK(a.bytes == b.bytes);
  REQUIRE(a.pieces.size() == b.pieces.size());
  for (size_t i = 0; i < a.pieces.size(); ++i) {
    CHECK(a.pieces[i].size == b.pieces[i].size);
    CHECK(a.pieces[i].id == b.pieces[i].id);
    CHECK(a.pieces[i].kind == b.pieces[i].kind);
    CHECK(a.pieces[i].handle == b.pieces[i].handle);
  }
}

/// What the refusal says; "" where there is none.
std::string refusal(const std::string& packed, size_t descriptors) {
  try {
    unpack(packed, descriptors, "rank 3");
  } catch (const Error& error) {
    CHECK(error.code() == Result::system_error);
    const std::string text = error.what();
    CHECK(text.starts_with("what rank 3 has sent as its memory is not usable: "));
    return text;
  }
  return "";
}

void check_refused(const SharedRange& range, size_t descriptors, const std::string& part) {
  CAPTURE(part);
  const std::string text = refusal(pack(range), descriptors);
  INFO(text);
  CHECK_FALSE(text.empty());
  CHECK(text.find(part) != std::string::npos);
}

}  // namespace

TEST_CASE("a packed range comes out as it was") {
  check_same(unpack(pack(ipc_range()), 0, "rank 3"), ipc_range());
  check_same(unpack(pack(chunks(HandleKind::posix)), 3, "rank 3"), chunks(HandleKind::posix));
  check_same(unpack(pack(chunks(HandleKind::fabric)), 0, "rank 3"), chunks(HandleKind::fabric));
  SharedRange most = chunks(HandleKind::posix);
  most.pieces.resize(kMostPieces, piece(HandleKind::posix, kChunk));
  most.bytes = (kMostPieces - 1) * kChunk + 1;
  CHECK(pack(most).size() == kMostExportBytes);
  check_same(unpack(pack(most), kMostPieces, "rank 3"), most);
}

TEST_CASE("every changed byte is noticed") {
  for (const SharedRange& range : {ipc_range(), chunks(HandleKind::posix)}) {
    const size_t descriptors = range.pieces.front().kind == HandleKind::posix ? range.pieces.size() : 0;
    const std::string good = pack(range);
    REQUIRE(refusal(good, descriptors).empty());
    for (size_t at = 0; at < good.size(); ++at) {
      for (const int change : {1, 0x80, 0xff}) {
        std::string damaged = good;
        damaged[at] = static_cast<char>(damaged[at] ^ change);
        if (refusal(damaged, descriptors).empty()) FAIL_CHECK("byte " << at << " changed by " << change);
      }
    }
  }
}

TEST_CASE("another length is noticed") {
  const std::string good = pack(chunks(HandleKind::posix));
  for (size_t length = 0; length < good.size(); ++length)
    CHECK_FALSE(refusal(good.substr(0, length), 3).empty());
  CHECK_FALSE(refusal(good + '\0', 3).empty());
  CHECK_FALSE(refusal(good + good, 3).empty());
}

TEST_CASE("what is packed well but makes no sense is refused") {
  const auto with = [](SharedRange range, const std::function<void(SharedRange&)>& change) {
    change(range);
    return range;
  };
  const SharedRange ipc = ipc_range();
  const SharedRange posix = chunks(HandleKind::posix);
  check_refused(with(ipc, [](auto& r) { r.pieces.clear(); }), 0, "0 pieces; expected 1 to 512");
  check_refused(with(posix, [](auto& r) { r.pieces.resize(513, r.pieces[0]); }), 513, "513 pieces");
  check_refused(with(ipc, [](auto& r) { r.pieces[0].kind = HandleKind::none; }), 0, "handle of kind 0");
  check_refused(with(ipc, [](auto& r) { r.pieces[0].kind = static_cast<HandleKind>(4); }), 0,
                "handle of kind 4");
  check_refused(with(ipc, [](auto& r) { r.pieces[0].size = 0; }), 0, "piece 0 has 0 bytes");
  check_refused(with(posix, [](auto& r) { r.pieces[1].size = UINT64_MAX; }), 3, "piece 1 has");
  check_refused(with(posix, [](auto& r) { r.pieces[1].kind = HandleKind::fabric; }), 3,
                "mixes handles of kinds posix and fabric");
  check_refused(with(ipc, [](auto& r) { r.pieces.push_back(r.pieces[0]); }), 0, "2 pieces with ipc handles");
  check_refused(posix, 2, "2 descriptors came with it; expected 3");
  check_refused(posix, 4, "4 descriptors came with it; expected 3");
  check_refused(ipc, 1, "1 descriptors came with it; expected 0");
  check_refused(chunks(HandleKind::fabric), 3, "3 descriptors came with it; expected 0");
  check_refused(with(ipc, [](auto& r) { r.bytes = 0; }), 0, "0 bytes at offset 300 are not a range");
  check_refused(with(ipc, [](auto& r) { r.bytes = kChunk - 299; }), 0, "are not a range");
  check_refused(with(ipc, [](auto& r) { r.bytes = UINT64_MAX; }), 0, "are not a range");
  check_refused(with(ipc, [](auto& r) { r.bytes = UINT64_MAX - 299; }), 0, "are not a range");
  check_refused(with(ipc, [](auto& r) { r.offset = UINT64_MAX - 100; }), 0, "are not a range");
  check_refused(with(posix, [](auto& r) { r.offset = kChunk; }), 3, "are not a range");
  check_refused(with(posix, [](auto& r) { r.bytes = kChunk + 1; }), 3,
                "are not a range");  // ends in the second
}

TEST_CASE("noise is refused") {
  std::mt19937_64 random(4711);
  for (int i = 0; i < 20'000; ++i) {
    std::string noise = pack(chunks(HandleKind::posix));
    noise.resize(random() % (noise.size() + 1));
    for (size_t changes = random() % 20 + 1; changes > 0 && !noise.empty(); --changes)
      noise[random() % noise.size()] = static_cast<char>(random());
    if (noise == pack(chunks(HandleKind::posix))) continue;
    if (refusal(noise, 3).empty()) FAIL_CHECK("accepted in round " << i);
  }
}
