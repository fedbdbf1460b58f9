#include "runtime/bootstrap/launch.h"

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

#include "core/error.h"
#include "core/units.h"

namespace tutti {

namespace {

constexpr uint64_t kMostRanks = 65536;
constexpr uint64_t kLastPort = 65535;
constexpr const char* kOwnName = "TUTTI_RANK";
constexpr const char* kTorchName = "torchrun";
constexpr const char* kPmixName = "PMIx";

/// A variable of another program; empty counts as not set, as for our own.
std::optional<std::string> given(const LaunchSources& sources, const char* name) {
  const char* value = sources.variable(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

uint64_t number_of(const char* name, const std::string& text, uint64_t low, uint64_t high) {
  const std::optional<uint64_t> value = parse_integer(text);
  if (!value || *value < low || *value > high) {
    raise(Result::invalid_argument, "{}={}: expected a whole number from {} to {}", name, printable(text),
          low, high);
  }
  return *value;
}

/// What one way of starting looks for. Complete: `missing` is empty. None of it is there: `found` is 0.
struct Found {
  std::vector<std::string> missing;
  int found = 0;
};

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 == names.size() ? " and " : ", ";
    text += names[i];
  }
  return text;
}

// ---- TUTTI_RANK, TUTTI_SIZE, TUTTI_UNIQUE_ID

constexpr std::array kOwn = {std::pair{Variable::rank, "TUTTI_RANK"}, std::pair{Variable::size, "TUTTI_SIZE"},
                             std::pair{Variable::unique_id, "TUTTI_UNIQUE_ID"}};

Found look_for_own(const Environment& environment) {
  Found result;
  for (const auto& [variable, name] : kOwn) {
    if (environment.is_set(variable)) {
      ++result.found;
    } else {
      result.missing.emplace_back(name);
    }
  }
  return result;
}

Launch own_launch(const Environment& environment, const Found& found, int number) {
  if (!found.missing.empty()) {
    raise(Result::invalid_argument, "TUTTI_RANK, TUTTI_SIZE and TUTTI_UNIQUE_ID belong together; not set: {}",
          join(found.missing));
  }
  Launch launch;
  launch.source = kOwnName;
  if (number > 0) {
    raise(Result::invalid_usage,
          "TUTTI_UNIQUE_ID names one communicator and this would be number {} of this process: create a "
          "unique id on one rank, "
          "broadcast it through the first communicator and pass it to tutti_comm_create",
          number + 1);
  }
  // The environment has been checked: the rank is below the size.
  launch.rank = static_cast<int>(environment.integer(Variable::rank));
  launch.size = static_cast<int>(environment.integer(Variable::size));
  launch.id = unique_id_from_hex(environment.text(Variable::unique_id));
  return launch;
}

// ---- torchrun

constexpr std::array kTorch = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"};

Found look_for_torch(const LaunchSources& sources) {
  Found result;
  for (const char* name : kTorch) {
    if (given(sources, name)) {
      ++result.found;
    } else {
      result.missing.emplace_back(name);
    }
  }
  return result;
}

Launch torch_launch(const LaunchSources& sources) {
  Launch launch;
  launch.source = kTorchName;
  launch.size = static_cast<int>(number_of("WORLD_SIZE", *given(sources, "WORLD_SIZE"), 1, kMostRanks));
  launch.rank =
      static_cast<int>(number_of("RANK", *given(sources, "RANK"), 0, static_cast<uint64_t>(launch.size) - 1));
  const uint64_t port = number_of("MASTER_PORT", *given(sources, "MASTER_PORT"), 1, kLastPort);
  const uint64_t mine = port + 1 + static_cast<uint64_t>(sources.number);
  if (mine > kLastPort) {
    raise(Result::invalid_argument,
          "MASTER_PORT={}: communicator {} of this process would listen at port {}, and the last one is {}",
          port, sources.number + 1, mine, kLastPort);
  }
  const std::string key =
      fmt::format("torchrun/{}/{}/{}/{}", given(sources, "TORCHELASTIC_RUN_ID").value_or(""),
                  given(sources, "TORCHELASTIC_RESTART_COUNT").value_or("0"), launch.size, sources.number);
  launch.id = UniqueId::derive(*given(sources, "MASTER_ADDR"), static_cast<uint16_t>(mine), key);
  return launch;
}

// ---- PMIx

Launch pmix_launch(const Environment& environment, uint64_t limit_ns, const LaunchSources& sources) {
  const pmix::Shared shared = sources.pmix(fmt::format("tutti.id.{}", sources.number), limit_ns, [&] {
    const UniqueId id =
        UniqueId::create(environment.text(Variable::ifname), environment.text(Variable::port_range));
    std::string bytes(sizeof(id), '\0');
    std::memcpy(bytes.data(), &id, sizeof(id));
    return bytes;
  });
  Launch launch;
  launch.source = kPmixName;
  launch.rank = shared.rank;
  launch.size = shared.size;
  if (shared.value.size() != sizeof(UniqueId)) {
    raise(Result::internal_error, "rank {}: PMIx gave a unique id of {} bytes, expected {}", shared.rank,
          shared.value.size(), sizeof(UniqueId));
  }
  std::memcpy(&launch.id, shared.value.data(), sizeof(launch.id));
  launch.id.check();
  return launch;
}

LaunchSources sources_of_process(int number) {
  const auto variable = [](const char* name) -> const char* { return std::getenv(name); };
  return {.variable = variable,
          .pmix_missing = [variable] { return pmix::why_not(variable); },
          .pmix = pmix::share,
          .number = number};
}

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

UniqueId unique_id_from_hex(const std::string& text) {
  UniqueId id{};
  if (text.size() != 2 * sizeof(id)) {
    raise(Result::invalid_argument, "TUTTI_UNIQUE_ID: expected {} hexadecimal digits, got {} characters",
          2 * sizeof(id), text.size());
  }
  std::array<unsigned char, sizeof(id)> bytes{};
  for (size_t i = 0; i < bytes.size(); ++i) {
    const int high = digit_of(text[2 * i]);
    const int low = digit_of(text[2 * i + 1]);
    if (high < 0 || low < 0) {
      raise(Result::invalid_argument, "TUTTI_UNIQUE_ID: character {} is no hexadecimal digit",
            2 * i + (high < 0 ? 0 : 1));
    }
    bytes[i] = static_cast<unsigned char>(high * 16 + low);
  }
  std::memcpy(&id, bytes.data(), sizeof(id));
  id.check();
  return id;
}

Launch find_launch(const Environment& environment, uint64_t limit_ns, const LaunchSources& sources) {
  const Found own = look_for_own(environment);
  if (own.found > 0) return own_launch(environment, own, sources.number);
  const Found torch = look_for_torch(sources);
  if (torch.missing.empty()) return torch_launch(sources);
  const std::string no_pmix = sources.pmix_missing();
  if (no_pmix.empty()) return pmix_launch(environment, limit_ns, sources);
  raise(Result::invalid_usage,
        "nothing says which rank this process is. Looked for: TUTTI_RANK, TUTTI_SIZE and TUTTI_UNIQUE_ID "
        "(none is set); the "
        "variables of torchrun (not set: {}); PMIx, as of mpirun or srun --mpi=pmix ({})",
        join(torch.missing), no_pmix);
}

Launch find_launch(const Environment& environment, uint64_t limit_ns) {
  static std::atomic<int> made{0};
  return find_launch(environment, limit_ns, sources_of_process(made.fetch_add(1)));
}

std::string launch_source(const Environment& environment) {
  const LaunchSources sources = sources_of_process(0);
  if (look_for_own(environment).found > 0) return kOwnName;
  if (look_for_torch(sources).missing.empty()) return kTorchName;
  return sources.pmix_missing().empty() ? kPmixName : "";
}

}  // namespace tutti
