#include "tests/gpu/emulation/scheduler.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "tests/gpu/emulation/lasting.h"
#include "tests/gpu/emulation/poison.h"

namespace tutti::emulation {
namespace {

/// The room of one multiprocessor. Divisible by every number of blocks that one can hold, so that shares add up exactly.
constexpr uint64_t kRoom = 144'403'552'893'600;  // the least common multiple of 1 .. 32

uint64_t room_of_device() {
  return kRoom * static_cast<uint64_t>(settings().multiprocessors);
}
uint64_t share_of(const Launch& launch) {
  return kRoom / static_cast<uint64_t>(launch.resident);
}

constexpr size_t kStaticShared = 64 << 10;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

std::unique_ptr<void, Free> poisoned(size_t bytes) {
  std::unique_ptr<void, Free> memory{std::aligned_alloc(128, (bytes + 127) / 128 * 128)};
  if (memory == nullptr) std::abort();
  std::memset(memory.get(), kPoison, bytes);
  return memory;
}

}  // namespace

struct Scheduler::Block {
  explicit Block(OperationPtr kernel)
      : operation(std::move(kernel)),
        index(operation->blocks_started),
        shared_bytes(operation->work.launch->shared_bytes + kStaticShared),
        shared(poisoned(shared_bytes)),
        threads(std::min(settings().threads, operation->work.launch->block_size)),
        running(threads) {}

  OperationPtr operation;
  unsigned index;
  size_t shared_bytes;
  std::unique_ptr<void, Free> shared;
  cuda::BlockBarrier barrier;
  unsigned threads;
  unsigned running;
};

Scheduler& scheduler() {
  return lasting<Scheduler>();
}

bool Scheduler::can_be_resident(const Launch& launch) {
  return launch.blocks <=
         static_cast<uint64_t>(settings().multiprocessors) * static_cast<uint64_t>(launch.resident);
}

OperationPtr Scheduler::submit(Lock& lock, Work work, const std::vector<OperationPtr>& after) {
  auto operation = std::make_shared<Operation>();
  operation->work = std::move(work);
  operation->number = next_number_++;
  if (operation->work.launch != nullptr) kernels_.emplace(operation->number, operation.get());
  for (const OperationPtr& before : after) {
    if (before == nullptr || before->ended) continue;
    before->successors.push_back(operation);
    ++operation->awaited;
  }
  if (operation->awaited == 0) begin(lock, operation);
  return operation;
}

void Scheduler::begin(Lock& lock, const OperationPtr& operation) {
  const Work& work = operation->work;
  if (work.launch != nullptr) {
    devices_.at(static_cast<size_t>(work.device)).queue.push_back(operation);
    admit(lock, work.device);
  } else if (work.run != nullptr) {
    pool_.run([this, operation] {
      operation->work.run();
      Lock relock(mutex_);
      end(relock, operation);
    });
  } else {
    end(lock, operation);
  }
}

void Scheduler::end(Lock& lock, const OperationPtr& operation) {
  std::vector<OperationPtr> ended{operation};
  std::vector<OperationPtr> ready;
  while (!ended.empty()) {
    const OperationPtr now = std::move(ended.back());
    ended.pop_back();
    now->ended = true;
    now->end = Clock::now();
    kernels_.erase(now->number);
    for (OperationPtr& next : std::exchange(now->successors, {})) {
      if (--next->awaited != 0) continue;
      const bool empty = next->work.launch == nullptr && next->work.run == nullptr;
      (empty ? ended : ready).push_back(std::move(next));
    }
  }
  changed_.notify_all();
  for (const OperationPtr& next : ready) begin(lock, next);
}

void Scheduler::admit(Lock& lock, int device) {
  Device& here = devices_.at(static_cast<size_t>(device));
  while (!here.queue.empty()) {
    const OperationPtr kernel = here.queue.front();
    const Launch& launch = *kernel->work.launch;
    const uint64_t share = share_of(launch);
    const uint64_t at_once = launch.cooperative ? launch.blocks : 1;
    while (kernel->blocks_started < launch.blocks) {
      if (here.used + at_once * share > room_of_device()) return;
      here.used += at_once * share;
      for (uint64_t i = 0; i < at_once; ++i) start_block(lock, kernel);
    }
    here.queue.pop_front();
  }
}

void Scheduler::start_block(Lock&, const OperationPtr& operation) {
  const auto block = std::make_shared<Block>(operation);
  ++operation->blocks_started;
  for (unsigned thread = 0; thread < block->threads; ++thread) {
    pool_.run([this, block, thread] { run_thread(block, thread); });
  }
}

void Scheduler::run_thread(const std::shared_ptr<Block>& block, unsigned thread) {
  const OperationPtr& operation = block->operation;
  const Launch& launch = *operation->work.launch;
  EmulatedBlock place;
  place.block = block->index;
  place.blocks = launch.blocks;
  place.thread = thread;
  place.threads = block->threads;
  place.block_size = launch.block_size;
  place.barrier = &block->barrier;
  place.shared = block->shared.get();
  place.shared_bytes = block->shared_bytes;
  // A kernel does not write to its parameters.
  void* parameters[] = {const_cast<std::byte*>(launch.parameter.data()), nullptr};
  launch.kernel->run(place, parameters);

  Lock lock(mutex_);
  if (--block->running != 0) return;
  const int device = operation->work.device;
  devices_.at(static_cast<size_t>(device)).used -= share_of(launch);
  if (++operation->blocks_ended == launch.blocks) end(lock, operation);
  admit(lock, device);
}

void Scheduler::wait(Lock& lock, const std::vector<OperationPtr>& operations, const char* call) {
  const auto ended = [&] {
    return std::all_of(operations.begin(), operations.end(), [](const OperationPtr& operation) {
      return operation == nullptr || operation->ended;
    });
  };
  const auto limit = 10 * settings().patience;
  if (!changed_.wait_until(lock, Clock::now() + limit, ended)) give_up(lock, call, limit);
}

void Scheduler::wait_for_kernels(int device, const char* call) {
  Lock lock(mutex_);
  const uint64_t first_later = next_number_;
  const auto ended = [&] {
    return std::none_of(kernels_.begin(), kernels_.lower_bound(first_later), [&](const auto& entry) {
      return device == kAllDevices || entry.second->work.device == device;
    });
  };
  const auto limit = settings().patience;
  if (!changed_.wait_until(lock, Clock::now() + limit, ended)) give_up(lock, call, limit);
}

void Scheduler::give_up(Lock&, const char* call, std::chrono::milliseconds waited) {
  std::fprintf(stderr, "emulated CUDA: %s has waited %lld ms for work that has not ended:\n", call,
               static_cast<long long>(waited.count()));
  for (const auto& [number, operation] : kernels_) {
    const Launch& launch = *operation->work.launch;
    std::fprintf(stderr, "  kernel '%s' (operation %llu, device %d): %u blocks, %u begun, %u ended%s\n",
                 launch.kernel->name, static_cast<unsigned long long>(number), operation->work.device,
                 launch.blocks, operation->blocks_started, operation->blocks_ended,
                 operation->awaited != 0 ? ", behind other work" : "");
  }
  std::fflush(stderr);
  std::abort();
}

}  // namespace tutti::emulation
