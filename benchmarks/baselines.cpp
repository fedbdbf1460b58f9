// Opens, makes and asks the baselines.
#include "benchmarks/baselines.h"

#include <algorithm>
#include <cstring>

#include "benchmarks/baseline_mpi.h"

namespace tutti::bench {

/// By the control communicator: whoever started the ranks.
class Baselines::Ranks final : public BaselineRanks {
 public:
  Ranks(World& world, bool crowded) : world_(world), crowded_(crowded) {}

  int rank() const override { return world_.rank(); }
  int size() const override { return world_.size(); }
  int nodes() const override { return world_.nodes(); }
  bool crowded() const override { return crowded_; }

  /// All others' pieces are zero on each rank, so the largest bytes are everybody's own.
  void gather(std::span<const std::byte> own, std::span<std::byte> all) override {
    std::fill(all.begin(), all.end(), std::byte{0});
    std::memcpy(&all[own.size() * static_cast<size_t>(rank())], own.data(), own.size());
    world_.max(std::span<uint8_t>(reinterpret_cast<uint8_t*>(all.data()), all.size()));
  }

  void max(std::span<double> values) override { world_.max(values); }

 private:
  World& world_;
  bool crowded_;
};

Baselines::Baselines(const Options& options) : options_(options) {
  for (const std::string& name : options.baselines)
    modules_.push_back(name == "mpi" ? nullptr : std::make_unique<BaselineModule>(name, options.peers));
}

Baselines::~Baselines() = default;

void Baselines::make(const CollectiveInfo& collective, World& world, const Machine& machine) {
  constexpr int64_t kDefaultTimeoutNs = int64_t{600} * 1'000'000'000;
  ranks_ = std::make_unique<Ranks>(world, machine.ranks > machine.cores);
  const BaselineSetup setup{.collective = collective,
                            .ranks = *ranks_,
                            .timeout_ns = options_.timeout_ns > 0 ? options_.timeout_ns : kDefaultTimeoutNs};
  for (const auto& module : modules_)
    baselines_.push_back(module == nullptr ? make_mpi_library(collective) : module->make(setup));
}

std::vector<BaselineInfo> Baselines::infos() const {
  std::vector<BaselineInfo> infos;
  for (const auto& one : baselines_) infos.push_back({one->name(), one->version(), one->settings()});
  return infos;
}

std::vector<LeftOut> Baselines::add(const Call& call, std::vector<Library*>& libraries) const {
  std::vector<LeftOut> left_out;
  for (const auto& one : baselines_) {
    const std::string why = one->cannot(call);
    if (why.empty()) {
      libraries.push_back(one.get());
    } else {
      left_out.push_back({one->name(), why});
    }
  }
  return left_out;
}

}  // namespace tutti::bench
