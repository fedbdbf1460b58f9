// The abort token: how the first error of a job reaches everybody, through memory that all ranks of a node share.
//
// The first rank that raises it wins; its text is what every rank reports. The token is one-way: once raised it stays.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/sync.h"

namespace tutti {

/// Lives in shared memory, zero at the start. 1 KiB.
struct alignas(kCacheLine) AbortState {
  enum Phase : uint32_t { kQuiet = 0, kWriting = 1, kRaised = 2 };
  std::atomic<uint32_t> phase;
  int32_t code;
  int32_t rank;
  char text[1012];
};
static_assert(sizeof(AbortState) == 1024);

class AbortToken {
 public:
  AbortToken() = default;
  explicit AbortToken(AbortState* state) : state_(state) {}

  /// One load of a line that nobody writes while all is well.
  bool raised() const { return state_->phase.load(std::memory_order_acquire) == AbortState::kRaised; }

  /// Spreads an error unless another came first. Any thread, any rank.
  void raise(Result code, int rank, std::string_view text) {
    uint32_t quiet = AbortState::kQuiet;
    if (!state_->phase.compare_exchange_strong(quiet, AbortState::kWriting, std::memory_order_acquire))
      return;
    state_->code = static_cast<int32_t>(code);
    state_->rank = rank;
    const size_t length = std::min(text.size(), sizeof(state_->text) - 1);
    std::memcpy(state_->text, text.data(), length);
    state_->text[length] = '\0';
    state_->phase.store(AbortState::kRaised, std::memory_order_release);
  }

  // What was raised; only after raised().
  Result code() const { return static_cast<Result>(state_->code); }
  int rank() const { return state_->rank; }
  std::string text() const { return {state_->text, strnlen(state_->text, sizeof(state_->text))}; }

 private:
  AbortState* state_ = nullptr;
};

}  // namespace tutti
