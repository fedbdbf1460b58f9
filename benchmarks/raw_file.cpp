// Writes one line at a time; a line that does not fit is taken back.
#include "benchmarks/raw_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>
#include <stdexcept>
#include <system_error>

#include "benchmarks/document.h"
#include "benchmarks/options.h"
#include "core/units.h"

namespace tutti::bench {
namespace {

std::string problem(const std::string& path, const char* what, int error) {
  return fmt::format("--raw: {} {}: {}", printable(path), what, std::generic_category().message(error));
}

/// Nanoseconds are the smallest digit that a stamp knows; a mean over a chain gets one more.
template <typename Values>
void append_numbers(std::string& text, const Values& values) {
  text += '[';
  for (size_t i = 0; i < values.size(); ++i)
    fmt::format_to(std::back_inserter(text), "{}{:.4f}", i == 0 ? "" : ",", values[i]);
  text += ']';
}

}  // namespace

RawFile::RawFile(const std::string& path) : path_(path) {
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) throw UsageError(problem(path, "cannot be created", errno));
}

RawFile::~RawFile() {
  ::close(fd_);
}

void RawFile::header(const CollectiveInfo& collective, const Machine& machine) {
  line(raw_header(collective, machine));
}

void RawFile::row(const CollectiveInfo& collective, const Row& row) {
  std::string text = fmt::format(R"({{"row": {}, "start_us": )", row_text(collective, row));
  append_numbers(text, row.trace.start_us);
  text += R"(, "us": )";
  append_numbers(text, row.trace.us);
  if (!row.trace.late_us.empty()) {
    text += R"(, "late_us": [)";
    for (size_t rank = 0; rank < row.trace.late_us.size(); ++rank) {
      if (rank > 0) text += ',';
      append_numbers(text, row.trace.late_us[rank]);
    }
    text += ']';
  }
  line(text + '}');
}

void RawFile::line(const std::string& text) {
  const std::string whole = text + '\n';
  for (size_t written = 0; written < whole.size();) {
    const ssize_t now = ::write(fd_, whole.data() + written, whole.size() - written);
    if (now < 0 && errno == EINTR) continue;
    if (now <= 0) {
      const int error = errno;
      [[maybe_unused]] const int taken_back = ::ftruncate(fd_, size_);
      throw std::runtime_error(problem(path_, "cannot be written", error));
    }
    written += static_cast<size_t>(now);
  }
  size_ += static_cast<int64_t>(whole.size());
}

}  // namespace tutti::bench
