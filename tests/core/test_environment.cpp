// The environment: what each variable accepts, what it says when it does not, and that the page in docs/ is
// generated from the same table.
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "core/env.h"
#include "core/error.h"
#include "core/log.h"
#include "core/units.h"
#include "tests/catch.h"
#include "tests/core/child.h"

using namespace tutti;

namespace {

Environment parse(const std::vector<std::string>& entries) {
  std::vector<const char*> list;
  for (const std::string& entry : entries) list.push_back(entry.c_str());
  list.push_back(nullptr);
  return Environment(list.data());
}

/// The message of the error that these entries cause; "" where there is none.
std::string error_of(const std::vector<std::string>& entries) {
  try {
    parse(entries);
  } catch (const Error& error) {
    CHECK(error.code() == Result::invalid_argument);
    return error.what();
  }
  return "";
}

template <typename Call>
Result code_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return Result::success;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kSecond = 1000 * kMs;

}  // namespace

TEST_CASE("an empty environment gives the defaults") {
  const Environment environment = parse({});
  const std::vector<std::pair<Variable, uint64_t>> durations = {
      {Variable::timeout, 600 * kSecond},      {Variable::warn_after, 10 * kSecond},
      {Variable::setup_timeout, 30 * kSecond}, {Variable::spin, kAutomatic},
      {Variable::sleep_after, 2 * kMs},
  };
  for (const auto& [variable, value] : durations) CHECK(environment.duration_ns(variable) == value);
  for (const Variable variable : {Variable::slice_bytes, Variable::scratch_bytes, Variable::one_shot_bytes}) {
    CHECK(environment.size(variable) == 0);
    CHECK(environment.is_automatic(variable));
  }
  CHECK(environment.integer(Variable::credits) == 0);
  CHECK(environment.is_automatic(Variable::credits));
  CHECK(environment.is_automatic(Variable::spin));
  CHECK_FALSE(environment.is_automatic(Variable::timeout));
  CHECK(environment.integer(Variable::epoch_start) == 1);
  CHECK(environment.choice<SimdChoice>(Variable::simd) == SimdChoice::automatic);
  CHECK(environment.choice<Level>(Variable::log) == Level::warn);
  for (const Variable variable : {Variable::algo, Variable::log_file, Variable::unique_id}) {
    CHECK(environment.text(variable).empty());
  }
  for (const VariableSpec& spec : variable_specs()) CHECK_FALSE(environment.is_set(spec.variable));
  CHECK(environment.warnings().empty());
}

