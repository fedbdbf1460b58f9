// What Tutti says to people: leveled lines on standard error or in a file.
//
//     log(Level::warn, "waiting {} for rank {}", format_duration_short(ns), peer);
//     tutti[rank 3] warning: waiting 10.0s for rank 1
//
// A message whose level is off costs one relaxed load and a branch; its arguments are evaluated, so keep those
// cheap or ask log_enabled() first. A message that is on is written with one write(2), every line of it with
// the prefix, so lines of several threads and processes never mix. Logging never throws and keeps errno.
//
// TUTTI_LOG and TUTTI_LOG_FILE say what goes where; a process whose environment is malformed logs as if both
// were unset, since the error about it must get out.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <cstdint>
#include <string>

namespace tutti {

/// In the order of the values that TUTTI_LOG allows.
enum class Level : uint8_t { off = 0, error = 1, warn = 2, info = 3, debug = 4 };

namespace log_detail {

/// Above every level: the first message goes the long way, which reads the environment.
inline constexpr uint8_t kUnconfigured = 255;
extern std::atomic<uint8_t> threshold;

void configure_from_environment() noexcept;
void write(Level level, fmt::string_view format, fmt::format_args args) noexcept;

}  // namespace log_detail

inline bool log_enabled(Level level) noexcept {
  const uint8_t threshold = log_detail::threshold.load(std::memory_order_relaxed);
  if (level == Level::off || static_cast<uint8_t>(level) > threshold) [[likely]] {
    return false;
  }
  if (threshold != log_detail::kUnconfigured) return true;
  log_detail::configure_from_environment();
  return static_cast<uint8_t>(level) <= log_detail::threshold.load(std::memory_order_relaxed);
}

template <typename... Args>
void log(Level level, fmt::format_string<Args...> format, Args&&... args) noexcept {
  if (log_enabled(level)) log_detail::write(level, format, fmt::make_format_args(args...));
}

/// Sets level and file (empty: standard error; "%r" stands for the rank) regardless of the environment.
void configure_log(Level level, const std::string& file = "");

/// The rank that this process's messages name; negative for none, as at the start.
void set_log_rank(int rank) noexcept;

/// While it lives, the messages of this thread name `rank`: for ranks that are threads of one process.
class ScopedLogRank {
 public:
  explicit ScopedLogRank(int rank) noexcept;
  ~ScopedLogRank();
  ScopedLogRank(const ScopedLogRank&) = delete;
  ScopedLogRank& operator=(const ScopedLogRank&) = delete;

 private:
  int before_;
};

}  // namespace tutti
