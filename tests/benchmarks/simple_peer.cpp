// A baseline that any build has: the modules of UCC and Gloo need libraries that few machines have, but how a program finds a module, takes turns
// with several and reports them must not go untested. All-reduce of float32 sums and broadcast, by gathering everything; -o max is an error in the run.
#include <cstring>
#include <stdexcept>
#include <vector>

#include "benchmarks/baseline.h"

namespace tutti::bench {
namespace {

class SimplePeer final : public Baseline {
 public:
  explicit SimplePeer(const BaselineSetup& setup) : collective_(setup.collective), ranks_(setup.ranks) {}

  const char* name() const override { return SIMPLE_PEER_NAME; }
  std::string version() const override { return "1.2.3"; }
  std::string settings() const override { return "gathers, and adds up"; }
  std::string cannot(const Call& call) const override {
    if (call.datatype != TUTTI_FLOAT32) return "the simple one has float32 alone";
    return collective_.has_op() && call.op == TUTTI_PROD ? "the simple one has no product" : "";
  }

  void prepare(const Call& call) override { all_.resize(static_cast<size_t>(call.count * ranks_.size())); }

  int run(const Call& call) noexcept override {
    if (collective_.has_op() && call.op == TUTTI_MAX) return 7;
    const auto count = static_cast<size_t>(call.count);
    const std::span<const float> own(static_cast<const float*>(call.send), count);
    ranks_.gather(std::as_bytes(own), std::as_writable_bytes(std::span<float>(all_)));
    if (collective_.kind == Kind::broadcast) {
      std::memcpy(call.recv, &all_[count * static_cast<size_t>(call.root)], count * sizeof(float));
      return 0;
    }
    auto* result = static_cast<float*>(call.recv);
    for (size_t i = 0; i < count; ++i) {
      float sum = 0;
      for (int rank = 0; rank < ranks_.size(); ++rank) sum += all_[static_cast<size_t>(rank) * count + i];
      result[i] = sum;
    }
    return 0;
  }

  std::string explain(int code) const override { return "planted failure " + std::to_string(code); }
  std::string algorithm(const Call&) const override { return "simple"; }

 private:
  const CollectiveInfo& collective_;
  BaselineRanks& ranks_;
  std::vector<float> all_;
};

}  // namespace
}  // namespace tutti::bench

extern "C" {
__attribute__((visibility("default"))) int tutti_bench_interface() {
  return tutti::bench::kBaselineInterface + SIMPLE_PEER_AGE;
}
__attribute__((visibility("default"))) void tutti_bench_make(
    const tutti::bench::BaselineSetup& setup, std::unique_ptr<tutti::bench::Baseline>& baseline) {
  baseline = std::make_unique<tutti::bench::SimplePeer>(setup);
}
}
