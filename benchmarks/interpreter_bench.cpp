// What one step of a plan costs the host executor: nanoseconds per step, without waiting for anybody.
//
// All ranks of a plan run in one thread, in turn, so every counter lies in this core's cache and no time is spent on other
// cores. Slices are one cache line, so data movement is a few nanoseconds of each step; the figure is the price of
// interpretation. The bar is 15 ns a step.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "collectives/algorithms/algorithms.h"
#include "collectives/executors/host/interpreter.h"
#include "core/clock.h"
#include "runtime/communicator/world.h"

namespace {

using namespace tutti;

constexpr int kRepeats = 21;
constexpr uint64_t kSlices = 2000;

/// All ranks of one algorithm, run side by side.
class Bench {
 public:
  Bench(Collective collective, plan::Algorithm algorithm, int ranks)
      : node_(make_local_node(ranks, 0)), input_(kSlices * 16 * static_cast<uint64_t>(ranks), 1.0F) {
    for (int r = 0; r < ranks; ++r) {
      endpoints_.push_back(std::make_unique<host::Endpoint>(local_world(node_, r)->endpoint()));
      interpreters_.push_back(std::make_unique<host::Interpreter>(*endpoints_.back(), reduce::kernels()));
      plans_.push_back(algorithms::build(collective, algorithm,
                                         {static_cast<uint16_t>(ranks), static_cast<uint16_t>(r), 0, 4}));
      outputs_.emplace_back(input_.size());
    }
    const plan::Limits limits = {node_->layout.slots_size / 2, node_->layout.packets_size / 2, kCacheLine};
    binding_ =
        plan::bind(plans_[0], plans_[0].whole ? 1 : kSlices * 16 * plans_[0].chunks, sizeof(float), limits);
    slots_ = plan::Ring(node_->layout.slots_size);
    packets_ = plan::Ring(node_->layout.packets_size);
  }

  uint64_t steps() const {
    uint64_t total = 0;
    for (const plan::Plan& plan : plans_) {
      for (const plan::Lane& lane : plan.lanes) {
        for (plan::Cursor cursor(plan, lane, binding_.slices); !cursor.done(); cursor.advance()) ++total;
      }
    }
    return total;
  }

  void run() {
    const auto& kernels = reduce::kernels();
    const plan::Extent slots = binding_.slots_need != 0 ? slots_.take(binding_.slots_need) : plan::Extent{};
    const plan::Extent packets =
        binding_.packets_need != 0 ? packets_.take(binding_.packets_need) : plan::Extent{};
    std::vector<host::Operation> operations(plans_.size());
    ++epoch_;
    for (size_t r = 0; r < plans_.size(); ++r) {
      host::Operation& op = operations[r];
      op.plan = &plans_[r];
      op.binding = binding_;
      op.slots = slots;
      op.packets = packets;
      op.base = base_;
      op.tag = epoch_ << 32 | 1;
      op.input = reinterpret_cast<const std::byte*>(input_.data());
      op.output = reinterpret_cast<std::byte*>(outputs_[r].data());
      op.reduce = kernels.reduce[0][static_cast<size_t>(DataType::float32)];
      op.reduce_packets = kernels.reduce_packets[0][static_cast<size_t>(DataType::float32)];
      interpreters_[r]->start(op);
    }
    base_ += binding_.ticks;
    std::vector<bool> done(plans_.size(), false);
    for (size_t left = plans_.size(); left != 0;) {
      for (size_t r = 0; r < plans_.size(); ++r) {
        if (!done[r] && interpreters_[r]->advance() == host::Interpreter::Progress::done) {
          done[r] = true;
          --left;
        }
      }
    }
  }

 private:
  std::shared_ptr<Node> node_;
  std::vector<std::unique_ptr<host::Endpoint>> endpoints_;
  std::vector<std::unique_ptr<host::Interpreter>> interpreters_;
  std::vector<plan::Plan> plans_;
  std::vector<float> input_;
  std::vector<std::vector<float>> outputs_;
  plan::Binding binding_;
  plan::Ring slots_;
  plan::Ring packets_;
  uint64_t base_ = 0;
  uint64_t epoch_ = 0;
};

}  // namespace

int main() {
  fmt::print("{:<11} {:<20} {:>5} {:>10} {:>10}\n", "collective", "algorithm", "ranks", "steps", "ns/step");
  for (const Collective collective : {Collective::all_reduce, Collective::broadcast}) {
    for (const plan::Algorithm algorithm : algorithms::algorithms_of(collective)) {
      if (!algorithms::suits(algorithm, {})) continue;
      for (const int ranks : {2, 4, 8}) {
        Bench bench(collective, algorithm, ranks);
        const int turns = bench.steps() < 1000 ? 1000 : 1;
        std::vector<double> samples;
        for (int i = 0; i < kRepeats; ++i) {
          const uint64_t start = now_ns();
          for (int t = 0; t < turns; ++t) bench.run();
          samples.push_back(static_cast<double>(now_ns() - start) / static_cast<double>(bench.steps()) /
                            turns);
        }
        std::sort(samples.begin(), samples.end());
        fmt::print("{:<11} {:<20} {:>5} {:>10} {:>10.1f}\n", name_of(collective), name_of(algorithm), ranks,
                   bench.steps(), samples[kRepeats / 2]);
      }
    }
  }
  return 0;
}
