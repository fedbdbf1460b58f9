// Bandwidths, the JSON text and the result file.
#include "benchmarks/output.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "benchmarks/document.h"
#include "tests/catch.h"

using namespace tutti::bench;

namespace {

double factor(int) {
  return 1;
}
const CollectiveInfo kAllReduce{Kind::all_reduce, "all_reduce", "allreduce_bench", "", "", false, factor};

std::string read(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string fresh_directory(const std::string& name) {
  std::string path = std::string(BENCH_TEMPORARY) + "/" + name;
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  return path;
}

size_t files_in(const std::string& directory) {
  const std::filesystem::directory_iterator files(directory);
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}

}  // namespace

TEST_CASE("bandwidth is bytes over p50, in 10^9 bytes per second") {
  Row row;
  row.bytes = 3'000'000;
  row.us.p50 = 1000;
  row.bus_factor = 1.5;
  CHECK(std::abs(row.algbw() - 3.0) < 1e-9);
  CHECK(std::abs(row.busbw() - 4.5) < 1e-9);
  row.us.p50 = 0;
  CHECK(row.algbw() == 0);
}

TEST_CASE("what the bound allows, and a machine that changed") {
  Row row;
  row.us.p50 = 10;
  CHECK_FALSE(row.bound_fraction());
  CHECK_FALSE(row.machine_changed());
  row.bound_us = 4;
  REQUIRE(row.bound_fraction());
  CHECK(std::abs(*row.bound_fraction() - 0.4) < 1e-12);
  row.cache_line_ns = {100, 129};
  CHECK_FALSE(row.machine_changed());
  row.cache_line_ns = {131, 100};
  CHECK(row.machine_changed());
}

TEST_CASE("what is not known is null, and bytes that are no text do no harm") {
  Machine machine;
  machine.command = "allreduce_bench \xff\"\n";
  Row row;
  row.verified = false;
  row.us = summarize({1.5});
  const std::string text = to_json(kAllReduce, machine, {row}, true);
  CHECK(text.find("\"p50_us\": 1.5") != std::string::npos);
  CHECK(text.find("\"p99_us\": null") != std::string::npos);
  CHECK(text.find("\"wrong\": null") != std::string::npos);
  CHECK(text.find("\"root\": null") != std::string::npos);
  CHECK(text.find("\"interrupted\": true") != std::string::npos);
}

TEST_CASE("a result file appears whole, and only when it is finished") {
  const std::string directory = fresh_directory("whole");
  const std::string path = directory + "/result.json";
  std::ofstream(path) << "older";
  {
    ResultFile file(path);
    CHECK(read(path) == "older");
    file.finish("new text");
    CHECK(read(path) == "new text");
  }
  CHECK(read(path) == "new text");
  CHECK(files_in(directory) == 1);
}

TEST_CASE("a result file that is not finished leaves nothing behind") {
  const std::string directory = fresh_directory("unfinished");
  {
    const ResultFile file(directory + "/result.json");
    CHECK(files_in(directory) == 1);
  }
  CHECK(files_in(directory) == 0);
}

TEST_CASE("a longer text than the space taken first is written whole") {
  const std::string path = fresh_directory("long") + "/result.json";
  const std::string text(3U << 20, 'x');
  ResultFile file(path);
  file.finish(text);
  CHECK(read(path) == text);
}

TEST_CASE("a place that cannot be written is refused at once") {
  CHECK_THROWS_AS(ResultFile(std::string(BENCH_TEMPORARY) + "/missing/result.json"), std::runtime_error);
  CHECK_THROWS_AS(ResultFile("/dev/null"), std::runtime_error);
  CHECK_THROWS_AS(ResultFile(std::string(BENCH_TEMPORARY)), std::runtime_error);
}
