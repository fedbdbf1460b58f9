// What statistics say of the rails of a rank.
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/statistics/report.h"
#include "tests/catch.h"
#include "transports/rail_statistics.h"

using namespace tutti;
using namespace tutti::statistics;

namespace {

std::vector<RailStatistics> two_rails() {
  std::vector<RailStatistics> rails(2);
  rails[0].name = "mlx5_0";
  rails[0].bytes = 3000;
  rails[0].writes = 7;
  for (int i = 0; i < 99; ++i) rails[0].completion.record(10);
  rails[0].completion.record(2000);
  rails[1].name = "mlx5_1:2";
  rails[1].bytes = 1000;
  rails[1].writes = 2;
  rails[1].outstanding = 512;
  rails[1].dead_peers = 1;
  rails[1].is_up = false;
  rails[1].port_downs = 2;
  rails[1].port_ups = 1;
  rails[1].address_changes = 3;
  return rails;
}

Summary summary_of_one_rank() {
  Summary summary;
  summary.ranks.resize(1);
  return summary;
}

const Scope kScope = {.rank = 5, .size = 8, .node = 2, .nodes = 4, .communicator = 1, .ranks = {5}};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a rail's share is of the bytes of all rails of the rank") {
  const std::vector<RailStatistics> rails = two_rails();
  CHECK(share_of(rails[0], rails) == 0.75);
  CHECK(share_of(rails[1], rails) == 0.25);
  const std::vector<RailStatistics> unused(2);
  CHECK(share_of(unused[0], unused) == 0.0);
}

TEST_CASE("what two transports gave to one device is added, what the device said to both is not") {
  std::vector<RailStatistics> rails = two_rails();
  std::vector<RailStatistics> more = {two_rails()[1]};
  more[0].address_changes = 4;
  more.emplace_back().name = "mlx5_2";
  add_rails(rails, more);
  REQUIRE(rails.size() == 3);
  CHECK(rails[0].bytes == 3000);
  CHECK(rails[1].bytes == 2000);
  CHECK(rails[1].writes == 4);
  CHECK(rails[1].outstanding == 1024);
  CHECK(rails[1].completion.count() == 2 * two_rails()[1].completion.count());
  CHECK(rails[1].dead_peers == 1);
  CHECK_FALSE(rails[1].is_up);
  CHECK(rails[1].port_downs == 2);
  CHECK(rails[1].address_changes == 4);
  CHECK(rails[2].name == "mlx5_2");
}

TEST_CASE("a rail in words: what is not so is not said") {
  const std::vector<RailStatistics> rails = two_rails();
  CHECK(text_of(rails[0], rails) ==
        "rail mlx5_0: 3000 in 7 writes (75.0 % of this rank's), complete after 10ns (p50), 10ns (p99)");
  CHECK(text_of(rails[1], rails) ==
        "rail mlx5_1:2: 1000 in 2 writes (25.0 % of this rank's), 512 under way, dead for 1 peer, "
        "its port went down 2 times and is down");
  std::vector<RailStatistics> failed(1);
  failed[0].name = "mlx5_0";
  failed[0].is_up = false;
  failed[0].device_failures = 1;
  CHECK(text_of(failed[0], failed) ==
        "rail mlx5_0: 0 in 0 writes (0.0 % of this rank's), its device has failed");
}

TEST_CASE("JSON has the rails of the rank, and nothing where there are none") {
  const nlohmann::json json =
      nlohmann::json::parse(as_json(summary_of_one_rank(), kScope, {}, two_rails()))["rails"];
  REQUIRE(json.size() == 2);
  CHECK(json[0]["rail"] == "mlx5_0");
  CHECK(json[0]["bytes"] == 3000);
  CHECK(json[0]["writes"] == 7);
  CHECK(json[0]["share"] == 0.75);
  CHECK(json[0]["outstanding_bytes"] == 0);
  CHECK(json[0]["dead_peers"] == 0);
  CHECK(json[0]["up"] == true);
  CHECK(json[0]["completion"]["count"] == 100);
  CHECK(json[0]["completion"]["p50_ns"] == 10);
  CHECK(json[0]["completion"]["max_ns"] == 2000);
  CHECK(json[1]["rail"] == "mlx5_1:2");
  CHECK(json[1]["outstanding_bytes"] == 512);
  CHECK(json[1]["dead_peers"] == 1);
  CHECK(json[1]["up"] == false);
  CHECK(json[1]["events"]["port_down"] == 2);
  CHECK(json[1]["events"]["port_up"] == 1);
  CHECK(json[1]["events"]["address_change"] == 3);
  CHECK(json[1]["events"]["device_failure"] == 0);
  CHECK(json[1]["completion"]["count"] == 0);
  CHECK(!nlohmann::json::parse(as_json(summary_of_one_rank(), kScope)).contains("rails"));
}

TEST_CASE("Prometheus has a sample for each rail of each rank") {
  const std::string text = as_prometheus(summary_of_one_rank(), kScope, {}, two_rails());
  const std::string first = R"({communicator="1",node="2",rank="5",rail="mlx5_0"} )";
  const std::string second = R"({communicator="1",node="2",rank="5",rail="mlx5_1:2"} )";
  CHECK(has(text, "# TYPE tutti_rail_bytes_total counter\n"));
  CHECK(has(text, "tutti_rail_bytes_total" + first + "3000\n"));
  CHECK(has(text, "tutti_rail_writes_total" + second + "2\n"));
  CHECK(has(text, "tutti_rail_outstanding_bytes" + second + "512\n"));
  CHECK(has(text, "tutti_rail_dead_peers" + second + "1\n"));
  CHECK(has(text, "tutti_rail_up" + first + "1\n"));
  CHECK(has(text, "tutti_rail_up" + second + "0\n"));
  CHECK(has(
      text,
      R"(tutti_rail_events_total{communicator="1",node="2",rank="5",rail="mlx5_1:2",event="port_down"} 2)"));
  CHECK(has(text, "# TYPE tutti_rail_completion_seconds histogram\n"));
  CHECK(has(text, "tutti_rail_completion_seconds_count" + first + "100\n"));
  CHECK(has(text, R"(rail="mlx5_0",le="2.56e-07"} 99)"));
  CHECK(!has(as_prometheus(summary_of_one_rank(), kScope), "tutti_rail"));
}
