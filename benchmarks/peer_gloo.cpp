// The module of Gloo.
//
// A full mesh of TCP connections; their addresses are exchanged through the run's own communicator, so that no store is needed. On one node it goes over
// loopback, between nodes over the interface that GLOO_SOCKET_IFNAME names (as PyTorch reads it), or else the first that is up and neither loopback nor
// a bridge of containers. Calls are those of Gloo's current interface, allreduce(AllreduceOptions) and broadcast(BroadcastOptions), whose
// options are made when a row begins. Gloo leaves the choice between its two all-reduce algorithms to its user: when a row begins both are tried, and the
// faster one is measured.
#include <fmt/format.h>
#include <gloo/allreduce.h>
#include <gloo/broadcast.h>
#include <gloo/config.h>
#include <gloo/context.h>
#include <gloo/math.h>
#include <gloo/transport/address.h>
#include <gloo/transport/context.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/types.h>
#include <ifaddrs.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <type_traits>
#include <vector>

#include "benchmarks/baseline.h"

namespace tutti::bench {
namespace {

using Reduce = void (*)(void*, const void*, const void*, size_t);

template <typename T>
Reduce reduce_of(tutti_op_t op) {
  switch (op) {
    case TUTTI_PROD:
      return &gloo::product<T>;
    case TUTTI_MIN:
      return &gloo::min<T>;
    case TUTTI_MAX:
      return &gloo::max<T>;
    default:
      return &gloo::sum<T>;
  }
}

/// Calls `with` with a value of Gloo's type; false where it has none.
template <typename With>
bool with_type(tutti_datatype_t datatype, With with) {
  switch (datatype) {
    case TUTTI_INT8:
      with(int8_t{});
      return true;
    case TUTTI_UINT8:
      with(uint8_t{});
      return true;
    case TUTTI_INT16:
      with(int16_t{});
      return true;
    case TUTTI_UINT16:
      with(uint16_t{});
      return true;
    case TUTTI_INT32:
      with(int32_t{});
      return true;
    case TUTTI_UINT32:
      with(uint32_t{});
      return true;
    case TUTTI_INT64:
      with(int64_t{});
      return true;
    case TUTTI_UINT64:
      with(uint64_t{});
      return true;
    case TUTTI_FLOAT16:
      with(gloo::float16{});
      return true;
    case TUTTI_FLOAT32:
      with(float{});
      return true;
    case TUTTI_FLOAT64:
      with(double{});
      return true;
    default:
      return false;
  }
}

/// Up, not loopback, no bridge of containers, with an address.
std::string first_interface() {
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) throw std::runtime_error("Gloo: the network interfaces cannot be listed");
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(list, &freeifaddrs);
  for (const ifaddrs* one = list; one != nullptr; one = one->ifa_next) {
    const std::string_view name(one->ifa_name);
    const bool is_up = (one->ifa_flags & IFF_UP) != 0 && (one->ifa_flags & IFF_LOOPBACK) == 0;
    const bool is_bridge = name.starts_with("docker") || name.starts_with("br-") || name.starts_with("virbr");
    const bool has_address = one->ifa_addr != nullptr && one->ifa_addr->sa_family == AF_INET;
    if (is_up && !is_bridge && has_address) return std::string(name);
  }
  throw std::runtime_error(
      "Gloo: no network interface between nodes was found; GLOO_SOCKET_IFNAME names one");
}

/// A context whose pairs are connected by hand.
class JoinedContext final : public gloo::Context {
 public:
  JoinedContext(BaselineRanks& ranks, std::shared_ptr<gloo::transport::Device> device,
                std::chrono::milliseconds timeout)
      : gloo::Context(ranks.rank(), ranks.size()) {
    setTimeout(timeout);
    device_ = std::move(device);
    transportContext_ = device_->createContext(rank, size);
    transportContext_->setTimeout(timeout);
    connect_all(ranks);
  }

 private:
  static constexpr size_t kAddressBytes = gloo::transport::Address::kMaxByteSize;

  /// Where, for each rank, the address is of this rank's pair with it.
  struct Addresses {
    explicit Addresses(size_t ranks) : bytes(ranks * kAddressBytes) {}
    std::byte* of(size_t rank) { return &bytes[rank * kAddressBytes]; }
    std::vector<std::byte> bytes;
  };

  void connect_all(BaselineRanks& ranks) {
    const auto others = static_cast<size_t>(size);
    Addresses own(others);
    size_t length = 0;
    for (int peer = 0; peer < size; ++peer) {
      if (peer == rank) continue;
      const std::vector<char> address = transportContext_->createPair(peer)->address().bytes();
      length = address.size();
      std::memcpy(own.of(static_cast<size_t>(peer)), address.data(), length);
    }
    Addresses all(others * others);
    ranks.gather(own.bytes, all.bytes);
    for (int peer = 0; peer < size; ++peer) {
      if (peer == rank) continue;
      const std::byte* address = all.of(static_cast<size_t>(peer) * others + static_cast<size_t>(rank));
      std::vector<char> bytes(length);
      std::memcpy(bytes.data(), address, length);
      transportContext_->getPair(peer)->connect(bytes);
    }
  }
};

class GlooLibrary final : public Baseline {
 public:
  explicit GlooLibrary(const BaselineSetup& setup)
      : collective_(setup.collective), ranks_(setup.ranks), interface_(choose_interface()) {
    const auto timeout =
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::nanoseconds(setup.timeout_ns));
    gloo::transport::tcp::attr where;
    where.iface = interface_;
    where.ai_family = AF_UNSPEC;
    context_ = std::make_shared<JoinedContext>(ranks_, gloo::transport::tcp::CreateDevice(where),
                                               std::max(timeout, std::chrono::milliseconds(1)));
  }

