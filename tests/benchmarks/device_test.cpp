// Runs on device memory, as far as they need no device: bounds, NCCL's versions, the sweep over its settings.
#include "benchmarks/baseline_nccl.h"
#include "benchmarks/device_harness.h"
#include "benchmarks/nccl_sweep.h"
#include "tests/catch.h"

using namespace tutti::bench;

namespace {

double factor(int) {
  return 1;
}
const CollectiveInfo kAllReduce{Kind::all_reduce, "all_reduce", "allreduce_bench", "", "", false, factor};

Pair pair_of(double tutti_us, std::optional<double> nccl_us) {
  Pair pair(1);
  pair[0].library = "tutti";
  pair[0].us = summarize({tutti_us});
  if (!nccl_us) return pair;
  pair.emplace_back();
  pair[1].library = "nccl";
  pair[1].us = summarize({*nccl_us});
  return pair;
}

double tutti_us(const Pair& pair) {
  return pair[0].us.p50.value_or(0);
}

}  // namespace

TEST_CASE("the traffic that no algorithm does without") {
  CHECK(least_traffic(Kind::all_reduce, 4, 100, false) == 800);
  CHECK(least_traffic(Kind::all_reduce, 4, 100, true) == 800);
  CHECK(least_traffic(Kind::broadcast, 4, 100, true) == 400);
  CHECK(least_traffic(Kind::broadcast, 4, 100, false) == 500);
}

TEST_CASE("several ranks on one device need a new NCCL") {
  const std::string why = nccl_too_old(22'809);
  CHECK(why.find("NCCL 2.28.9 was found") != std::string::npos);
  CHECK(why.find("NCCL 2.30.0 or later") != std::string::npos);
  CHECK_FALSE(nccl_too_old(22'999).empty());
  CHECK(nccl_too_old(23'000).empty());
  CHECK(nccl_too_old(23'007).empty());
}

TEST_CASE("what NCCL has not") {
  CHECK(nccl_cannot(kAllReduce, {.datatype = TUTTI_FLOAT32, .op = TUTTI_AVG}).empty());
  CHECK(nccl_cannot(kAllReduce, {.datatype = TUTTI_FLOAT8_E4M3}).empty());
  CHECK(nccl_cannot(kAllReduce, {.datatype = TUTTI_INT16}) == "NCCL has no int16");
  CHECK_FALSE(nccl_cannot(kAllReduce, {.datatype = TUTTI_INT32, .op = TUTTI_AVG}).empty());
}

TEST_CASE("a library that is no NCCL is no baseline") {
  CHECK_THROWS_AS(nccl_version("/nonexistent/libnccl.so.2", true), NoBaseline);
  CHECK_THROWS_AS(nccl_version("libm.so.6", true), NoBaseline);
}

TEST_CASE("a run of the sweep has its own result file and no sweep") {
  using Words = std::vector<std::string>;
  const Words run{"bench", "-b", "8", "--json", "x"};
  CHECK(sweep_arguments({"bench", "-b", "8", "--nccl-sweep", "--json", "mine"}, "x") == run);
  CHECK(sweep_arguments({"bench", "--json=mine", "-b", "8", "--nccl-sweep"}, "x") == run);
  CHECK(sweep_arguments({"bench", "-b", "8"}, "x") == run);
}

TEST_CASE("of each row the run is kept in which NCCL was fastest") {
  std::vector<Pair> best;
  keep_best(best, {pair_of(1, 10), pair_of(2, 20), pair_of(3, std::nullopt)});
  REQUIRE(best.size() == 3);
  keep_best(best, {pair_of(4, 9), pair_of(5, 21), pair_of(6, 5)});
  CHECK(tutti_us(best[0]) == 4);
  CHECK(tutti_us(best[1]) == 2);
  CHECK(tutti_us(best[2]) == 6);
  SECTION("a run without the baseline changes nothing") {
    keep_best(best, {pair_of(7, std::nullopt), pair_of(8, std::nullopt), pair_of(9, std::nullopt)});
    CHECK(tutti_us(best[0]) == 4);
    CHECK(best[2].size() == 2);
  }
  SECTION("one that was interrupted ends the table") {
    keep_best(best, {pair_of(7, 1)});
    REQUIRE(best.size() == 1);
    CHECK(tutti_us(best[0]) == 7);
  }
}
