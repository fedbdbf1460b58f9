// The simulator executor: that it computes what the plans promise whatever the timing, that its times follow the
// model, and that a defective plan does not pass.
#include "collectives/executors/sim/simulator.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "collectives/algorithms/algorithms.h"
#include "collectives/plan/printer.h"
#include "core/error.h"
#include "core/sync.h"
#include "tests/catch.h"

using namespace tutti;
using plan::Algorithm;
using plan::Plan;
using sim::kMicrosecond;
using sim::kNanosecond;
using sim::Model;
using sim::Time;

namespace {

std::vector<Plan> plans_of(Collective collective, Algorithm algorithm, int n, int root = 0, int credits = 4) {
  std::vector<Plan> plans;
  for (int r = 0; r < n; ++r) {
    plans.push_back(algorithms::build(collective, algorithm,
                                      {.ranks = static_cast<uint16_t>(n),
                                       .rank = static_cast<uint16_t>(r),
                                       .root = static_cast<uint16_t>(root),
                                       .credits = static_cast<uint16_t>(credits),
                                       .one_process = true}));
  }
  return plans;
}

/// Small scratch, so that short messages already take many slices and the rings turn around.
sim::Scratch small_scratch() {
  return {.slots_bytes = 64 << 10,
          .packets_bytes = 256 << 10,
          .limits = {.slots_bytes = 32 << 10, .packets_bytes = 64 << 10, .max_slice_bytes = 128}};
}

Model noisy(uint64_t seed) {
  Model model;
  model.noise = {.probability = 0.05, .mean = 2 * kMicrosecond};
  model.arrival = kMicrosecond;
  model.seed = seed;
  return model;
}

/// Messages of one operation on all ranks. The values are small whole numbers that depend on everything, so that
/// a float32 sum is exact in any order and data of another rank, place or operation show.
class Messages {
 public:
  Messages(int n, uint64_t count, int operation, bool in_place) : n_(n), count_(count) {
    for (int r = 0; r < n; ++r) {
      std::vector<float> input(count + 1), output(count + 1, kPoison);
      for (uint64_t i = 0; i < count; ++i) input[i] = value(r, i, operation);
      input[count] = kPoison;
      inputs_.push_back(std::move(input));
      outputs_.push_back(std::move(output));
    }
    originals_ = inputs_;
    for (size_t r = 0; r < inputs_.size(); ++r) {
      buffers_.push_back({inputs_[r].data(), in_place ? inputs_[r].data() : outputs_[r].data()});
    }
    in_place_ = in_place;
  }

  static float value(int rank, uint64_t i, int operation) {
    const uint64_t mixed = (static_cast<uint64_t>(rank) * 0x9e3779b9u + i * 0x85ebca6bu +
                            static_cast<uint64_t>(operation) * 0xc2b2ae35u);
    return static_cast<float>((mixed >> 7) % 1009);
  }

  std::span<const sim::Buffers> buffers() const { return buffers_; }

  /// Elements that differ from what the collective should give, over all ranks.
  uint64_t wrong(Collective collective, ReduceOp op, int root) const {
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < count_; ++i) {
      float expected = originals_[static_cast<size_t>(root)][i];
      if (collective == Collective::all_reduce) {
        expected = 0;
        for (const auto& input : originals_) {
          expected = op == ReduceOp::max ? std::max(expected, input[i]) : expected + input[i];
        }
        if (op == ReduceOp::avg) expected /= static_cast<float>(n_);
      }
      for (const auto& output : in_place_ ? inputs_ : outputs_) wrong += output[i] == expected ? 0 : 1;
    }
    // Nothing beyond the end is written, and the input of an operation out of place is left alone.
    for (const auto& output : outputs_) wrong += output[count_] == kPoison ? 0 : 1;
    if (!in_place_) wrong += inputs_ == originals_ ? 0 : 1;
    return wrong;
  }

 private:
  static constexpr float kPoison = -77777;
  int n_;
  uint64_t count_;
  bool in_place_;
  std::vector<std::vector<float>> inputs_, outputs_, originals_;
  std::vector<sim::Buffers> buffers_;
};

