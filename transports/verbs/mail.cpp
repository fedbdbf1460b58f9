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
      chunks_at_(whole_pages(2 * static_cast<size_t>(ranks) * sizeof(Mailbox))),
      bytes_(chunks_at_ + kChunks * kChunkBytes) {
  const Descriptor memory = shm::create_memory(bytes_, rank);
  mapping_ = shm::Mapping(memory.get(), bytes_);
  for (int i = kChunks - 1; i >= 0; --i) free_.push_back(i);
}

int MailMemory::take_chunk() {
  if (free_.empty()) return kNoChunk;
  const int chunk = free_.back();
  free_.pop_back();
  return chunk;
}

}  // namespace tutti::verbs
