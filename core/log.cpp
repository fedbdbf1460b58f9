// Where log lines go, and what they look like.
//
// Files are opened on the first line that goes to them and stay open until the process ends or the log is
// configured anew; with "%r" each rank has its own. They are opened for appending: then write(2) places each
// message whole at the end, whoever else writes.
#include "core/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>
#include <map>
#include <mutex>
#include <string_view>
#include <system_error>
#include <utility>

#include "core/env.h"
#include "core/units.h"

namespace tutti {
namespace log_detail {

std::atomic<uint8_t> threshold{kUnconfigured};

namespace {

constexpr int kNoRank = -1;
std::atomic<int> process_rank{kNoRank};
thread_local int thread_rank = kNoRank;

int current_rank() {
  return thread_rank >= 0 ? thread_rank : process_rank.load(std::memory_order_relaxed);
}

/// An open file; descriptors are not inherited by programs that the process starts.
class LogFile {
 public:
  explicit LogFile(const std::string& path)
      : descriptor_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)),
        error_(descriptor_ < 0 ? errno : 0) {}
  ~LogFile() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  /// Standard error where the file could not be opened: a message is worth more than its place.
  int descriptor() const { return descriptor_ >= 0 ? descriptor_ : STDERR_FILENO; }
  /// 0, or why the file could not be opened.
  int error() const { return error_; }

 private:
  int descriptor_;
  int error_;
};

struct Sink {
  std::mutex mutex;
  std::string path;  // as configured, with "%r"
  std::map<std::string, LogFile> files;

  /// The caller holds the mutex.
  void configure(Level level, std::string file) {
    files.clear();
    path = std::move(file);
    threshold.store(static_cast<uint8_t>(level), std::memory_order_relaxed);
  }
};

/// Never destroyed (a union destroys no member by itself): other threads may log while the process ends.
union Forever {
  Sink sink{};
  ~Forever() {}  // NOLINT(modernize-use-equals-default): a defaulted one would be deleted
};

Sink& sink() {
  static Forever forever;
  return forever.sink;
}

std::string path_for(const std::string& pattern, int rank) {
  const std::string name = rank >= 0 ? std::to_string(rank) : "none";
  std::string path = pattern;
  for (size_t at = path.find("%r"); at != std::string::npos; at = path.find("%r", at + name.size())) {
    path.replace(at, 2, name);
  }
  return path;
}

void write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;  // nobody left to tell
    text.remove_prefix(static_cast<size_t>(written));
  }
}

std::string prefix_of(Level level, int rank) {
  constexpr std::string_view kNames[] = {"off", "error", "warning", "info", "debug"};
  const std::string_view name = kNames[static_cast<size_t>(level)];
  return rank >= 0 ? fmt::format("tutti[rank {}] {}: ", rank, name) : fmt::format("tutti: {}: ", name);
}

/// The message with the prefix before each of its lines and one line end after each.
std::string with_prefix(const std::string& prefix, std::string_view message) {
  std::string out;
  do {
    const size_t end = message.find('\n');
    out.append(prefix).append(message.substr(0, end)).push_back('\n');
    message = end == std::string_view::npos ? std::string_view() : message.substr(end + 1);
  } while (!message.empty());
  return out;
}

/// The lock is held for the write as well, so that nobody closes the file meanwhile.
void send(int rank, std::string_view text) {
  Sink& to = sink();
  const std::lock_guard lock(to.mutex);
  if (to.path.empty()) {
    write_all(STDERR_FILENO, text);
    return;
  }
  const std::string path = path_for(to.path, rank);
  const auto [file, opened_now] = to.files.try_emplace(path, path);
  if (opened_now && file->second.error() != 0) {
    write_all(STDERR_FILENO, fmt::format("{}cannot open the log file {}: {}; using standard error\n",
                                         prefix_of(Level::error, rank), printable(path),
                                         std::system_category().message(file->second.error())));
  }
  write_all(file->second.descriptor(), text);
}

}  // namespace

void configure_from_environment() noexcept {
  Level level = Level::warn;
  std::string file;
  try {
    const Environment& environment = Environment::process();
    level = environment.choice<Level>(Variable::log);
    file = environment.text(Variable::log_file);
  } catch (...) {  // NOLINT(bugprone-empty-catch): whoever uses the environment reports it
  }
  Sink& to = sink();
  const std::lock_guard lock(to.mutex);
  // configure_log() may have been faster on another thread, and it has the last word.
  if (threshold.load(std::memory_order_relaxed) == kUnconfigured) to.configure(level, std::move(file));
}

void write(Level level, fmt::string_view format, fmt::format_args args) noexcept {
  const int error = errno;
  try {
    const int rank = current_rank();
    send(rank, with_prefix(prefix_of(level, rank), fmt::vformat(format, args)));
  } catch (...) {
    write_all(STDERR_FILENO, "tutti: error: a log message could not be formatted\n");
  }
  errno = error;
}

}  // namespace log_detail

void configure_log(Level level, const std::string& file) {
  log_detail::Sink& to = log_detail::sink();
  const std::lock_guard lock(to.mutex);
  to.configure(level, file);
}

void set_log_rank(int rank) noexcept {
  log_detail::process_rank.store(rank, std::memory_order_relaxed);
}

ScopedLogRank::ScopedLogRank(int rank) noexcept : before_(log_detail::thread_rank) {
  log_detail::thread_rank = rank;
}

ScopedLogRank::~ScopedLogRank() {
  log_detail::thread_rank = before_;
}

}  // namespace tutti
