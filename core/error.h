// Errors: one code set for the whole library, an exception for set-up, a plain code for the data path.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace tutti {

/// The numeric values are part of the public C ABI and never change.
enum class Result : int {
  success = 0,
  in_progress = 1,       // not an error: the operation has not completed yet
  invalid_argument = 2,  // an argument of this call is wrong; the communicator is unharmed
  invalid_usage = 3,  // the call does not fit the object's state (destroyed, poisoned by fork, wrong thread)
  mismatch = 4,       // ranks called different operations, or were configured differently
  timeout = 5,        // a deadline passed while waiting for a peer
  peer_lost = 6,      // a peer's process ended or its communicator was destroyed
  aborted = 7,        // tutti_comm_abort was called
  system_error = 8,   // the operating system refused something
  unsupported = 9,    // valid, but not available in this build or on this machine
  internal_error = 10,  // a defect of Tutti
};

constexpr std::string_view name_of(Result code) {
  constexpr std::string_view kNames[] = {"success",      "in progress", "invalid argument", "invalid usage",
                                         "mismatch",     "timeout",     "peer lost",        "aborted",
                                         "system error", "unsupported", "internal error"};
  return kNames[static_cast<size_t>(code)];
}

/// Thrown by set-up code. The message says what was expected, what came, where, and what to do.
class Error : public std::runtime_error {
 public:
  Error(Result code, const std::string& message) : std::runtime_error(message), code_(code) {}
  Result code() const noexcept { return code_; }

 private:
  Result code_;
};

template <typename... Args>
[[noreturn]] void raise(Result code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// Throws system_error with the text of errno: `raise_errno("memfd_create of {} bytes", n)`.
template <typename... Args>
[[noreturn]] void raise_errno(int error, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(Result::system_error, fmt::format("{}: {}", fmt::format(format, std::forward<Args>(args)...),
                                                std::system_category().message(error)));
}

}  // namespace tutti
