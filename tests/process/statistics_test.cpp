// Who is late, among ranks that are processes of one host: told by the library, and known to the test.
//
// Each rank notes the time just before every call, so that the truth is what happened and not what was meant to happen: a rank that the
// system stops in the middle of a natural iteration is the culprit of it, and counts as such. First the natural skew is
// measured. Then each rank in turn is delayed by at least five times its 99th percentile.
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/catch.h"
#include "tests/process/support/forked.h"

namespace {

constexpr int kRanks = 3;
constexpr int kNatural = 200;
constexpr int kDelayed = 100;  // for each rank
constexpr int kIterations = kNatural + kRanks * kDelayed;
constexpr int64_t kLeastDelay = 2 * kMs;

nlohmann::json stats_of(tutti_comm_t comm) {
  std::string text;
  for (size_t needed = 1;;) {
    text.resize(needed + needed / 4);
    expect_success(tutti_comm_stats(comm, "json", text.data(), text.size(), &needed), "tutti_comm_stats");
    if (needed > text.size()) continue;
    text.resize(needed - 1);
    return nlohmann::json::parse(text);
  }
}

nlohmann::json read_json(const std::string& path) {
  std::ifstream file(path);
  expect(file.good(), "{} is not there", path);
  return nlohmann::json::parse(file);
}

/// What the library says of all operations up to now.
struct Told {
  uint64_t skew_ns = 0;  // sum
  uint64_t waited_ns = 0;
  std::array<uint64_t, kRanks> times_last{};
};

/// Once it has seen all that this rank has completed.
Told told_by(tutti_comm_t comm) {
  const uint64_t start = tutti::now_ns();
  for (;;) {
    const nlohmann::json stats = stats_of(comm);
    expect(stats["dropped"] == 0, "{} operations were dropped", stats["dropped"].get<uint64_t>());
    expect(tutti::now_ns() - start < 60'000'000'000, "operations stay pending: {}", stats.dump());
    if (stats["pending"] != 0) continue;
    Told told;
    for (const nlohmann::json& kind : stats["kinds"]) {
      told.skew_ns += kind["skew"].value("sum_ns", uint64_t{0});
      told.waited_ns += kind["waited_ns"].get<uint64_t>();
    }
    for (size_t r = 0; r < kRanks; ++r) told.times_last[r] = stats["ranks"][r]["times_last"];
    return told;
  }
}

/// Shared by the ranks; zero at first.
struct Notes {
  std::array<std::atomic<int>, kIterations> begin;
  std::array<std::atomic<int>, kIterations> end;
  std::array<std::array<std::atomic<uint64_t>, kRanks>, kIterations> arrivals;  // ticks
  std::atomic<int64_t> delay_ns;
  // What rank 0 found.
  std::array<uint64_t, kIterations> told_skew_ns;
  std::array<int, kIterations> told_culprit;
  // By rank and by the rank that was delayed.
  std::array<std::array<uint64_t, kRanks>, kRanks> waited_ns;
};

struct Truth {
  uint64_t skew_ns = 0;
  int culprit = 0;
};

Truth truth_of(const Notes& notes, int iteration) {
  std::array<uint64_t, kRanks> arrivals{};
  for (size_t r = 0; r < kRanks; ++r) arrivals[r] = notes.arrivals[static_cast<size_t>(iteration)][r].load();
  const auto last = std::max_element(arrivals.begin(), arrivals.end());
  return {tutti::ticks_to_ns(*last - *std::min_element(arrivals.begin(), arrivals.end())),
          static_cast<int>(last - arrivals.begin())};
}

/// Who is delayed; -1: nobody.
int victim_of(int iteration) {
  return iteration < kNatural ? -1 : (iteration - kNatural) / kDelayed;
}

void choose_delay(Notes& notes) {
  std::vector<uint64_t> skews;
  for (int i = 0; i < kNatural; ++i) skews.push_back(truth_of(notes, i).skew_ns);
  std::sort(skews.begin(), skews.end());
  const auto p99 = static_cast<int64_t>(skews[skews.size() * 99 / 100]);
  notes.delay_ns = std::max(5 * p99, kLeastDelay);
}

void sleep_ns(int64_t ns) {
  const timespec pause = {ns / kSecond, static_cast<long>(ns % kSecond)};
  nanosleep(&pause, nullptr);
}

/// All ranks call it together; rank 0 then asks what the library made of it.
void iterate(Notes& notes, tutti_comm_t comm, int rank, int iteration, Told& before) {
  const auto i = static_cast<size_t>(iteration);
  meet_at(notes.begin[i], kRanks);
  if (victim_of(iteration) == rank) sleep_ns(notes.delay_ns);
  std::array<float, 100> data{};
  const int64_t count = iteration % 2 == 0 ? 1 : 100;
  notes.arrivals[i][static_cast<size_t>(rank)].store(tutti::ticks());
  expect_success(tutti_all_reduce(data.data(), data.data(), count, TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr),
                 "an all-reduce");
  meet_at(notes.end[i], kRanks);
  if (rank != 0) return;
  const Told now = told_by(comm);
  notes.told_skew_ns[i] = now.skew_ns - before.skew_ns;
  notes.told_culprit[i] = -1;
  for (size_t r = 0; r < kRanks; ++r) {
    if (now.times_last[r] == before.times_last[r] + 1) notes.told_culprit[i] = static_cast<int>(r);
  }
  before = now;
  if (iteration == kNatural - 1) choose_delay(notes);
}

void run_rank(Notes& notes, tutti_comm_t comm, int rank) {
  Told before;
  uint64_t waited_before = 0;
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    iterate(notes, comm, rank, iteration, before);
    const int victim = victim_of(iteration);
    if (victim_of(iteration + 1) == victim) continue;
    const uint64_t waited = told_by(comm).waited_ns;
    if (victim >= 0)
      notes.waited_ns[static_cast<size_t>(rank)][static_cast<size_t>(victim)] = waited - waited_before;
    waited_before = waited;
  }
}

/// A folder of this test's own, and gone with it.
class OwnFolder {
 public:
  OwnFolder() { expect(mkdtemp(path_.data()) != nullptr, "mkdtemp failed"); }
  OwnFolder(const OwnFolder&) = delete;
  OwnFolder& operator=(const OwnFolder&) = delete;
  ~OwnFolder() { std::filesystem::remove_all(path_); }
  std::string file(const char* name) const { return path_ + "/" + name; }
  size_t count() const {
    const std::filesystem::directory_iterator files(path_);
    return static_cast<size_t>(std::distance(begin(files), end(files)));
  }

