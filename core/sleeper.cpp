#include "core/sleeper.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <cerrno>

#include "core/error.h"

namespace tutti {

Sleeper::Sleeper(SleeperMap* map, int rank, int wake_descriptor, std::span<Poller* const> pollers)
    : map_(map),
      rank_(rank),
      wake_descriptor_(wake_descriptor),
      pollers_(pollers),
      epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_) raise_errno(errno, "rank {}: epoll_create1", rank);
  const auto watch = [&](int descriptor) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = descriptor;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, descriptor, &event) != 0) {
      raise_errno(errno, "rank {}: epoll_ctl of descriptor {}", rank_, descriptor);
    }
  };
  watch(wake_descriptor);
  for (const Poller* poller : pollers) watch(poller->descriptor());
}

void Sleeper::announce() {
  map_->words[rank_ / 64].fetch_or(uint64_t{1} << (rank_ % 64), std::memory_order_seq_cst);
}

void Sleeper::withdraw() {
  map_->words[rank_ / 64].fetch_and(~(uint64_t{1} << (rank_ % 64)), std::memory_order_relaxed);
}

/// False where a port transport has something to do at once.
bool Sleeper::arm() const {
  return std::all_of(pollers_.begin(), pollers_.end(), [](Poller* poller) { return poller->arm(); });
}

void Sleeper::block(uint64_t longest_ns) {
  // epoll_wait counts in milliseconds and a sleep is never longer than one, so the shorter ones are rounded up to it.
  const int timeout_ms = longest_ns == 0 ? 0 : static_cast<int>((longest_ns + 999'999) / 1'000'000);
  epoll_event event{};
  if (epoll_wait(epoll_.get(), &event, 1, timeout_ms) == 1 && event.data.fd == wake_descriptor_) {
    uint64_t wakes = 0;
    [[maybe_unused]] const auto got = ::read(wake_descriptor_, &wakes, sizeof(wakes));
  }
}

Descriptor Sleeper::make_wake_descriptor() {
  Descriptor descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!descriptor) raise_errno(errno, "eventfd");
  return descriptor;
}

void Sleeper::wake(int wake_descriptor) {
  const uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_descriptor, &one, sizeof(one));
}

}  // namespace tutti