TEST_CASE("numbers are accepted in all their spellings, ends of the range included") {
  struct Row {
    std::string entry;
    Variable variable;
    uint64_t value;
  };
  const std::vector<Row> table = {
      {"TUTTI_CREDITS=0", Variable::credits, 0},
      {"TUTTI_CREDITS=auto", Variable::credits, 0},
      {"TUTTI_CREDITS=AUTO", Variable::credits, 0},
      {"TUTTI_CREDITS=1", Variable::credits, 1},
      {"TUTTI_CREDITS=16", Variable::credits, 16},
      {"TUTTI_SLICE_BYTES=4096", Variable::slice_bytes, 4096},
      {"TUTTI_SLICE_BYTES=4K", Variable::slice_bytes, 4096},
      {"TUTTI_SLICE_BYTES=4MiB", Variable::slice_bytes, 4 << 20},
      {"TUTTI_SCRATCH_BYTES=256KiB", Variable::scratch_bytes, 256 << 10},
      {"TUTTI_SCRATCH_BYTES=64M", Variable::scratch_bytes, 64 << 20},
      {"TUTTI_ONE_SHOT_BYTES=1", Variable::one_shot_bytes, 1},
      {"TUTTI_TIMEOUT=1ms", Variable::timeout, kMs},
      {"TUTTI_TIMEOUT=24h", Variable::timeout, 86'400 * kSecond},
      {"TUTTI_TIMEOUT=86400", Variable::timeout, 86'400 * kSecond},
      {"TUTTI_WARN_AFTER=250ms", Variable::warn_after, 250 * kMs},
      {"TUTTI_SETUP_TIMEOUT=5m", Variable::setup_timeout, 300 * kSecond},
      {"TUTTI_SPIN=0", Variable::spin, 0},
      {"TUTTI_SPIN=auto", Variable::spin, kAutomatic},
      {"TUTTI_SPIN=1s", Variable::spin, kSecond},
      {"TUTTI_SLEEP_AFTER=0s", Variable::sleep_after, 0},
      {"TUTTI_EPOCH_START=4294967292", Variable::epoch_start, 4294967292},
      {"TUTTI_EPOCH_START=4611686018427387904", Variable::epoch_start, uint64_t{1} << 62},
      {"TUTTI_RANK=0", Variable::rank, 0},
      {"TUTTI_RANK=65535", Variable::rank, 65535},
      {"TUTTI_SIZE=65536", Variable::size, 65536},
      {"TUTTI_DEVICE=0", Variable::device, 0},
      {"TUTTI_DEVICE=1023", Variable::device, 1023},
      {"TUTTI_DEVICE=auto", Variable::device, kAutomatic},
      {"TUTTI_DEVICE=none", Variable::device, kNone},
      {"TUTTI_DEVICE=None", Variable::device, kNone},
      {"TUTTI_CTAS=0", Variable::ctas, 0},
      {"TUTTI_CTAS=128", Variable::ctas, 128},
      {"TUTTI_DEVICE_COMMS=16", Variable::device_comms, 16},
      {"TUTTI_DEVICE_SCRATCH_BYTES=1GiB", Variable::device_scratch_bytes, 1 << 30},
  };
  for (const Row& row : table) {
    CAPTURE(row.entry);
    const Environment environment = parse({row.entry});
    const VariableType type = variable_specs()[static_cast<size_t>(row.variable)].type;
    const uint64_t value = type == VariableType::integer ? environment.integer(row.variable)
                           : type == VariableType::size  ? environment.size(row.variable)
                                                         : environment.duration_ns(row.variable);
    CHECK(value == row.value);
    CHECK(environment.is_set(row.variable));
    CHECK(environment.warnings().empty());
  }
}

TEST_CASE("an error names the variable, the value and the range") {
  const std::string credits = ": expected an integer from 1 to 16, or 0 or auto for automatic";
  const std::string timeout = ": expected a duration from 1ms to 24h";
  const std::string slice = ": expected a size from 4KiB to 4MiB, or 0 or auto for automatic";
  const std::string algo = ": expected at most 256 characters: letters, digits and _-=,:.+()";
  const std::vector<std::pair<std::string, std::string>> table = {
      {"TUTTI_CREDITS=99", credits},
      {"TUTTI_CREDITS=17", credits},
      {"TUTTI_CREDITS=-1", credits},
      {"TUTTI_CREDITS= 1", credits},
      {"TUTTI_CREDITS=1K", credits},
      {"TUTTI_CREDITS=automatic", credits},
      {"TUTTI_CREDITS=none", credits},
      {"TUTTI_DEVICE=-1", ": expected an integer from 0 to 1023, or auto for automatic, or none"},
      {"TUTTI_DEVICE=1024", ": expected an integer from 0 to 1023, or auto for automatic, or none"},
      {"TUTTI_DEVICE_COMMS=0", ": expected an integer from 1 to 16"},
      {"TUTTI_CREDITS=18446744073709551617", credits},
      {"TUTTI_SLICE_BYTES=4095", slice},
      {"TUTTI_SLICE_BYTES=4097K", slice},
      {"TUTTI_SLICE_BYTES=4KB", slice},
      {"TUTTI_SLICE_BYTES=18014398509481984K", slice},  // 2^64 would be 0 if it wrapped
      {"TUTTI_SCRATCH_BYTES=65M", ": expected a size from 256KiB to 64MiB, or 0 or auto for automatic"},
      {"TUTTI_TIMEOUT=0", timeout},
      {"TUTTI_TIMEOUT=999us", timeout},
      {"TUTTI_TIMEOUT=auto", timeout},
      {"TUTTI_TIMEOUT=86401", timeout},
      {"TUTTI_TIMEOUT=10 s", timeout},
      {"TUTTI_SPIN=1001ms", ": expected a duration from 0s to 1s, or auto for automatic"},
      {"TUTTI_SIMD=sse", ": expected one of auto, portable, avx2, avx512"},
      {"TUTTI_SIMD=auto|portable", ": expected one of auto, portable, avx2, avx512"},
      {"TUTTI_LOG=5", ": expected one of off, error, warn, info, debug"},
      {"TUTTI_ALGO=ring;rm", algo},
      {"TUTTI_ALGO=a b", algo},
      {"TUTTI_RANK=65536", ": expected an integer from 0 to 65535"},
      {"TUTTI_SIZE=0", ": expected an integer from 1 to 65536"},
      {"TUTTI_EPOCH_START=0", ": expected an integer from 1 to 4611686018427387904"},
  };
  for (const auto& [entry, expectation] : table) {
    CAPTURE(entry);
    CHECK(error_of({entry}) == entry + expectation);
  }
}

TEST_CASE("hostile values are escaped and cut in the message") {
  const std::string expectation = ": expected an integer from 1 to 16, or 0 or auto for automatic";
  CHECK(error_of({"TUTTI_CREDITS=\x1b[2J\n\xff"}) == "TUTTI_CREDITS=\\x1b[2J\\x0a\\xff" + expectation);
  CHECK(error_of({"TUTTI_CREDITS=" + std::string(1'000'000, '9')}) ==
        "TUTTI_CREDITS=" + std::string(80, '9') + "..." + expectation);
  CHECK(error_of({"TUTTI_ALGO=" + std::string(257, 'a')}) != "");
  CHECK(error_of({"TUTTI_ALGO=" + std::string(256, 'a')}) == "");
}

TEST_CASE("all errors are reported together") {
  CHECK(error_of({"TUTTI_LOG=x", "TUTTI_CREDITS=1", "TUTTI_TIMEOUT=y"}) ==
        "TUTTI_LOG=x: expected one of off, error, warn, info, debug; "
        "TUTTI_TIMEOUT=y: expected a duration from 1ms to 24h");
}

TEST_CASE("a rank lies below the size") {
  CHECK(error_of({"TUTTI_RANK=3", "TUTTI_SIZE=4"}) == "");
  CHECK(error_of({"TUTTI_SIZE=4", "TUTTI_RANK=4"}) ==
        "TUTTI_RANK=4: expected an integer from 0 to 3, as TUTTI_SIZE=4");
}

TEST_CASE("choices and texts") {
  const Environment environment =
      parse({"TUTTI_SIMD=AVX2", "TUTTI_LOG=debug", "TUTTI_ALGO=all_reduce=ring,broadcast=chain",
             "TUTTI_LOG_FILE=/tmp/a b-%r.\xc3\xa9", "TUTTI_UNIQUE_ID=00fFaB"});
  CHECK(environment.choice<SimdChoice>(Variable::simd) == SimdChoice::avx2);
  CHECK(environment.choice<Level>(Variable::log) == Level::debug);
  CHECK(environment.text(Variable::algo) == "all_reduce=ring,broadcast=chain");
  CHECK(environment.text(Variable::log_file) == "/tmp/a b-%r.\xc3\xa9");
  CHECK(environment.text(Variable::unique_id) == "00fFaB");
}

TEST_CASE("nothing counts as not set, the first of two counts, and other entries do not matter") {
  const Environment environment = parse({"TUTTI_CREDITS=", "PATH=/bin", "TUTTI_LOG", "=TUTTI_LOG=off", "",
                                         "TUTTI_SLEEP_AFTER=1s", "TUTTI_SLEEP_AFTER=2s", "tutti_log=off"});
  CHECK_FALSE(environment.is_set(Variable::credits));
  CHECK(environment.is_automatic(Variable::credits));
  CHECK(environment.choice<Level>(Variable::log) == Level::warn);
  CHECK(environment.duration_ns(Variable::sleep_after) == kSecond);
  CHECK(environment.warnings() ==
        std::vector<std::string>{"TUTTI_SLEEP_AFTER is set twice; the first value counts"});
  CHECK(Environment(nullptr).plan_values() == parse({}).plan_values());
}

TEST_CASE("unknown names are warned of, with the nearest known one") {
  const std::vector<std::pair<std::string, std::string>> table = {
      {"TUTTI_CREDIT", "TUTTI_CREDITS"},
      {"TUTTI_SLICE_SIZE", ""},
      {"TUTTI_SLICEBYTES", "TUTTI_SLICE_BYTES"},
      {"TUTTI_OLG", "TUTTI_LOG"},
      {"TUTTI_ALGOS", "TUTTI_ALGO"},
      {"TUTTI_TIMOEUT", "TUTTI_TIMEOUT"},
      {"TUTTI_UNIQUE_ID2", "TUTTI_UNIQUE_ID"},
      {"TUTTI_log", ""},
      {"TUTTI_FROBNICATE", ""},
      {"TUTTI_", ""},
      {"TUTTI_X", ""},
  };
  for (const auto& [name, nearest] : table) {
    std::string expected = name + " is not a variable of Tutti and is ignored";
    if (!nearest.empty()) expected += "; did you mean " + nearest + "?";
    CHECK(parse({name + "=1"}).warnings() == std::vector<std::string>{expected});
  }
  const std::string hostile = parse({"TUTTI_\x01\xff" + std::string(100'000, 'Z') + "=1"}).warnings().at(0);
  CHECK(hostile ==
        "TUTTI_\\x01\\xff" + std::string(66, 'Z') + "... is not a variable of Tutti and is ignored");
}

TEST_CASE("plan values are canonical: equal meaning, equal text") {
  const auto defaults = parse({}).plan_values();
  std::vector<std::string> names;
  for (const auto& [name, value] : defaults) names.push_back(name);
  CHECK(names == std::vector<std::string>{"TUTTI_ALGO", "TUTTI_SLICE_BYTES", "TUTTI_CREDITS",
                                          "TUTTI_SCRATCH_BYTES", "TUTTI_ONE_SHOT_BYTES", "TUTTI_EPOCH_START",
                                          "TUTTI_TRANSPORT", "TUTTI_CTAS", "TUTTI_DEVICE_COMMS",
                                          "TUTTI_DEVICE_SCRATCH_BYTES"});
  CHECK(parse({"TUTTI_CREDITS=0", "TUTTI_SLICE_BYTES=auto", "TUTTI_EPOCH_START=01"}).plan_values() ==
        defaults);
  CHECK(parse({"TUTTI_LOG=debug", "TUTTI_TIMEOUT=5", "TUTTI_RANK=1"}).plan_values() == defaults);
  CHECK(parse({"TUTTI_SLICE_BYTES=65536"}).plan_values() == parse({"TUTTI_SLICE_BYTES=64K"}).plan_values());
  for (const std::string different :
       {"TUTTI_ALGO=ring", "TUTTI_SLICE_BYTES=64K", "TUTTI_CREDITS=2", "TUTTI_SCRATCH_BYTES=1M",
        "TUTTI_ONE_SHOT_BYTES=8", "TUTTI_EPOCH_START=2", "TUTTI_CTAS=4", "TUTTI_DEVICE_COMMS=2",
        "TUTTI_DEVICE_SCRATCH_BYTES=1M"}) {
    CAPTURE(different);
    CHECK(parse({different}).plan_values() != defaults);
  }
}

TEST_CASE("booleans have the usual spellings") {
  // No variable of this version is one; the type is tested by a row of its own.
  const VariableSpec spec{.variable = Variable::algo, .name = "TUTTI_X", .type = VariableType::boolean};
  for (const char* yes : {"1", "yes", "on", "true", "TRUE"}) CHECK(parse_variable(spec, yes).number == 1);
  for (const char* no : {"0", "no", "off", "false", "Off"}) CHECK(parse_variable(spec, no).number == 0);
  CHECK(parse_variable(spec, "yes").text == parse_variable(spec, "on").text);
  for (const char* wrong : {"2", "", "y", "truely"}) {
    CHECK(code_of([&] { parse_variable(spec, wrong); }) == Result::invalid_argument);
  }
}

TEST_CASE("asking for the wrong type is a defect, asking for what is not set an error") {
  const Environment environment = parse({});
  CHECK(code_of([&] { environment.size(Variable::credits); }) == Result::internal_error);
  CHECK(code_of([&] { environment.text(Variable::credits); }) == Result::internal_error);
  CHECK(code_of([&] { environment.boolean(Variable::log); }) == Result::internal_error);
  CHECK(code_of([&] { environment.integer(Variable::rank); }) == Result::invalid_argument);
  CHECK(code_of([&] { environment.integer(Variable::size); }) == Result::invalid_argument);
}

TEST_CASE("the description covers every variable and hides secrets") {
  const Environment environment =
      parse({"TUTTI_UNIQUE_ID=deadbeef", "TUTTI_LOG_FILE=a\nb", "TUTTI_TIMEOUT=60s"});
  const auto rows = environment.describe();
  REQUIRE(rows.size() == kVariables);
  std::set<std::string> names;
  for (const VariableDescription& row : rows) {
    names.insert(row.name);
    CHECK(row.name.starts_with("TUTTI_"));
    CHECK(row.help.size() > 20);
    CHECK_FALSE(row.range.empty());
    CHECK(row.value.find("deadbeef") == std::string::npos);
  }
  CHECK(names.size() == kVariables);

  const auto& timeout = rows[static_cast<size_t>(Variable::timeout)];
  CHECK(timeout.name == "TUTTI_TIMEOUT");
  CHECK(timeout.type == "duration");
  CHECK(timeout.range == "a duration from 1ms to 24h");
  CHECK(timeout.default_value == "10m");
  CHECK(timeout.value == "1m");
  CHECK(timeout.source == "environment");
  CHECK_FALSE(timeout.plan);
  const auto& credits = rows[static_cast<size_t>(Variable::credits)];
  CHECK(credits.value == "auto");
  CHECK(credits.source == "default");
  CHECK(credits.plan);
  CHECK(rows[static_cast<size_t>(Variable::log_file)].value == "a\\x0ab");
  CHECK(rows[static_cast<size_t>(Variable::unique_id)].value == "<not shown>");
  CHECK(error_of({"TUTTI_UNIQUE_ID=deadbeefx"}) ==
        "TUTTI_UNIQUE_ID=<9 characters, not shown>: expected 2 to 4096 characters: hexadecimal digits");
}

TEST_CASE("the process environment is parsed", "[.child-environment]") {
  const Environment& environment = Environment::process();
  CHECK(environment.integer(Variable::credits) == 7);
  CHECK(&environment == &Environment::process());
}

TEST_CASE("a malformed process environment throws each time", "[.child-environment]") {
  for (int i = 0; i < 2; ++i) {
    CHECK(code_of([] { Environment::process(); }) == Result::invalid_argument);
  }
}

TEST_CASE("the process environment is the one the process was started with") {
  CHECK(run_test_case("the process environment is parsed", {"TUTTI_CREDITS=7"}).status == 0);
  CHECK(run_test_case("the process environment is parsed", {"TUTTI_CREDITS=8"}).status != 0);
  CHECK(run_test_case("a malformed process environment throws each time", {"TUTTI_CREDITS=99"}).status == 0);
  CHECK(run_test_case("a malformed process environment throws each time", {"TUTTI_CREDITS=9"}).status != 0);
}

TEST_CASE("docs/environment.md is generated from the table") {
  const std::string path = std::string(TUTTI_SOURCE_DIR) + "/docs/environment.md";
  const std::string expected = environment_markdown();
  for (const VariableSpec& spec : variable_specs()) {
    CHECK(expected.find("| `" + std::string(spec.name) + "` |") != std::string::npos);
  }
  if (std::getenv("UPDATE_DOCS") != nullptr) std::ofstream(path) << expected;
  INFO(
      "to regenerate: UPDATE_DOCS=1 bin/test_core, or tutti-info --environment-markdown > "
      "docs/environment.md");
  CHECK(read_file(path) == expected);
}
