#include "transports/verbs/mail.h"

namespace tutti::verbs {

namespace {

constexpr size_t kPage = 4096;

constexpr size_t whole_pages(size_t bytes) {
  return (bytes + kPage - 1) / kPage * kPage;
}

}  // namespace

MailMemory::MailMemory(int rank, int ranks)
    : ranks_(ranks),
      record_bytes_(record_bytes(ranks)),
      bounces_at_(whole_pages(2 * static_cast<size_t>(ranks) * kRecords * record_bytes_)),
      bytes_(bounces_at_ + kBounces * kBounceBytes) {
  const Descriptor memory = shm::create_memory(bytes_, rank);
  mapping_ = shm::Mapping(memory.get(), bytes_);
  for (int i = kBounces - 1; i >= 0; --i) free_.push_back(i);
}

int MailMemory::take_bounce() {
  if (free_.empty()) return kNoBounce;
  const int bounce = free_.back();
  free_.pop_back();
  return bounce;
}

}  // namespace tutti::verbs