struct Case {
  Collective collective;
  Algorithm algorithm;
};
std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const Collective c : {Collective::all_reduce, Collective::broadcast}) {
    for (const Algorithm a : algorithms::algorithms_of(c)) {
      if (algorithms::suits(a, {.one_process = true})) cases.push_back({c, a});
    }
  }
  return cases;
}

/// Three operations of the given counts in a row; returns the number of wrong elements.
uint64_t wrong_after(const Case& what, int n, std::span<const uint64_t> counts, bool in_place, ReduceOp op,
                     int root, int credits, uint64_t seed) {
  const std::vector<Plan> plans = plans_of(what.collective, what.algorithm, n, root, credits);
  std::vector<Messages> messages;
  messages.reserve(counts.size());
  std::vector<sim::Operation> operations;
  for (size_t k = 0; k < counts.size(); ++k) {
    messages.emplace_back(n, counts[k], static_cast<int>(k), in_place);
    operations.push_back(
        {.plans = plans, .count = counts[k], .op = op, .buffers = messages.back().buffers()});
  }
  sim::simulate(operations, noisy(seed), small_scratch());
  uint64_t wrong = 0;
  for (const Messages& m : messages) wrong += m.wrong(what.collective, op, root);
  return wrong;
}

/// When the last rank leaves a single operation without data that all enter at 0.
Time time_of(const std::vector<Plan>& plans, uint64_t count, const Model& model,
             const sim::Scratch& scratch = {}) {
  const sim::Operation operation{.plans = plans, .count = count};
  return sim::simulate({&operation, 1}, model, scratch).operations[0].last_exit();
}

#if !defined(NDEBUG) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSlowBuild = true;
#elif defined(__has_feature)
constexpr bool kSlowBuild = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool kSlowBuild = false;
#endif

/// Relative.
double error_of(double value, double expected) {
  return std::abs(value / expected - 1);
}

/// Nothing costs anything but the links.
Model links_only(Time alpha, double beta) {
  Model model;
  model.step = 0;
  model.memory = 1e6;
  model.near = {alpha, beta};
  return model;
}

}  // namespace

TEST_CASE("every algorithm computes the right result for any number of ranks, under noise") {
  for (const Case& what : all_cases()) {
    for (const int n : {1, 2, 3, 4, 5, 7, 8, 16, 33}) {
      for (const bool in_place : {false, true}) {
        const auto seed = static_cast<uint64_t>(n * 2 + in_place);
        const int root = (n - 1) / 2;
        INFO(name_of(what.algorithm) << " ranks " << n << " in place " << in_place);
        CHECK(wrong_after(what, n, std::vector<uint64_t>{0, 1, 63, 1000}, in_place, ReduceOp::sum, root, 4,
                          seed) == 0);
        CHECK(wrong_after(what, n, std::vector<uint64_t>{777, 777, 5, 1023}, in_place, ReduceOp::max, root, 2,
                          seed) == 0);
      }
    }
  }
}

TEST_CASE("any root, any number of credits, averages") {
  for (const Case& what : all_cases()) {
    const int least = algorithms::least_credits(what.algorithm);
    for (const int n : {2, 5, 8}) {
      for (int root = 0; root < n; ++root) {
        for (const int credits : {least, least + 1, 7}) {
          INFO(name_of(what.algorithm) << " ranks " << n << " root " << root << " credits " << credits);
          CHECK(wrong_after(what, n, std::vector<uint64_t>{500, 2, 900}, root % 2 == 0, ReduceOp::avg, root,
                            credits, static_cast<uint64_t>(root)) == 0);
        }
      }
    }
  }
}