 private:
  std::string path_ = "/tmp/tutti-statistics-XXXXXX";
};

void run_pair(const tutti_unique_id_t& id, const char* stats_file, bool destroy) {
  Forked group;
  for (int rank = 0; rank < 2; ++rank) {
    group.start([&, rank] {
      setenv("TUTTI_STATS", stats_file, 1);
      tutti_comm_t comm = nullptr;
      const tutti_comm_config_t config = patient_config();
      expect_success(tutti_comm_create(&comm, &id, rank, 2, &config), "tutti_comm_create");
      for (int i = 0; i < 10; ++i) expect_working(comm, rank, 2);
      if (destroy) {
        tutti_comm_destroy(comm);
      } else {
        std::exit(0);  // as main does at its end, and unlike a forked rank otherwise
      }
    });
  }
  group.expect_all_good();
}

}  // namespace

TEST_CASE("each rank is found when it is late, and by how much") {
  const tutti_unique_id_t id = make_id();
  Shared<Notes> shared(1);
  Notes& notes = shared[0];
  Forked group;
  for (int rank = 0; rank < kRanks; ++rank) {
    group.start([&, rank] {
      tutti::calibrate_ticks();
      const OwnRank own(id, rank, kRanks, patient_config());
      run_rank(notes, own.get(), rank);
    });
  }
  group.expect_all_good(200 * kSecond);

  int as_meant = 0;
  int right = 0;
  int close = 0;
  for (int i = kNatural; i < kIterations; ++i) {
    const Truth truth = truth_of(notes, i);
    const auto told = static_cast<double>(notes.told_skew_ns[static_cast<size_t>(i)]);
    if (truth.culprit == victim_of(i)) ++as_meant;
    if (notes.told_culprit[static_cast<size_t>(i)] == truth.culprit) ++right;
    if (std::abs(told - static_cast<double>(truth.skew_ns)) <= 0.1 * static_cast<double>(truth.skew_ns))
      ++close;
  }
  CAPTURE(notes.delay_ns.load(), as_meant, right, close);
  CHECK(as_meant * 2 > kIterations - kNatural);
  CHECK(right * 100 >= (kIterations - kNatural) * 99);
  CHECK(close * 100 >= (kIterations - kNatural) * 99);
  // The rank that is late is the one that waits least.
  for (size_t victim = 0; victim < kRanks; ++victim) {
    for (size_t other = 0; other < kRanks; ++other) {
      if (other != victim) CHECK(notes.waited_ns[victim][victim] < notes.waited_ns[other][victim]);
    }
  }
}

