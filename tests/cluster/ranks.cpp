#include "tests/cluster/ranks.h"

#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "core/clock.h"
#include "core/units.h"
#include "tests/runtime/support/expect.h"

#if TUTTI_HAVE_MPI
#include "tests/cluster/by_mpi.h"
#endif

namespace cluster {

namespace {

constexpr uint64_t kFileLimit = 20'000'000'000;  // ns until the id must be there

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

void write_id(const std::string& path, const tutti_unique_id_t& id) {
  const std::string half = path + ".part";
  {
    const File file(std::fopen(half.c_str(), "wb"));
    expect(
        file && std::fwrite(id.bytes, sizeof(id.bytes), 1, file.get()) == 1 && std::fflush(file.get()) == 0,
        "{}: {}", half, std::strerror(errno));
  }
  expect(std::rename(half.c_str(), path.c_str()) == 0, "{}: {}", path, std::strerror(errno));
}

/// The file appears whole or not at all.
tutti_unique_id_t read_id(const std::string& path) {
  const uint64_t start = tutti::now_ns();
  tutti_unique_id_t id;
  for (;;) {
    const File file(std::fopen(path.c_str(), "rb"));
    if (file) {
      expect(std::fread(id.bytes, sizeof(id.bytes), 1, file.get()) == 1, "{} is too short", path);
      return id;
    }
    expect(tutti::now_ns() - start < kFileLimit, "rank 0 wrote no id to {} within 20 s", path);
    const timespec pause = {0, 2'000'000};
    nanosleep(&pause, nullptr);
  }
}

}  // namespace

Options::Options(int argc, char** argv, int first) {
  for (int i = first; i < argc; ++i) {
    const std::string word = argv[i];
    const size_t equals = word.find('=');
    expect(equals != std::string::npos, "'{}' is not name=value", word);
    values_[word.substr(0, equals)] = word.substr(equals + 1);
  }
}

std::string Options::text(const std::string& name, const std::string& fallback) const {
  const auto found = values_.find(name);
  return found == values_.end() ? fallback : found->second;
}

int64_t Options::number(const std::string& name, int64_t fallback) const {
  const auto found = values_.find(name);
  if (found == values_.end()) return fallback;
  size_t used = 0;
  const int64_t value = std::stoll(found->second, &used);
  expect(used == found->second.size(), "{}={} is no number", name, found->second);
  return value;
}

Ranks::Ranks(const Options& options) : file_(options.text("id", "")) {
  if (!file_.empty()) {
    rank_ = static_cast<int>(options.number("rank", 0));
    size_ = static_cast<int>(options.number("size", 1));
    return;
  }
#if TUTTI_HAVE_MPI
  expect(by_mpi_begin(&rank_, &size_) != 0, "MPI does not start");
  by_mpi_ = true;
#else
  throw std::runtime_error("this build has no MPI: id=FILE rank=R size=N are needed");
#endif
}

Ranks::~Ranks() {
#if TUTTI_HAVE_MPI
  if (by_mpi_) by_mpi_end();
#endif
}

tutti_unique_id_t Ranks::id_by_file() {
  const std::string path = fmt::format("{}.{}", file_, made_++);
  if (rank_ != 0) return read_id(path);
  tutti_unique_id_t id;
  expect_success(tutti_unique_id_create(&id), "tutti_unique_id_create");
  write_id(path, id);
  return id;
}

tutti_result_t Ranks::try_create(Comm& comm, const std::string& algorithm) {
  tutti_comm_config_t config = TUTTI_COMM_CONFIG_INIT;
  if (!algorithm.empty()) config.algorithm = algorithm.c_str();
  tutti_comm_t made = nullptr;
  tutti_result_t result = TUTTI_UNSUPPORTED;
  if (by_mpi_) {
#if TUTTI_HAVE_MPI
    result = by_mpi_create(&made, &config);
#endif
  } else {
    const tutti_unique_id_t id = id_by_file();
    result = tutti_comm_create(&made, &id, rank_, size_, &config);
  }
  comm.reset(made);
  return result;
}

Comm Ranks::create(const std::string& algorithm) {
  Comm comm;
  expect_success(try_create(comm, algorithm),
                 fmt::format("rank {} of {}: making a communicator", rank_, size_));
  return comm;
}

void Ranks::give_up(const std::string& why) {
  std::fprintf(stderr, "rank %d of %d: %s\n", rank_, size_, why.c_str());
#if TUTTI_HAVE_MPI
  if (by_mpi_) by_mpi_abort();
#endif
  std::_Exit(1);
}

void report(const std::string& json) {
  // One write: lines of several ranks do not mix.
  const std::string line = "RESULT " + json + "\n";
  const ssize_t written = write(STDOUT_FILENO, line.data(), line.size());
  expect(written == static_cast<ssize_t>(line.size()), "standard output: {}", std::strerror(errno));
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace cluster
