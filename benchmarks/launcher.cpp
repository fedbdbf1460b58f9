// The three ways to a World.
#include "benchmarks/launcher.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <system_error>
#include <thread>
#include <utility>

#include "benchmarks/mpi_session.h"
#include "core/units.h"

namespace tutti::bench {
namespace {

/// The first of the variables that is set; they name the rank of a process that an MPI launcher started.
std::optional<std::string> first_set(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return value;
  }
  return std::nullopt;
}

int rank_or_zero(const std::string& text) {
  const std::optional<uint64_t> value = parse_integer(text);
  return value && *value < static_cast<uint64_t>(kMostRanks) ? static_cast<int>(*value) : 0;
}

int from_environment(const char* name, int64_t low, int64_t high) {
  const char* text = std::getenv(name);
  const std::optional<uint64_t> value = text == nullptr ? std::nullopt : parse_integer(text);
  if (!value || static_cast<int64_t>(*value) < low || static_cast<int64_t>(*value) > high) {
    throw UsageError(fmt::format("{}: '{}' is not allowed; allowed: a whole number from {} to {}", name,
                                 text == nullptr ? "" : printable(text), low, high));
  }
  return static_cast<int>(*value);
}

/// The communicator that --algorithm applies to; `make` takes its configuration. All ranks refuse a bad name alike.
template <typename Make>
Communicator measured_communicator(const Options& options, Make make) {
  Config config;
  config.timeout = std::chrono::nanoseconds(options.timeout_ns);
  config.algorithm = options.algorithm;
  try {
    return make(config);
  } catch (const Exception& error) {
    if (error.code() != TUTTI_INVALID_ARGUMENT || options.algorithm.empty()) throw;
    throw UsageError(fmt::format("--algorithm: {}", error.what()));
  }
}

/// One id makes one communicator: rank 0 sends the next id through the first communicator.
UniqueId next_id(Communicator& control, int rank) {
  tutti_unique_id_t id{};
  if (rank == 0) id = UniqueId::create().get();
  control.broadcast(std::span<unsigned char>(id.bytes), 0);
  return UniqueId(id);
}

/// The same by a unique id.
Communicator measured_by_id(Communicator& control, int rank, int size, const Options& options) {
  const UniqueId id = next_id(control, rank);
  return measured_communicator(
      options, [&](const Config& config) { return Communicator::create(id, rank, size, config); });
}

}  // namespace

Started how_started() {
  if (const auto rank = first_set({"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK"})) {
    return {Launch::mpi, rank_or_zero(*rank)};
  }
  if (const auto rank = first_set({"TUTTI_RANK"})) return {Launch::environment, rank_or_zero(*rank)};
  return {Launch::local, 0};
}

World::World(Launch launch, Communicator control, Communicator measured)
    : launch_(launch),
      control_(std::move(control)),
      measured_(std::move(measured)),
      rank_(control_.rank()),
      size_(control_.size()) {}

const char* World::launch_name() const {
  switch (launch_) {
    case Launch::mpi:
      return "mpirun";
    case Launch::environment:
      return "environment";
    case Launch::local:
      break;
  }
  return "local";
}

int World::nodes() const {
  return measured_.nodes();
}

Communicator World::another_communicator() {
  return Communicator::create(next_id(control_, rank_), rank_, size_);
}

double World::max(double value) {
  max(std::span<double>(&value, 1));
  return value;
}

int64_t World::sum(int64_t value) {
  control_.all_reduce(std::span<int64_t>(&value, 1), TUTTI_SUM);
  return value;
}

bool World::any(bool value) {
  return sum(value ? 1 : 0) != 0;
}

World join_mpi(MpiSession& mpi, const Options& options) {
  Communicator control = mpi.make_communicator(Config{});
  Communicator measured =
      measured_communicator(options, [&](const Config& config) { return mpi.make_communicator(config); });
  return {Launch::mpi, std::move(control), std::move(measured)};
}

World join_environment(const Options& options) {
  const int size = from_environment("TUTTI_SIZE", 1, kMostRanks);
  const int rank = from_environment("TUTTI_RANK", 0, size - 1);
  const char* id = std::getenv("TUTTI_UNIQUE_ID");
  if (id == nullptr)
    throw UsageError("TUTTI_RANK is set and TUTTI_UNIQUE_ID is not: all ranks need the same id");
  Communicator control = Communicator::create(UniqueId::from_hex(id), rank, size);
  Communicator measured = measured_by_id(control, rank, size, options);
  return {Launch::environment, std::move(control), std::move(measured)};
}

struct IdBoard::Content {
  std::atomic<bool> ready{false};
  tutti_unique_id_t id{};
};

IdBoard::IdBoard() {
  void* memory = ::mmap(nullptr, sizeof(Content), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    throw std::system_error(errno, std::generic_category(), "memory shared by local ranks");
  content_ = ::new (memory) Content;
}

IdBoard::~IdBoard() {
  ::munmap(content_, sizeof(Content));
}

void IdBoard::publish(const UniqueId& id) {
  content_->id = id.get();
  content_->ready.store(true, std::memory_order_release);
}

// Ends, for rank 0 either publishes or fails, and then its parent ends all ranks.
UniqueId IdBoard::await() const {
  while (!content_->ready.load(std::memory_order_acquire))
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  return UniqueId(content_->id);
}

World join_local(int rank, int size, IdBoard& board, const Options& options) {
  if (rank == 0) board.publish(UniqueId::create());
  Communicator control = Communicator::create(board.await(), rank, size);
  Communicator measured = measured_by_id(control, rank, size, options);
  return {Launch::local, std::move(control), std::move(measured)};
}

}  // namespace tutti::bench
