#include "tests/transports/ranks.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <thread>

namespace port_test {

using namespace tutti;

namespace {

constexpr unsigned kLimitSeconds = 100;  // after which a process of a test ends itself

void write_entry(Shared::Entry& entry, const std::string& text) {
  const size_t bytes = std::min(text.size(), entry.text.size());
  std::memcpy(entry.text.data(), text.data(), bytes);
  entry.bytes.store(static_cast<uint32_t>(bytes), std::memory_order_release);
}

std::string read_entry(const Shared::Entry& entry) {
  return {entry.text.data(), entry.bytes.load(std::memory_order_acquire)};
}

void run_one(Shared& shared, int rank, const std::function<void(Shared&, int)>& body) {
  try {
    body(shared, rank);
  } catch (const std::exception& error) {
    write_entry(shared.failures[static_cast<size_t>(rank)], fmt::format("rank {}: {}", rank, error.what()));
  }
}

std::string run_processes(Shared& shared, int ranks, const std::function<void(Shared&, int)>& body,
                          int killed) {
  std::vector<pid_t> children;
  for (int rank = 0; rank < ranks; ++rank) {
    const pid_t child = fork();
    if (child < 0) raise_errno(errno, "fork");
    if (child == 0) {
      alarm(kLimitSeconds);
      run_one(shared, rank, body);
      _exit(0);
    }
    children.push_back(child);
  }
  std::string problems;
  for (int rank = 0; rank < ranks; ++rank) {
    int status = 0;
    waitpid(children[static_cast<size_t>(rank)], &status, 0);
    const bool was_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (rank == killed ? !was_killed : status != 0)
      problems += fmt::format("rank {} ended with status {:#x}\n", rank, status);
  }
  return problems;
}

uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

std::byte byte_at(size_t i, uint64_t base) {
  return static_cast<std::byte>((base + i * 131 + (i >> 8)) & 0xff);
}

}  // namespace

std::string run(Mode mode, int ranks, const std::function<void(Shared&, int)>& body, int killed) {
  void* const memory =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) raise_errno(errno, "mmap of {} bytes", sizeof(Shared));
  Shared& shared = *::new (memory) Shared();
  std::string problems;
  if (mode == Mode::processes) {
    problems = run_processes(shared, ranks, body, killed);
  } else {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < ranks; ++rank)
      threads.emplace_back([&shared, &body, rank] { run_one(shared, rank, body); });
  }
  for (int rank = 0; rank < ranks; ++rank) {
    const std::string text = read_entry(shared.failures[static_cast<size_t>(rank)]);
    if (!text.empty()) problems += text + "\n";
  }
  munmap(memory, sizeof(Shared));
  return problems;
}

Rank::Rank(Shared& shared, int rank, int ranks, const Maker& maker, size_t slots_bytes, bool opens)
    : shared_(shared),
      rank_(rank),
      ranks_(ranks),
      slots_(slots_bytes),
      inboxes_(static_cast<size_t>(ranks)),
      ports_(static_cast<size_t>(ranks)),
      transport_(maker(rank, ranks, slots_)) {
  write_entry(shared_.addresses[static_cast<size_t>(rank)], transport_->address());
  for (int peer = 0; opens && peer < ranks; ++peer) {
    if (peer != rank) open(peer);
  }
}

std::string Rank::address_of(int peer) const {
  const Shared::Entry& entry = shared_.addresses[static_cast<size_t>(peer)];
  const uint64_t end = now_ns() + 20 * kSecond;
  while (entry.bytes.load(std::memory_order_acquire) == 0) {
    expect(now_ns() < end, "the address of rank {} does not come", peer);
    std::this_thread::yield();
  }
  return read_entry(entry);
}

void Rank::open(int peer) {
  ports_[static_cast<size_t>(peer)] = &transport_->open(peer, address_of(peer), inbox(peer));
}

void Rank::until(const std::function<bool()>& condition, const char* what, uint64_t limit_ns) {
  const uint64_t end = now_ns() + limit_ns;
  while (!condition()) {
    transport_->advance();
    if (condition()) return;
    expect(transport_->failure().rank < 0, "waiting for {}: {}", what, transport_->failure().text);
    expect(now_ns() < end, "waiting in vain for {}", what);
    std::this_thread::yield();
  }
}

void Rank::meet() {
  shared_.phase[static_cast<size_t>(rank_)].store(++phase_, std::memory_order_release);
  until(
      [&] {
        return std::all_of(shared_.phase.begin(), shared_.phase.begin() + ranks_, [&](const auto& phase) {
          return phase.load(std::memory_order_acquire) >= phase_;
        });
      },
      "the other ranks");
}

void fill(std::byte* bytes, size_t count, uint64_t seed) {
  const uint64_t base = mixed(seed);
  for (size_t i = 0; i < count; ++i) bytes[i] = byte_at(i, base);
}

size_t first_wrong(const std::byte* bytes, size_t count, uint64_t seed) {
  const uint64_t base = mixed(seed);
  for (size_t i = 0; i < count; ++i) {
    if (bytes[i] != byte_at(i, base)) return i;
  }
  return count;
}

}  // namespace port_test
