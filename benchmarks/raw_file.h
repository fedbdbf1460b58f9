// The raw samples of a run: JSON Lines, each row as soon as it is measured.
//
//   {"kind": "tutti-raw", "version": 1, "collective": ..., "machine": {...}, "command": ...}
//   {"row": {as in the results}, "start_us": [...], "us": [...], "late_us": [[of rank 0], [of rank 1], ...]}
//
// A line is there whole or not at all as long as the writer lives; what a killed writer leaves may end in half a line. The file of a run
// that was interrupted ends with the last row that was measured.
#pragma once

#include <cstdint>
#include <string>

#include "benchmarks/output.h"

namespace tutti::bench {

class RawFile {
 public:
  /// Throws UsageError where the file cannot be.
  explicit RawFile(const std::string& path);
  ~RawFile();
  RawFile(const RawFile&) = delete;
  RawFile& operator=(const RawFile&) = delete;

  // Throw std::runtime_error where the text cannot be written.
  void header(const CollectiveInfo& collective, const Machine& machine);
  void row(const CollectiveInfo& collective, const Row& row);

 private:
  void line(const std::string& text);

  std::string path_;
  int fd_ = -1;
  int64_t size_ = 0;  // of the whole lines
};

}  // namespace tutti::bench