TEST_CASE("a plan without one of its waits gives wrong data, hangs or breaks a counter") {
  // A barrier among the lanes of a rank of one lane does nothing: it stands in for the step taken away. Which
  // fault shows is a matter of timing, hence the seeds; that it always does is the verifier's business.
  for (const Case& what : all_cases()) {
    const int n = 4;
    const std::vector<Plan> plans =
        plans_of(what.collective, what.algorithm, n, 1, algorithms::least_credits(what.algorithm));
    for (size_t i = 0; i < plans[2].steps.size(); ++i) {
      const plan::Step& step = plans[2].steps[i];
      if (step.kind != plan::StepKind::wait && step.kind != plan::StepKind::signal) continue;
      std::vector<Plan> faulty = plans;
      faulty[2].steps[i].kind = plan::StepKind::barrier;
      bool shown = false;
      for (uint64_t seed = 0; seed < 40 && !shown; ++seed) {
        std::vector<Messages> messages;
        messages.reserve(4);
        std::vector<sim::Operation> operations;
        for (int k = 0; k < 4; ++k) {
          messages.emplace_back(n, 1500, k, false);
          operations.push_back({.plans = faulty, .count = 1500, .buffers = messages.back().buffers()});
        }
        try {
          sim::simulate(operations, noisy(seed), small_scratch());
          for (const Messages& m : messages) shown = shown || m.wrong(what.collective, ReduceOp::sum, 1) != 0;
        } catch (const Error&) {
          shown = true;
        }
      }
      INFO(name_of(what.algorithm) << " without " << describe(plans[2], step));
      CHECK(shown);
    }
  }
}

TEST_CASE("the same seed gives the same report, another seed another one") {
  const std::vector<Plan> plans = plans_of(Collective::all_reduce, Algorithm::two_shot, 6);
  const std::vector<sim::Operation> operations(5, {.plans = plans, .count = 5000});
  const sim::Report first = sim::simulate(operations, noisy(3), small_scratch());
  CHECK(first == sim::simulate(operations, noisy(3), small_scratch()));
  CHECK_FALSE(first == sim::simulate(operations, noisy(4), small_scratch()));
  CHECK(first.steps > 1000);
}

TEST_CASE("moving data does not change the times") {
  const std::vector<Plan> plans = plans_of(Collective::all_reduce, Algorithm::ring, 5);
  Messages messages(5, 3000, 0, false);
  const sim::Operation with{.plans = plans, .count = 3000, .buffers = messages.buffers()};
  const sim::Operation without{.plans = plans, .count = 3000};
  CHECK(sim::simulate({&with, 1}, noisy(1)) == sim::simulate({&without, 1}, noisy(1)));
}

TEST_CASE("a ring takes 2(n-1)(alpha + S/n/beta)") {
  sim::Scratch one_slice;
  one_slice.slots_bytes = 64 << 20;
  one_slice.limits = {.slots_bytes = 32 << 20, .packets_bytes = 1 << 10, .max_slice_bytes = 8 << 20};
  for (const int n : {2, 3, 8, 32}) {
    for (const uint64_t bytes : {uint64_t{64} << 10, uint64_t{4} << 20}) {
      for (const Time alpha : {50 * kNanosecond, 5 * kMicrosecond}) {
        const double beta = 10;
        const Time hop = alpha + sim::duration_of(bytes / static_cast<uint64_t>(n), beta);
        const auto expected = static_cast<double>(2 * (n - 1) * hop);
        const Time time = time_of(plans_of(Collective::all_reduce, Algorithm::ring, n), bytes / sizeof(float),
                                  links_only(alpha, beta), one_slice);
        INFO("ranks " << n << " bytes " << bytes << " alpha " << alpha);
        CHECK(error_of(static_cast<double>(time), expected) < 0.02);
      }
    }
  }
}

TEST_CASE("recursive doubling takes log2 n trips, folding up to two more, and a ring 2(n-1)") {
  const Time alpha = kMicrosecond;
  const Model model = links_only(alpha, 1e6);
  const auto trips = [&](Algorithm algorithm, int n) {
    const Time time = time_of(plans_of(Collective::all_reduce, algorithm, n), 16, model);
    return static_cast<double>(time) / static_cast<double>(alpha);
  };
  for (const int n : {2, 4, 16, 64, 256}) {
    CHECK(error_of(trips(Algorithm::recursive_doubling, n), std::log2(n)) < 0.01);
  }
  CHECK(error_of(trips(Algorithm::recursive_doubling, 7), 4) < 0.01);
  CHECK(error_of(trips(Algorithm::recursive_doubling, 63), 7) < 0.01);
  CHECK(error_of(trips(Algorithm::ring, 16), 30) < 0.01);
  CHECK(error_of(trips(Algorithm::one_shot, 16), 1) < 0.01);
}

