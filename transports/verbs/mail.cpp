#include "transports/verbs/mail.h"

namespace tutti::verbs {

MailMemory::MailMemory(int rank, int ranks) : ranks_(ranks), record_bytes_(record_bytes(ranks)) {
  const Descriptor memory = shm::create_memory(bytes_for(ranks), rank);
  mapping_ = shm::Mapping(memory.get(), bytes_for(ranks));
  for (int i = kBounces - 1; i >= 0; --i) free_.push_back(i);
}

int MailMemory::take_bounce() {
  if (free_.empty()) return kNoBounce;
  const int bounce = free_.back();
  free_.pop_back();
  return bounce;
}

}  // namespace tutti::verbs
