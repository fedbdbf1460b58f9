// Which parts of a message are written and checked when, and the memory it lies in.
#include "benchmarks/message.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace tutti::bench {

Buffer::Buffer(size_t bytes) : bytes_(std::max<size_t>(bytes, 1)) {
  void* memory = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    throw std::system_error(errno, std::generic_category(), "memory for the messages");
  data_ = static_cast<std::byte*>(memory);
  std::memset(data_, 0x55, bytes_);
}

Buffer::~Buffer() {
  ::munmap(data_, bytes_);
}

namespace {

constexpr int64_t kSpanBytes = 128;

}  // namespace

Spans spans_of(int64_t count, size_t element_size, uint64_t generation, int64_t whole_bytes) {
  constexpr auto kSpans = static_cast<int64_t>(Spans::kMost);
  const auto size = static_cast<int64_t>(element_size);
  Spans spans;
  if (count == 0) return spans;
  if (count * size <= whole_bytes) {
    spans.all[spans.used++] = {0, count};
    return spans;
  }
  // The message in equal segments, one span in each, its place moving by its own length.
  const int64_t length = kSpanBytes / size;
  for (int64_t i = 0; i < kSpans; ++i) {
    const int64_t begin = count / kSpans * i;
    const int64_t end = i + 1 == kSpans ? count : begin + count / kSpans;
    const int64_t places = (end - begin + length - 1) / length;
    // The last segment starts at its end, so that the first and the last element are among the first spans.
    const auto turn = static_cast<int64_t>(generation % static_cast<uint64_t>(places));
    const int64_t place = i + 1 == kSpans ? places - 1 - turn : turn;
    const int64_t first = begin + place * length;
    spans.all[spans.used++] = {first, std::min(length, end - first)};
  }
  return spans;
}

Message::Message(const CollectiveInfo& collective, const Call& call, std::byte* send, std::byte* recv,
                 int ranks, int rank)
    : patterns_(collective.kind, call.datatype, call.op, call.root, ranks, rank),
      count_(call.count),
      send_(send),
      recv_(recv),
      in_place_(send == recv),
      contributes_(collective.kind == Kind::all_reduce || rank == call.root) {}

template <typename Visit>
void Message::for_each_span(Extent extent, uint64_t generation, Visit visit) const {
  if (extent == Extent::whole) {
    visit(Span{0, count_});
    return;
  }
  for (const Span& span : spans_of(count_, patterns_.element_size(), generation)) visit(span);
}

void Message::prepare(Extent extent, uint64_t generation) {
  for_each_span(extent, generation, [&](const Span& span) {
    if (contributes_) patterns_.write_input(send_, span.first, span.count, generation);
    if (!in_place_ || !contributes_) patterns_.write_poison(recv_, span.first, span.count, generation);
  });
}

int64_t Message::check(Extent extent, uint64_t generation) const {
  int64_t wrong = 0;
  for_each_span(extent, generation, [&](const Span& span) {
    wrong += patterns_.wrong_results(recv_, span.first, span.count, generation);
    if (!in_place_ && contributes_)
      wrong += patterns_.wrong_inputs(send_, span.first, span.count, generation);
  });
  return wrong;
}

void Message::plant_error(Extent extent, uint64_t generation) {
  Span looked_at;
  for_each_span(extent, generation, [&](const Span& span) { looked_at = span; });
  if (looked_at.count == 0) return;
  const int64_t victim = looked_at.first + looked_at.count - 1;
  patterns_.write_poison(recv_, victim, 1, generation);
}

}  // namespace tutti::bench