TEST_CASE("a chain is faster in slices, and with credits enough to fill the trip") {
  const std::vector<Plan> plans = plans_of(Collective::broadcast, Algorithm::chain, 8);
  const Model model = links_only(kMicrosecond, 10);
  const auto with_slices_of = [](uint64_t bytes) {
    sim::Scratch scratch;
    scratch.slots_bytes = 64 << 20;
    scratch.limits = {.slots_bytes = 32 << 20, .packets_bytes = 1 << 10, .max_slice_bytes = bytes};
    return scratch;
  };
  const uint64_t count = 1 << 20;  // 4 MiB
  const Time whole = time_of(plans, count, model, with_slices_of(4 << 20));
  const Time quarters = time_of(plans, count, model, with_slices_of(1 << 20));
  const Time many = time_of(plans, count, model, with_slices_of(64 << 10));
  // n - 1 trips of everything, then (n - 1 + slices - 1) trips of a slice.
  CHECK(error_of(static_cast<double>(whole), 7 * (1e6 + 4194304 * 100.0)) < 0.01);
  CHECK(error_of(static_cast<double>(quarters), 10 * 1048576 * 100.0) < 0.1);
  CHECK(quarters < whole / 2);
  CHECK(many < quarters * 2 / 3);

  const auto with_credits = [&](int credits) {
    return time_of(plans_of(Collective::broadcast, Algorithm::chain, 8, 0, credits), count, model,
                   with_slices_of(16 << 10));
  };
  // A slice crosses in 1.6 us and its credit needs 2 us more to come back.
  CHECK(with_credits(4) * 2 < with_credits(1));
  CHECK(with_credits(2) < with_credits(1));
}

TEST_CASE("what is in flight to a receiver is bounded by the credits") {
  const auto most = [](Collective collective, Algorithm algorithm, int n, int credits) {
    const std::vector<Plan> plans = plans_of(collective, algorithm, n, 0, credits);
    const sim::Operation operation{.plans = plans, .count = 20000};
    const sim::Report report = sim::simulate({&operation, 1}, noisy(9), small_scratch());
    return *std::max_element(report.max_in_flight.begin(), report.max_in_flight.end());
  };
  for (const uint32_t credits : {1u, 2u, 4u, 8u}) {
    CHECK(most(Collective::broadcast, Algorithm::chain, 6, static_cast<int>(credits)) == credits);
    CHECK(most(Collective::broadcast, Algorithm::one_writer, 6, static_cast<int>(credits)) == credits);
    if (credits < 2) continue;
    // Pipelined as a ring is, it never has more than the slot that arrives and the one it passes on.
    CHECK(most(Collective::all_reduce, Algorithm::ring, 6, static_cast<int>(credits)) <= credits);
    CHECK(most(Collective::all_reduce, Algorithm::two_shot, 6, static_cast<int>(credits)) <= 2 * 5 * credits);
  }
}

TEST_CASE("many senders to one network card queue up") {
  // One-shot over cards: every rank's message leaves its card n - 1 times.
  const std::vector<Plan> plans = plans_of(Collective::all_reduce, Algorithm::one_shot, 9);
  Model model = links_only(0, 10);
  const uint64_t bytes = 56 * 100;
  const Time links = time_of(plans, bytes / 4, model);
  model.ranks_per_node = 1;
  model.far = model.near;
  const Time cards = time_of(plans, bytes / 4, model);
  const Time one = sim::duration_of(6400, 10);
  CHECK(error_of(static_cast<double>(links), static_cast<double>(one)) < 0.02);
  CHECK(cards >= 8 * one);
  // With all ranks on one node the cards are not used.
  model.ranks_per_node = 9;
  CHECK(time_of(plans, bytes / 4, model) == links);
}