#ifdef TUTTI_HAVE_UCX
TEST_CASE("ranks of several nodes: each node has its own figures, and says so") {
  constexpr int kSize = 4;
  const tutti_unique_id_t id = make_id();
  Forked group;
  for (int rank = 0; rank < kSize; ++rank) {
    group.start([&, rank] {
      // Not in the order of ranks: 0 and 2 share a node, 1 and 3 the other.
      setenv("TUTTI_NODE_ID", rank % 2 == 0 ? "even" : "odd", 1);
      const OwnRank own(id, rank, kSize, patient_config());
      for (int i = 0; i < 20; ++i) expect_working(own.get(), rank, kSize);
      const uint64_t start = tutti::now_ns();
      nlohmann::json stats = stats_of(own.get());
      while (stats["pending"] != 0 && tutti::now_ns() - start < 60'000'000'000) stats = stats_of(own.get());
      const std::string text = stats.dump();
      expect(stats["nodes"] == 2 && stats["size"] == kSize && stats["node"] == rank % 2, "wrong place: {}",
             text);
      expect(stats["scope"] == "ranks of this node", "wrong scope: {}", text);
      expect(stats["operations"] == 40 && stats["derived"] == 40, "wrong number: {}", text);
      expect(stats["ranks"].size() == 2, "wrong number of ranks: {}", text);
      for (int place = 0; place < 2; ++place)
        expect(stats["ranks"][static_cast<size_t>(place)]["rank"] == rank % 2 + 2 * place, "wrong ranks: {}",
               text);
    });
  }
  group.expect_all_good();
}
#endif

TEST_CASE("TUTTI_STATS: rank 0 writes when it destroys its communicator") {
  const OwnFolder folder;
  const std::string path = folder.file("stats.json");
  run_pair(make_id(), path.c_str(), true);
  CHECK(folder.count() == 1);
  const nlohmann::json stats = read_json(path);
  CHECK(stats["schema"] == "tutti-stats/1");
  CHECK(stats["rank"] == 0);
  CHECK(stats["operations"] == 20);
  CHECK(stats["derived"] == 20);
  CHECK(stats["pending"] == 0);
  CHECK(stats["kinds"].size() == 2);
}

TEST_CASE("TUTTI_STATS: every rank writes at the end of its process") {
  const OwnFolder folder;
  run_pair(make_id(), folder.file("stats.%r.%c").c_str(), false);
  CHECK(folder.count() == 2);
  for (int rank = 0; rank < 2; ++rank) {
    const nlohmann::json stats = read_json(folder.file(rank == 0 ? "stats.0.1" : "stats.1.1"));
    CHECK(stats["rank"] == rank);
    CHECK(stats["operations"] == 20);
    CHECK(stats["ranks"].size() == 2);
  }
}

TEST_CASE("TUTTI_STATS: a file that cannot be written harms nobody") {
  run_pair(make_id(), "/nonexistent/folder/stats.json", true);
}
