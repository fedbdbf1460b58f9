#include "transports/ucx/address.h"

#include <cstddef>
#include <cstring>

#include "core/error.h"

namespace tutti::ucx {

namespace {

/// What precedes the two texts.
struct Head {
  uint32_t magic = 0;
  uint32_t rank = 0;
  uint64_t checksum = 0;  // of everything, with 0 in its place
  uint64_t key = 0;
  uint64_t slots = 0;
  uint64_t slots_bytes = 0;
  uint32_t worker_bytes = 0;
  uint32_t rkey_bytes = 0;
};
static_assert(sizeof(Head) == 48, "the head has no padding");
constexpr uint32_t kMagic = 0x31415454;  // "TTA1"

/// FNV-1a: against truncation and mix-ups, not against an enemy. `text` begins with a head.
uint64_t checksum_of(std::string_view text) {
  uint64_t sum = 0xcbf29ce484222325;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_checksum = i >= offsetof(Head, checksum) && i < offsetof(Head, key);
    sum = (sum ^ (is_checksum ? 0 : static_cast<uint8_t>(text[i]))) * 0x100000001b3;
  }
  return sum;
}

}  // namespace

std::string pack(const Address& address) {
  Head head = {.magic = kMagic,
               .rank = address.rank,
               .key = address.key,
               .slots = address.slots,
               .slots_bytes = address.slots_bytes,
               .worker_bytes = static_cast<uint32_t>(address.worker.size()),
               .rkey_bytes = static_cast<uint32_t>(address.rkey.size())};
  std::string text(sizeof(Head), '\0');
  std::memcpy(text.data(), &head, sizeof(Head));
  text += address.worker;
  text += address.rkey;
  head.checksum = checksum_of(text);
  std::memcpy(text.data(), &head, sizeof(Head));
  return text;
}

Address unpack(std::string_view text) {
  Head head;
  if (text.size() < sizeof(Head))
    raise(Result::invalid_argument, "a UCX address of {} bytes; it has at least {}", text.size(),
          sizeof(Head));
  std::memcpy(&head, text.data(), sizeof(Head));
  if (head.magic != kMagic)
    raise(Result::invalid_argument, "a UCX address begins with {:#010x}; expected {:#010x}", head.magic,
          kMagic);
  const uint64_t said = sizeof(Head) + uint64_t{head.worker_bytes} + head.rkey_bytes;
  if (said != text.size())
    raise(Result::invalid_argument, "a UCX address of {} bytes says that it has {}", text.size(), said);
  if (head.checksum != checksum_of(text))
    raise(Result::invalid_argument, "a UCX address of {} bytes does not match its checksum", text.size());
  const std::string_view texts = text.substr(sizeof(Head));
  return {.rank = head.rank,
          .key = head.key,
          .slots = head.slots,
          .slots_bytes = head.slots_bytes,
          .worker = std::string(texts.substr(0, head.worker_bytes)),
          .rkey = std::string(texts.substr(head.worker_bytes))};
}

}  // namespace tutti::ucx