TEST_CASE("traffic: a ring sends to its neighbour only, 2(n-1)/n of the message") {
  const int n = 8;
  const std::vector<Plan> plans = plans_of(Collective::all_reduce, Algorithm::ring, n);
  const sim::Operation operation{.plans = plans, .count = 8 * 1024};
  const sim::Report report = sim::simulate({&operation, 1});
  REQUIRE(report.traffic.size() == n);
  for (const sim::Traffic& t : report.traffic) {
    CHECK(t.to == (t.from + 1) % n);
    CHECK(t.bytes == 2 * (n - 1) * 4096);
  }
}

TEST_CASE("more noise, longer tail") {
  const std::vector<Plan> plans = plans_of(Collective::all_reduce, Algorithm::ring, 8);
  const std::vector<sim::Operation> operations(400, {.plans = plans, .count = 2048});
  const auto tail = [&](Time mean) {
    Model model;
    model.noise = {.probability = 0.001, .mean = mean};
    model.seed = 5;
    std::vector<Time> services;
    for (const sim::Outcome& o : sim::simulate(operations, model).operations) services.push_back(o.service());
    std::sort(services.begin(), services.end());
    return services[services.size() * 99 / 100];
  };
  const Time quiet = tail(0), some = tail(10 * kMicrosecond), much = tail(100 * kMicrosecond);
  CHECK(some > quiet + 5 * kMicrosecond);
  CHECK(much > 3 * some);
}

TEST_CASE("the last rank to arrive is named, and its delay is skew, not service") {
  const std::vector<Plan> plans = plans_of(Collective::all_reduce, Algorithm::two_shot, 6);
  std::vector<Time> delay(6, 0);
  const sim::Operation prompt{.plans = plans, .count = 1000, .delay = delay};
  const sim::Outcome together = sim::simulate({&prompt, 1}).operations[0];
  std::vector<Time> late = delay;
  late[4] = 500 * kMicrosecond;
  const sim::Operation delayed{.plans = plans, .count = 1000, .delay = late};
  const sim::Outcome apart = sim::simulate({&delayed, 1}).operations[0];
  CHECK(together.skew() == 0);
  CHECK(apart.skew() == 500 * kMicrosecond);
  CHECK(apart.culprit() == 4);
  CHECK(apart.service() <= together.service());
  CHECK(apart.service() > 0);
}

TEST_CASE("nobody leaves a barrier or an all-reduce before the last has entered") {
  for (const Case& what :
       {Case{Collective::barrier, Algorithm::one_shot}, Case{Collective::all_reduce, Algorithm::ring},
        Case{Collective::all_reduce, Algorithm::recursive_doubling}}) {
    const std::vector<Plan> plans = plans_of(what.collective, what.algorithm, 7);
    const uint64_t count = what.collective == Collective::barrier ? 0 : 100;
    const std::vector<sim::Operation> operations(50, {.plans = plans, .count = count});
    for (const sim::Outcome& o : sim::simulate(operations, noisy(8)).operations) {
      CHECK(*std::min_element(o.exit.begin(), o.exit.end()) >= o.last_entry());
    }
  }
}

TEST_CASE("a root runs ahead of its readers until the scratch of the ring is used up") {
  const std::vector<Plan> plans = plans_of(Collective::broadcast, Algorithm::one_writer_packets, 3);
  std::vector<Time> late(3, 0);
  late[2] = kMicrosecond * 1000;
  std::vector<sim::Operation> operations(12, {.plans = plans, .count = 14});  // one packet each
  operations[0].delay = late;
  sim::Scratch scratch = small_scratch();
  scratch.packets_bytes = 4 * kCacheLine;
  scratch.limits.packets_bytes = 2 * kCacheLine;
  const sim::Report report = sim::simulate(operations, {}, scratch);
  CHECK(report.operations[3].exit[0] < late[2]);
  CHECK(report.operations[4].exit[0] > late[2]);
  CHECK(report.operations[11].exit[1] > late[2]);
}

