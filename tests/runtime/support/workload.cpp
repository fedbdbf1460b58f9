#include "tests/runtime/support/workload.h"

#include <fmt/format.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "collectives/algorithms/algorithms.h"
#include "core/sync.h"
#include "runtime/tuner/selection.h"
#include "tests/reduce/operands.h"
#include "tests/runtime/support/expect.h"

namespace workload {

namespace {

tutti::DataType internal(tutti_datatype_t type) {
  return static_cast<tutti::DataType>(type);
}

bool is_floating(tutti_datatype_t type) {
  return type >= TUTTI_FLOAT16;
}

/// A number as bits of the type; `number` is one that all floating types hold exactly.
uint64_t bits_of(tutti_datatype_t type, float number) {
  if (type == TUTTI_FLOAT16) return reference::encode(number, reference::kHalf);
  if (type == TUTTI_BFLOAT16) return reference::encode(number, reference::kBFloat);
  if (type == TUTTI_FLOAT8_E4M3) return reference::encode(number, reference::kE4m3);
  if (type == TUTTI_FLOAT8_E5M2) return reference::encode(number, reference::kE5m2);
  uint64_t bits = 0;
  if (type == TUTTI_FLOAT32) {
    std::memcpy(&bits, &number, sizeof(number));
  } else {
    const double wide = number;
    std::memcpy(&bits, &wide, sizeof(wide));
  }
  return bits;
}

/// A whole number of this rank. All sums of them over some ranks are exact: within 256 for up to 64 ranks, and within 8 for a float8, of
/// which so many ranks take part, others for each element.
int summand(tutti_datatype_t type, int rank, int ranks, size_t i, uint64_t random) {
  if (type != TUTTI_FLOAT8_E4M3 && type != TUTTI_FLOAT8_E5M2) return static_cast<int>(random % 7) - 3;
  constexpr int kLargest = 8;
  const auto one_of = static_cast<size_t>((ranks + kLargest - 1) / kLargest);
  if ((i + static_cast<size_t>(rank)) % one_of != 0) return 0;
  const int magnitude = std::max(kLargest / ranks, 1);
  return static_cast<int>(random % static_cast<uint64_t>(2 * magnitude + 1)) - magnitude;
}

/// Bits for which the order of folding does not matter. Products stay within 2^8 for up to 64 ranks.
uint64_t exact_bits(const Case& c, int rank, int ranks, size_t i, uint64_t random) {
  if (!is_floating(c.type) || c.collective == Collective::broadcast) return random;
  if (c.op == TUTTI_MIN || c.op == TUTTI_MAX) {
    const std::vector<uint64_t>& hard = operands::hard_values(internal(c.type));
    return random % 3 == 0 ? hard[random / 3 % hard.size()]
                           : operands::tame_value(internal(c.type), random / 3);
  }
  if (c.op == TUTTI_PROD) {
    const bool doubles = (i + static_cast<size_t>(rank)) % 8 == 0;
    return bits_of(c.type, (doubles ? 2.0f : 1.0f) * (random % 2 == 0 ? 1.0f : -1.0f));
  }
  return bits_of(c.type, static_cast<float>(summand(c.type, rank, ranks, i, random)));
}

double value_of(tutti_datatype_t type, const Bytes& bytes, size_t i) {
  const unsigned char* at = bytes.data();
  if (type == TUTTI_FLOAT16) return reference::widen(reference::element<reference::Half>(at, i));
  if (type == TUTTI_BFLOAT16) return reference::widen(reference::element<reference::BFloat>(at, i));
  if (type == TUTTI_FLOAT8_E4M3) return reference::widen(reference::element<reference::E4m3>(at, i));
  if (type == TUTTI_FLOAT8_E5M2) return reference::widen(reference::element<reference::E5m2>(at, i));
  if (type == TUTTI_FLOAT32) return reference::element<float>(at, i);
  return reference::element<double>(at, i);
}

/// Half the distance from 1 to the next value.
double unit_of(tutti_datatype_t type) {
  if (type == TUTTI_FLOAT16) return std::ldexp(1, -11);
  if (type == TUTTI_BFLOAT16) return std::ldexp(1, -8);
  if (type == TUTTI_FLOAT8_E4M3) return std::ldexp(1, -4);
  if (type == TUTTI_FLOAT8_E5M2) return std::ldexp(1, -3);
  return type == TUTTI_FLOAT32 ? std::ldexp(1, -24) : std::ldexp(1, -53);
}

constexpr uint64_t kTypes = TUTTI_FLOAT8_E5M2 + 1;
constexpr uint8_t kShifts[] = {0, 1, 3, 4, 7, 8, 17, 32};

uint8_t shift(std::mt19937_64& random) {
  return kShifts[random() % std::size(kShifts)];
}

Case all_reduce_case(tutti_datatype_t type, tutti_op_t op, int64_t count, std::mt19937_64& random) {
  return {.collective = Collective::all_reduce,
          .type = type,
          .op = op,
          .count = count,
          .in_place = random() % 2 == 0,
          .send_shift = shift(random),
          .recv_shift = shift(random),
          .seed = random()};
}

}  // namespace

std::vector<std::string> algorithms(Collective collective, Where where) {
  const tutti::JobShape shape = {
      .ranks = 4, .nodes = where == Where::nodes ? 2 : 1, .one_process = where == Where::threads};
  std::vector<std::string> names = {""};
  for (const auto algorithm : tutti::algorithms::algorithms_of(collective)) {
    tutti::Tuning tuning;
    tuning.forced[static_cast<size_t>(collective)] = algorithm;
    if (tutti::forced_in_vain(shape, tuning).empty()) names.emplace_back(name_of(algorithm));
  }
  return names;
}

std::string describe(const Case& c) {
  std::string what(name_of(c.collective));
  if (c.collective != Collective::barrier)
    what += fmt::format(" of {} {}", c.count, tutti_datatype_name(c.type));
  if (c.collective == Collective::all_reduce) what += fmt::format(", {}", tutti_op_name(c.op));
  if (c.collective == Collective::broadcast) what += fmt::format(" from root {}", c.root);
  return what + fmt::format("{}, shifted {} and {} bytes, {} values, seed {:#x}",
                            c.in_place ? ", in place" : "", c.send_shift, c.recv_shift,
                            c.values == Values::exact ? "exact" : "rounding", c.seed);
}

Bytes input(const Case& c, int rank, int ranks) {
  std::mt19937_64 random(c.seed * 1024 + static_cast<uint64_t>(rank));
  const size_t size = tutti_datatype_size(c.type);
  Bytes bytes(c.bytes());
  for (size_t i = 0; i < bytes.size() / size; ++i) {
    const uint64_t value = c.values == Values::exact ? exact_bits(c, rank, ranks, i, random())
                                                     : operands::tame_value(internal(c.type), random());
    std::memcpy(bytes.data() + i * size, &value, size);
  }
  return bytes;
}

Bytes expected(const Case& c, int ranks) {
  if (c.collective == Collective::barrier) return {};
  if (c.collective == Collective::broadcast) return input(c, c.root, ranks);
  std::vector<Bytes> inputs;
  for (int r = 0; r < ranks; ++r) inputs.push_back(input(c, r, ranks));
  return reference::reduce(internal(c.type), static_cast<tutti::ReduceOp>(c.op), inputs,
                           static_cast<size_t>(c.count), static_cast<uint32_t>(ranks));
}

std::vector<Bytes> expected(std::span<const Case> cases, int ranks) {
  std::vector<Bytes> all;
  all.reserve(cases.size());
  for (const Case& c : cases) all.push_back(expected(c, ranks));
  return all;
}

Job::Job(const Case& c, int rank, int ranks)
    : case_(c), rank_(rank), ranks_(ranks), poison_(static_cast<unsigned char>(c.seed * 2 + 1)) {
  const bool contributes = c.collective == Collective::all_reduce || c.root == rank;
  sends_ = contributes && !c.in_place;
  if (contributes) sent_ = input(c, rank, ranks);
  recv_.assign(c.bytes() + 2 * kGuard + c.recv_shift, poison_);
  if (sends_) {
    send_.assign(c.bytes() + 2 * kGuard + c.send_shift, poison_);
    std::copy(sent_.begin(), sent_.end(), send_.begin() + kGuard + c.send_shift);
  } else {
    std::copy(sent_.begin(), sent_.end(), recv());
  }
}

tutti_result_t Job::run(tutti_comm_t comm) {
  return run_at(send_.data(), recv_.data(), comm, nullptr);
}

tutti_result_t Job::run_at(unsigned char* send_base, unsigned char* recv_base, tutti_comm_t comm,
                           tutti_stream_t stream) const {
  unsigned char* to = recv_base + kGuard + case_.recv_shift;
  const void* from = case_.in_place ? to : sends_ ? send_base + kGuard + case_.send_shift : nullptr;
  switch (case_.collective) {
    case Collective::all_reduce:
      return tutti_all_reduce(from, to, case_.count, case_.type, case_.op, comm, stream);
    case Collective::broadcast:
      return tutti_broadcast(from, to, case_.count, case_.type, case_.root, comm, stream);
    case Collective::barrier:
      return tutti_barrier(comm, stream);
  }
  return TUTTI_INTERNAL_ERROR;
}

tutti_result_t Job::begin(tutti_comm_t comm, tutti_request_t* request) {
  const void* from = case_.in_place ? recv() : send();
  switch (case_.collective) {
    case Collective::all_reduce:
      return tutti_all_reduce_async(from, recv(), case_.count, case_.type, case_.op, comm, nullptr, request);
    case Collective::broadcast:
      return tutti_broadcast_async(from, recv(), case_.count, case_.type, case_.root, comm, nullptr, request);
    case Collective::barrier:
      return tutti_barrier_async(comm, nullptr, request);
  }
  return TUTTI_INTERNAL_ERROR;
}

void Job::fail(const std::string& what) const {
  throw std::runtime_error(fmt::format("rank {} of {}, {}: {}", rank_, ranks_, describe(case_), what));
}

void Job::check(const Bytes& wanted, bool in_order) const {
  const auto guards_hold = [&](const Bytes& buffer, size_t begin) {
    const auto is_poison = [&](unsigned char byte) { return byte == poison_; };
    const auto inside = buffer.begin() + static_cast<ptrdiff_t>(begin);
    return std::all_of(buffer.begin(), inside, is_poison) &&
           std::all_of(inside + static_cast<ptrdiff_t>(case_.bytes()), buffer.end(), is_poison);
  };
  if (!guards_hold(recv_, kGuard + case_.recv_shift)) fail("bytes around the output were written");
  if (sends_ &&
      (!guards_hold(send_, kGuard + case_.send_shift) || !std::equal(sent_.begin(), sent_.end(), send()))) {
    fail("the send buffer or bytes around it were written");
  }
  if (case_.values == Values::rounding && !in_order) {
    check_rounding(wanted);
    return;
  }
  if (wanted.empty() || std::memcmp(recv(), wanted.data(), wanted.size()) == 0) return;
  size_t at = 0;
  while (recv()[at] == wanted[at]) ++at;
  size_t wrong = 0;
  for (size_t i = 0; i < wanted.size(); ++i) wrong += recv()[i] != wanted[i] ? 1 : 0;
  fail(fmt::format(
      "{} of {} bytes are wrong, the first is byte {}: {:#04x}, expected {:#04x} (poison {:#04x})", wrong,
      wanted.size(), at, recv()[at], wanted[at], poison_));
}

void Job::check_rounding(const Bytes& wanted) const {
  const Bytes got(recv(), recv() + case_.bytes());
  // Inputs are at most 2 in size: no partial sum is beyond 2n, and each of fewer than n additions rounds once.
  const double n = ranks_;
  const double allowed = 2 * n * n * unit_of(case_.type) + 4 * unit_of(case_.type);
  for (size_t i = 0; i < static_cast<size_t>(case_.count); ++i) {
    const double x = value_of(case_.type, got, i);
    const double y = value_of(case_.type, wanted, i);
    if (!(std::fabs(x - y) <= allowed)) {
      fail(fmt::format("element {} is {}, expected {} within {}", i, x, y, allowed));
    }
  }
}

uint64_t Job::hash() const {
  uint64_t h = 14695981039346656037u;
  for (size_t i = 0; i < case_.bytes(); ++i) h = (h ^ recv()[i]) * 1099511628211u;
  return h;
}

bool in_rank_order(tutti_comm_t comm, const Case& c, bool on_device) {
  if (c.collective != Collective::all_reduce) return true;
  const char* name = on_device ? tutti_device_algorithm_name(comm, "all_reduce", c.count, c.type)
                               : tutti_algorithm_name(comm, "all_reduce", c.count, c.type);
  expect(name != nullptr, "tutti_algorithm_name gave nothing for {}", describe(c));
  constexpr std::array kInRankOrder = {"local", "one_shot", "all_pairs", "two_shot", "direct"};
  return std::find(kInRankOrder.begin(), kInRankOrder.end(), std::string_view(name)) != kInRankOrder.end();
}

void skew(std::mt19937_64& random) {
  const uint64_t kind = random() % 256;
  if (kind < 150) return;
  if (kind < 200) {
    for (uint64_t turns = random() % 300; turns > 0; --turns) tutti::cpu_relax();
  } else if (kind < 254) {
    for (uint64_t turns = random() % 4; turns > 0; --turns) sched_yield();
  } else {
    // Beyond the 2 ms after which waiting ranks sleep.
    const timespec pause = {0, static_cast<long>(kind == 255 && random() % 8 == 0 ? 4'000'000 : 50'000)};
    nanosleep(&pause, nullptr);
  }
}

void run_cases(tutti_comm_t comm, int rank, int ranks, std::span<const Case> cases,
               std::span<const Bytes> wanted, uint64_t* hashes) {
  std::mt19937_64 random(static_cast<uint64_t>(rank) + 1);
  for (size_t i = 0; i < cases.size(); ++i) {
    Job job(cases[i], rank, ranks);
    skew(random);
    expect_success(job.run(comm), describe(cases[i]));
    job.check(wanted[i], in_rank_order(comm, cases[i]));
    hashes[i * static_cast<size_t>(ranks) + static_cast<size_t>(rank)] = job.hash();
  }
}

void check_hashes(std::span<const Case> cases, int ranks, const uint64_t* hashes) {
  const auto n = static_cast<size_t>(ranks);
  for (size_t i = 0; i < cases.size(); ++i) {
    for (size_t r = 1; r < n; ++r) {
      expect(hashes[i * n + r] == hashes[i * n], "ranks 0 and {} of {} have different results: {}", r, n,
             describe(cases[i]));
    }
  }
}

std::vector<int64_t> counts(int ranks, int64_t most) {
  const int64_t n = ranks;
  std::vector<int64_t> kept;
  for (const int64_t count :
       {int64_t{0}, int64_t{1}, int64_t{2}, int64_t{7}, n - 1, n + 1, int64_t{14}, int64_t{15}, int64_t{29},
        2 * n + 1, int64_t{257}, int64_t{2047}, int64_t{5003}, int64_t{20011}, int64_t{70001}}) {
    if (count <= most) kept.push_back(count);
  }
  return kept;
}

std::vector<Case> all_reduce_matrix(int ranks, Amount amount, int64_t most, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Case> cases;
  const std::vector<int64_t> all = counts(ranks, most);
  const int repeats = amount == Amount::full ? 3 : 1;
  const int stride = amount == Amount::few ? 7 : 1;  // 7 and the 5 operators share no divisor
  for (int k = 0; k <= TUTTI_FLOAT8_E5M2; ++k) {
    for (int op = 0; op <= TUTTI_AVG; ++op) {
      for (int i = 0; i < repeats && (k * 5 + op) % stride == 0; ++i) {
        cases.push_back(all_reduce_case(static_cast<tutti_datatype_t>(k), static_cast<tutti_op_t>(op),
                                        all[random() % (all.size() - (i == 0 ? 0 : 2))], random));
      }
    }
  }
  for (const int64_t count : all) {
    for (int variant = 0; variant < (amount == Amount::full ? 4 : 2); ++variant) {
      Case c = all_reduce_case(TUTTI_FLOAT32, TUTTI_SUM, count, random);
      c.in_place = variant % 2 == 0;
      if (variant >= 2) c.send_shift = c.recv_shift = 0;
      cases.push_back(c);
    }
  }
  for (const tutti_datatype_t type :
       {TUTTI_FLOAT16, TUTTI_BFLOAT16, TUTTI_FLOAT32, TUTTI_FLOAT64, TUTTI_FLOAT8_E4M3, TUTTI_FLOAT8_E5M2}) {
    for (const int64_t count : {int64_t{13}, int64_t{1001}, most}) {
      Case c =
          all_reduce_case(type, count == 13 ? TUTTI_AVG : TUTTI_SUM, std::min(count, int64_t{5003}), random);
      c.values = Values::rounding;
      if (amount != Amount::few || count == 1001) cases.push_back(c);
    }
  }
  std::shuffle(cases.begin(), cases.end(), random);
  return cases;
}

std::vector<Case> broadcast_matrix(int ranks, Amount amount, int64_t most, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Case> cases;
  const std::vector<int64_t> all = counts(ranks, most);
  const auto add = [&](int root, int64_t count) {
    Case c = all_reduce_case(static_cast<tutti_datatype_t>(random() % kTypes), TUTTI_SUM, count, random);
    c.collective = Collective::broadcast;
    c.root = root;
    cases.push_back(c);
  };
  for (int root = 0; root < ranks; ++root) {
    const int repeats = amount == Amount::full ? 4 : 1;
    for (int i = 0; i < repeats; ++i) add(root, all[random() % all.size()]);
  }
  for (const int64_t count : all) {
    for (int i = 0; i < (amount == Amount::full ? 4 : 1); ++i) {
      add(static_cast<int>(random() % static_cast<uint64_t>(ranks)), count);
    }
  }
  std::shuffle(cases.begin(), cases.end(), random);
  return cases;
}

Case random_case(int ranks, int64_t most, std::mt19937_64& random) {
  const uint64_t scale = random() % 4;
  const int64_t limit = scale == 0 ? 4 : scale == 1 ? 40 : scale == 2 ? 600 : most;
  Case c =
      all_reduce_case(static_cast<tutti_datatype_t>(random() % kTypes), static_cast<tutti_op_t>(random() % 5),
                      static_cast<int64_t>(random() % static_cast<uint64_t>(limit + 1)), random);
  const uint64_t kind = random() % 16;
  if (kind < 6) {
    c.collective = Collective::broadcast;
    c.root = static_cast<int>(random() % static_cast<uint64_t>(ranks));
  } else if (kind == 15) {
    c.collective = Collective::barrier;
    c.count = 0;
  }
  return c;
}

}  // namespace workload
