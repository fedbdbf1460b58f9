// A result file that is read back says what was written.
#include "benchmarks/results.h"

#include <cmath>
#include <stdexcept>

#include "benchmarks/document.h"
#include "tests/catch.h"

using namespace tutti::bench;

namespace {

double twice(int) {
  return 2;
}
const CollectiveInfo kAllReduce{Kind::all_reduce, "all_reduce", "allreduce_bench", "", "", false, twice};
const CollectiveInfo kBroadcast{Kind::broadcast, "broadcast", "broadcast_bench", "", "", true, twice};

Row row_of(const char* library) {
  Row row;
  row.library = library;
  row.algorithm = "ring";
  row.call.count = 5;
  row.call.datatype = TUTTI_FLOAT8_E5M2;
  row.call.op = TUTTI_AVG;
  row.bytes = 5;
  row.ranks = 3;
  row.in_place = true;
  row.wrong = 2;
  row.us = summarize({4, 2, 2});
  row.device = OnDevice{.ranks_per_gpu = 3, .call_ns = 1500, .settings = ""};
  row.mode = "graph";
  row.chain = 7;
  row.bound_us = 1;
  return row;
}

}  // namespace

TEST_CASE("rows on device memory come back") {
  Machine machine;
  machine.gpu =
      Gpu{.name = "one", .devices = 1, .cuda = "13.0", .copy_gbs = 2.5, .blocks = 16, .nccl = "2.30.7"};
  Row nccl = row_of("nccl");
  nccl.device->settings = "NCCL_ALGO=Ring";
  nccl.bound_us.reset();
  nccl.p50_interval = Interval{1, 3};
  nccl.p50_ratio_interval = Interval{0.5, 1.5};
  Row without = row_of("tutti");
  without.no_baseline = "why";
  const Results results = read_results(kAllReduce, to_json(kAllReduce, machine, {without, nccl}, false));
  REQUIRE(results.rows.size() == 2);
  const Row& row = results.rows[0];
  CHECK(row.library == "tutti");
  CHECK(row.algorithm == "ring");
  CHECK(row.call.datatype == TUTTI_FLOAT8_E5M2);
  CHECK(row.call.op == TUTTI_AVG);
  CHECK((row.call.count == 5 && row.bytes == 5 && row.ranks == 3 && row.in_place && row.wrong == 2));
  CHECK((row.us.samples == 3 && row.us.p50 == 2.0 && !row.us.p90 && row.us.max == 4));
  CHECK(row.no_baseline == "why");
  REQUIRE(row.device);
  CHECK((row.mode == "graph" && row.chain == 7 && row.device->ranks_per_gpu == 3));
  CHECK(row.device->call_ns == 1500);
  REQUIRE(row.bound_fraction());
  CHECK(std::abs(*row.bound_fraction() - 0.5) < 1e-12);
  CHECK(results.rows[1].device->settings == "NCCL_ALGO=Ring");
  CHECK_FALSE(results.rows[1].bound_fraction());
  REQUIRE(results.rows[1].p50_ratio_interval);
  CHECK((results.rows[1].p50_interval->low == 1 && results.rows[1].p50_ratio_interval->high == 1.5));
  CHECK_FALSE(row.p50_interval);
  REQUIRE(results.gpu);
  CHECK((results.gpu->name == "one" && results.gpu->blocks == 16 && results.gpu->nccl == "2.30.7"));
  CHECK(results.gpu->copy_gbs == 2.5);
}

TEST_CASE("rows on host memory come back without a device") {
  Row row = row_of("tutti");
  row.device.reset();
  row.call.root = 2;
  row.verified = false;
  const Results results = read_results(kBroadcast, to_json(kBroadcast, Machine(), {row}, true));
  REQUIRE(results.rows.size() == 1);
  CHECK(results.rows[0].call.root == 2);
  CHECK_FALSE(results.rows[0].device);
  CHECK_FALSE(results.rows[0].verified);
  CHECK_FALSE(results.gpu);
}

TEST_CASE("what a row goes without and how baselines were set stands in the document") {
  Machine machine;
  machine.baselines = {{"gloo", "0.5.0", "TCP over lo"}, {"mpi", "Open MPI", ""}};
  Row row = row_of("tutti");
  row.device.reset();
  row.no_baseline = "one; two";
  const std::string text = to_json(kAllReduce, machine, {row}, false);
  CHECK(read_results(kAllReduce, text).rows[0].no_baseline == "one; two");
  const size_t gloo = text.find("\"settings\": \"TCP over lo\"");
  const size_t mpi = text.find("\"version\": \"Open MPI\"");
  REQUIRE(gloo != std::string::npos);
  REQUIRE(mpi != std::string::npos);
  CHECK(gloo < mpi);
}

TEST_CASE("another file is refused") {
  CHECK_THROWS_AS(read_results(kAllReduce, ""), std::runtime_error);
  CHECK_THROWS_AS(read_results(kAllReduce, "{}"), std::runtime_error);
  CHECK_THROWS_AS(read_results(kAllReduce, R"({"results": [{}], "machine": {"gpu": null}})"),
                  std::runtime_error);
}