TEST_CASE("plans of different algorithms and sizes follow each other") {
  const int n = 5;
  std::vector<std::vector<Plan>> plans;
  for (const Case& what : all_cases()) plans.push_back(plans_of(what.collective, what.algorithm, n, 3, 2));
  const std::vector<Case> cases = all_cases();
  std::vector<Messages> messages;
  messages.reserve(60);
  std::vector<sim::Operation> operations;
  for (size_t k = 0; k < 60; ++k) {
    messages.emplace_back(n, (k * 37) % 900, static_cast<int>(k), k % 3 == 0);
    operations.push_back({.plans = plans[(k * k + k / 7) % plans.size()],
                          .count = (k * 37) % 900,
                          .buffers = messages.back().buffers()});
  }
  for (uint64_t seed = 0; seed < 3; ++seed) {
    if (seed != 0) {
      messages.clear();
      for (size_t k = 0; k < 60; ++k) {
        messages.emplace_back(n, (k * 37) % 900, static_cast<int>(k + seed), k % 3 == 0);
        operations[k].buffers = messages.back().buffers();
      }
    }
    sim::simulate(operations, noisy(seed), small_scratch());
    for (size_t k = 0; k < 60; ++k) {
      const Collective collective = operations[k].plans[0].collective;
      INFO("operation " << k << " " << name_of(operations[k].plans[0].algorithm));
      CHECK(messages[k].wrong(collective, ReduceOp::sum, 3) == 0);
    }
  }
}

TEST_CASE("a deadlock names who waits for what") {
  std::vector<Plan> plans = plans_of(Collective::broadcast, Algorithm::chain, 4);
  for (plan::Step& step : plans[1].steps) {
    if (step.kind == plan::StepKind::signal && step.channel.peer == 2) step.kind = plan::StepKind::barrier;
  }
  const sim::Operation operation{.plans = plans, .count = 100};
  std::string message;
  try {
    sim::simulate({&operation, 1});
  } catch (const Error& error) {
    CHECK(error.code() == Result::internal_error);
    message = error.what();
  }
  INFO(message);
  CHECK(message.find("rank 2 lane 0 in operation 0: wait pair 1->2 #0 raise 0") != std::string::npos);
  CHECK(message.find("rank 3 lane 0 in operation 0: wait pair 2->3 #0 raise 0") != std::string::npos);
}

TEST_CASE("operations that do not fit are refused") {
  const std::vector<Plan> plans = plans_of(Collective::all_reduce, Algorithm::one_shot, 3);
  const std::vector<Plan> two = plans_of(Collective::all_reduce, Algorithm::one_shot, 2);
  const auto refused = [](std::vector<sim::Operation> operations) {
    try {
      sim::simulate(operations);
    } catch (const Error& error) {
      return error.code() == Result::invalid_argument;
    }
    return false;
  };
  CHECK(refused({{.plans = plans, .count = 1u << 30}}));
  CHECK(refused({{.plans = plans, .count = 1}, {.plans = two, .count = 1}}));
  std::vector<Plan> swapped = plans;
  std::swap(swapped[0], swapped[1]);
  CHECK(refused({{.plans = swapped, .count = 1}}));
  const std::vector<Time> delay(2);
  CHECK(refused({{.plans = plans, .count = 1, .delay = delay}}));
  CHECK_FALSE(refused({{.plans = plans, .count = 1}}));
}

TEST_CASE("a thousand ranks") {
  const Model model = links_only(kMicrosecond, 10);
  const auto time = [&](Collective collective, Algorithm algorithm, int n, uint64_t count) {
    return sim::in_microseconds(time_of(plans_of(collective, algorithm, n), count, model));
  };
  CHECK(error_of(time(Collective::all_reduce, Algorithm::recursive_doubling, 1024, 16), 10) < 0.02);
  CHECK(error_of(time(Collective::broadcast, Algorithm::chain, 1024, 16), 1023) < 0.02);
  // Ten million steps: two seconds, but minutes without optimisation and under a sanitizer.
  const int n = kSlowBuild ? 128 : 1024;
  CHECK(error_of(time(Collective::all_reduce, Algorithm::ring, n, static_cast<uint64_t>(n) * 16),
                 2 * (n - 1)) < 0.02);
}
