#include "runtime/statistics/file_name.h"

#include <string_view>

namespace tutti {

namespace {

/// True where there was one.
bool replace_all(std::string& text, std::string_view what, const std::string& by) {
  bool found = false;
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size()) {
    text.replace(at, what.size(), by);
    found = true;
  }
  return found;
}

}  // namespace

std::string statistics_file(const std::string& pattern, int rank, int communicator) {
  std::string path = pattern;
  const bool every_rank = replace_all(path, "%r", std::to_string(rank));
  const bool numbered = replace_all(path, "%c", std::to_string(communicator));
  if (path.empty() || (rank != 0 && !every_rank)) return "";
  return numbered || communicator == 1 ? path : path + "." + std::to_string(communicator);
}

}  // namespace tutti
