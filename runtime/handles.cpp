#include "runtime/handles.h"

#include <pthread.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "core/error.h"

namespace tutti::handles {

namespace {

// Documented global state: the table of living communicators of this process, and how often it was forked.
struct Slot {
  std::atomic<uint32_t> generation{0};
  std::atomic<Communicator*> communicator{nullptr};
  uint32_t process = 0;
};

constexpr uint32_t kSlotsPerPage = 256;
using Page = std::array<Slot, kSlotsPerPage>;

struct Table {
  std::array<std::atomic<Page*>, (kSlots + kSlotsPerPage - 1) / kSlotsPerPage> pages{};
  std::vector<std::unique_ptr<Page>> owned;
  std::vector<uint32_t> free;
  std::vector<Communicator*> inherited;  // a forked child's copies of its parent's communicators
  uint32_t used = 0;
  std::mutex mutex;
};

/// Never destroyed: a program's static destructors may still close their communicators.
Table& table() {
  static Table* const the_table = std::make_unique<Table>().release();
  return *the_table;
}

std::atomic<uint32_t> process_generation{0};

void count_forks() {
  static std::once_flag once;
  std::call_once(once, [] {
    pthread_atfork(nullptr, nullptr, [] { process_generation.fetch_add(1, std::memory_order_relaxed); });
  });
}

/// A handle is a number that only looks like a pointer; nobody ever follows it.
template <typename Handle>
Handle as_handle(uint64_t value) {
  return reinterpret_cast<Handle>(value);  // NOLINT(performance-no-int-to-ptr)
}

Slot* slot_at(uint32_t index) {
  if (index >= kSlots) return nullptr;
  Page* page = table().pages[index / kSlotsPerPage].load(std::memory_order_acquire);
  return page == nullptr ? nullptr : &(*page)[index % kSlotsPerPage];
}

uint64_t number(const void* handle) {
  return reinterpret_cast<uint64_t>(handle);
}

uint32_t take_index(Table& t) {
  if (!t.free.empty()) {
    const uint32_t index = t.free.back();
    t.free.pop_back();
    return index;
  }
  if (t.used == kSlots)
    raise(Result::unsupported, "{} communicators are open in this process; no more are possible", t.used);
  const uint32_t index = t.used++;
  if (index % kSlotsPerPage == 0) {
    t.owned.push_back(std::make_unique<Page>());
    t.pages[index / kSlotsPerPage].store(t.owned.back().get(), std::memory_order_release);
  }
  return index;
}

Communicator* checked(Slot* slot, bool generation_fits, bool& forked) {
  forked = false;
  if (slot == nullptr || !generation_fits) return nullptr;
  Communicator* communicator = slot->communicator.load(std::memory_order_acquire);
  if (communicator != nullptr && slot->process != process_generation.load(std::memory_order_relaxed)) {
    forked = true;
    return nullptr;
  }
  return communicator;
}

}  // namespace

tutti_comm_t add(std::unique_ptr<Communicator> communicator) {
  count_forks();
  Table& t = table();
  const std::lock_guard lock(t.mutex);
  const uint32_t index = take_index(t);
  Slot& slot = *slot_at(index);
  const uint32_t generation = slot.generation.load(std::memory_order_relaxed) + 1;
  slot.generation.store(generation, std::memory_order_relaxed);
  slot.process = process_generation.load(std::memory_order_relaxed);
  slot.communicator.store(communicator.release(), std::memory_order_release);
  return as_handle<tutti_comm_t>(uint64_t{generation} << 16 | (index + 1));
}

void write_statistics_at_exit() {
  static std::once_flag once;
  std::call_once(once, [] {
    std::atexit([] {
      Table& t = table();
      // Whoever holds the lock makes or destroys a communicator even now; the end of the process does not wait for that.
      const std::unique_lock lock(t.mutex, std::try_to_lock);
      if (!lock.owns_lock()) return;
      for (uint32_t index = 0; index < t.used; ++index) {
        const Slot& slot = *slot_at(index);
        const Communicator* communicator = slot.communicator.load(std::memory_order_acquire);
        if (communicator != nullptr && slot.process == process_generation.load(std::memory_order_relaxed))
          communicator->write_statistics();
      }
    });
  });
}

Communicator* find(tutti_comm_t handle, bool& forked) {
  const uint64_t value = number(handle);
  Slot* slot = slot_at(static_cast<uint32_t>((value & 0xffff) - 1));
  return checked(slot, slot != nullptr && slot->generation.load(std::memory_order_relaxed) == value >> 16,
                 forked);
}

bool remove(tutti_comm_t handle) {
  std::unique_ptr<Communicator> gone;
  Table& t = table();
  const std::lock_guard lock(t.mutex);
  const uint64_t value = number(handle);
  const auto index = static_cast<uint32_t>((value & 0xffff) - 1);
  Slot* slot = slot_at(index);
  if (slot == nullptr || slot->generation.load(std::memory_order_relaxed) != value >> 16) return false;
  gone.reset(slot->communicator.exchange(nullptr, std::memory_order_acq_rel));
  if (gone == nullptr) return false;
  // A forked child lets go of its copy without a word: the windows are its parent's.
  if (slot->process != process_generation.load(std::memory_order_relaxed))
    t.inherited.push_back(gone.release());
  t.free.push_back(index);
  return true;
}

tutti_request_t make_request(tutti_comm_t communicator, uint64_t ticket) {
  const uint64_t value = number(communicator);
  return as_handle<tutti_request_t>(ticket << 32 | (value & 0xffffffff));
}

Communicator* find(tutti_request_t request, uint64_t& ticket, bool& forked) {
  const uint64_t value = number(request);
  Slot* slot = slot_at(static_cast<uint32_t>((value & 0xffff) - 1));
  const bool fits = slot != nullptr &&
                    (slot->generation.load(std::memory_order_relaxed) & 0xffff) == (value >> 16 & 0xffff);
  Communicator* communicator = checked(slot, fits, forked);
  if (communicator != nullptr) ticket = communicator->whole_ticket(static_cast<uint32_t>(value >> 32));
  return communicator;
}

}  // namespace tutti::handles