  const char* name() const override { return "gloo"; }
  std::string version() const override {
    return fmt::format("{}.{}.{}", GLOO_VERSION_MAJOR, GLOO_VERSION_MINOR, GLOO_VERSION_PATCH);
  }
  std::string settings() const override {
    return fmt::format(
        "TCP over {}{}", interface_,
        collective_.kind == Kind::all_reduce ? ", ring or bcube, whichever is faster when a row begins" : "");
  }

  std::string cannot(const Call& call) const override {
    if (!collective_.has_op()) return {};
    if (!with_type(call.datatype, [](auto) {}))
      return fmt::format("Gloo has no {}", tutti_datatype_name(call.datatype));
    if (call.op == TUTTI_AVG) return "Gloo has no average";
    return {};
  }

  void prepare(const Call& call) override {
    all_reduce_.reset();
    broadcast_.reset();
    algorithm_ = "default";
    if (collective_.kind == Kind::broadcast) {
      describe_broadcast(call);
    } else {
      describe_all_reduce(call);
      if (ranks_.size() > 1 && call.count > 0) choose_algorithm(call);
    }
  }

  int run(const Call&) noexcept override {
    try {
      if (all_reduce_) {
        gloo::allreduce(*all_reduce_);
      } else if (broadcast_) {
        gloo::broadcast(*broadcast_);
      }
      return 0;
    } catch (const std::exception& error) {
      error_ = error.what();
      return 1;
    }
  }

  std::string explain(int) const override { return fmt::format("Gloo: {}", error_); }
  std::string algorithm(const Call&) const override { return algorithm_; }

 private:
  using Algorithm = gloo::AllreduceOptions::Algorithm;

  std::string choose_interface() const {
    if (const char* name = std::getenv("GLOO_SOCKET_IFNAME"); name != nullptr && *name != '\0') return name;
    return ranks_.nodes() == 1 ? "lo" : first_interface();
  }

  void describe_all_reduce(const Call& call) {
    gloo::AllreduceOptions& options = all_reduce_.emplace(context_);
    with_type(call.datatype, [&](auto zero) {
      using T = decltype(zero);
      const auto count = static_cast<size_t>(call.count);
      if (call.send != call.recv) options.setInput(static_cast<T*>(const_cast<void*>(call.send)), count);
      options.setOutput(static_cast<T*>(call.recv), count);
      options.setReduceFunction(reduce_of<T>(call.op));
    });
  }

  /// Gloo copies the root's input to its output itself. An empty message is nothing to it.
  void describe_broadcast(const Call& call) {
    const size_t bytes = static_cast<size_t>(call.count) * tutti_datatype_size(call.datatype);
    if (bytes == 0) return;
    gloo::BroadcastOptions& options = broadcast_.emplace(context_);
    options.setRoot(call.root);
    if (ranks_.rank() == call.root && call.send != call.recv)
      options.setInput(static_cast<uint8_t*>(const_cast<void*>(call.send)), bytes);
    options.setOutput(static_cast<uint8_t*>(call.recv), bytes);
  }

  /// The median of some calls of each in turns, the slowest rank's time of each call.
  void choose_algorithm(const Call& call) {
    constexpr double kSeconds = 0.02;  // for each algorithm
    constexpr double kFewest = 3;
    constexpr double kMost = 31;
    // Reduced again and again in place, what happens to be there would grow.
    std::memset(call.recv, 0, static_cast<size_t>(call.count) * tutti_datatype_size(call.datatype));
    time_of(Algorithm::RING);
    time_of(Algorithm::BCUBE);
    std::array<double, 1> once{time_of(Algorithm::RING)};
    ranks_.max(once);
    const auto calls = static_cast<size_t>(std::clamp(kSeconds / once[0], kFewest, kMost));
    std::vector<double> ring;
    std::vector<double> bcube;
    for (size_t i = 0; i < calls; ++i) {
      ring.push_back(time_of(Algorithm::RING));
      bcube.push_back(time_of(Algorithm::BCUBE));
    }
    const bool ring_wins = median(ring) <= median(bcube);
    all_reduce_->setAlgorithm(ring_wins ? Algorithm::RING : Algorithm::BCUBE);
    algorithm_ = ring_wins ? "ring" : "bcube";
  }

  double time_of(Algorithm algorithm) {
    using Clock = std::chrono::steady_clock;
    all_reduce_->setAlgorithm(algorithm);
    const Clock::time_point start = Clock::now();
    gloo::allreduce(*all_reduce_);
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  double median(std::vector<double>& seconds) const {
    ranks_.max(seconds);
    const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
    std::nth_element(seconds.begin(), middle, seconds.end());
    return *middle;
  }

  const CollectiveInfo& collective_;
  BaselineRanks& ranks_;
  std::string interface_;
  std::shared_ptr<gloo::Context> context_;
  std::optional<gloo::AllreduceOptions> all_reduce_;
  std::optional<gloo::BroadcastOptions> broadcast_;
  std::string algorithm_ = "default";
  std::string error_;
};

}  // namespace
}  // namespace tutti::bench

extern "C" {
__attribute__((visibility("default"))) int tutti_bench_interface() {
  return tutti::bench::kBaselineInterface;
}
__attribute__((visibility("default"))) void tutti_bench_make(
    const tutti::bench::BaselineSetup& setup, std::unique_ptr<tutti::bench::Baseline>& baseline) {
  baseline = std::make_unique<tutti::bench::GlooLibrary>(setup);
}
}
