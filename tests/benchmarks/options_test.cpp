// What the command line means, and what it may not say.
#include "benchmarks/options.h"

#include <sstream>

#include "tests/catch.h"

using namespace tutti::bench;

namespace {

double factor(int) {
  return 1;
}

const CollectiveInfo kWithOp{
    Kind::all_reduce, "all_reduce", "allreduce_bench", "summary", "examples", false, factor};
const CollectiveInfo kWithRoot{Kind::broadcast, "broadcast", "broadcast_bench", "summary", "examples", true,
                               factor};

std::vector<std::string> words(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> list;
  for (std::string word; in >> word;) list.push_back(word);
  return list;
}

Options good(const std::string& line, const CollectiveInfo& collective = kWithOp) {
  const ParsedOptions parsed = parse_options(collective, words(line));
  INFO(line << ": " << parsed.text);
  REQUIRE(parsed.options);
  return *parsed.options;
}

/// The message of a line that must be refused with status 2.
std::string bad(const std::string& line, const CollectiveInfo& collective = kWithOp) {
  const ParsedOptions parsed = parse_options(collective, words(line));
  INFO(line);
  REQUIRE_FALSE(parsed.options);
  REQUIRE(parsed.exit_code == 2);
  return parsed.text;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("defaults") {
  const Options options = good("");
  CHECK(options.sizes.front() == 8);
  CHECK(options.sizes.back() == 32U << 20);
  CHECK(options.datatypes == std::vector<tutti_datatype_t>{TUTTI_FLOAT32});
  CHECK(options.ops == std::vector<tutti_op_t>{TUTTI_SUM});
  CHECK(options.placements == std::vector<bool>{false});
  CHECK(good("", kWithRoot).placements == std::vector<bool>{true});
  CHECK(options.root == 0);
  CHECK(options.checks == 5);
  CHECK_FALSE(options.iterations);
  CHECK_FALSE(options.warmup);
  CHECK_FALSE(options.local_ranks);
  CHECK(options.baselines.empty());
  CHECK(options.plant_library == "tutti");
}

TEST_CASE("sizes") {
  using Sizes = std::vector<uint64_t>;
  CHECK(good("-b 8 -e 64 -f 2").sizes == Sizes{8, 16, 32, 64});
  CHECK(good("-b 8 -e 63 -f 2").sizes == Sizes{8, 16, 32});
  CHECK(good("-b 1K -e 3K -i 1024").sizes == Sizes{1024, 2048, 3072});
  CHECK(good("--minbytes 64K --maxbytes 64K").sizes == Sizes{65536});
  CHECK(good("--minbytes=64KiB --maxbytes=64KiB --stepfactor=2").sizes == Sizes{65536});
  CHECK(good("-b 0 -e 16 -f 2").sizes == Sizes{0, 8, 16});
  CHECK(good("-b 0 -e 4 -i 2").sizes == Sizes{0, 2, 4});
  CHECK(good("-b 64M").sizes == Sizes{64U << 20});
  CHECK(good("-e 4").sizes == Sizes{4});
}

TEST_CASE("types, operators, roots, placements") {
  CHECK(good("-d all").datatypes.size() == 14);
  CHECK(good("-o all").ops.size() == 5);
  CHECK(good("-d half,bf16,double").datatypes ==
        std::vector<tutti_datatype_t>{TUTTI_FLOAT16, TUTTI_BFLOAT16, TUTTI_FLOAT64});
  CHECK(good("-d f8e4m3,float8_e5m2").datatypes ==
        std::vector<tutti_datatype_t>{TUTTI_FLOAT8_E4M3, TUTTI_FLOAT8_E5M2});
  CHECK(good("-d float,fp32,float32").datatypes == std::vector<tutti_datatype_t>{TUTTI_FLOAT32});
  CHECK(good("--op min,max").ops == std::vector<tutti_op_t>{TUTTI_MIN, TUTTI_MAX});
  CHECK(roots_for(good("-r 2", kWithRoot), 3) == std::vector<int>{2});
  CHECK(roots_for(good("-r all", kWithRoot), 3) == std::vector<int>{0, 1, 2});
  CHECK_THROWS_AS(roots_for(good("-r 3", kWithRoot), 3), UsageError);
  CHECK(good("--in-place").placements == std::vector<bool>{true});
  CHECK(good("--placement both").placements == std::vector<bool>{false, true});
  CHECK(good("--placement out", kWithRoot).placements == std::vector<bool>{false});
}

TEST_CASE("measurement and run") {
  const Options options = good(
      "-n 1000 -w 0 -c 0 --seconds 2.5 --timeout 250ms --np 4 --json a.json --baseline mpi --algorithm ring");
  CHECK(options.iterations == 1000);
  CHECK(options.warmup == 0);
  CHECK(options.checks == 0);
  CHECK(options.seconds == 2.5);
  CHECK(options.timeout_ns == 250'000'000);
  CHECK(options.local_ranks == 4);
  CHECK(options.json == "a.json");
  CHECK(options.baselines == std::vector<std::string>{"mpi"});
  const Options several = good("--baseline gloo,mpi,ucc,gloo --peers /x --plant-error timed:ucc");
  CHECK(several.baselines == std::vector<std::string>{"gloo", "mpi", "ucc"});
  CHECK((several.peers == "/x" && several.plant_library == "ucc"));
  CHECK(options.algorithm == "ring");
  CHECK(good("--warmup_iters 3").warmup == 3);
  CHECK(good("--warmup-iters 3").warmup == 3);
  CHECK(good("--iters 7").iterations == 7);
  CHECK(good("--raw a.raw").raw == "a.raw");
  CHECK(good("--wide").wide);
  CHECK_FALSE(options.wide);
}

TEST_CASE("modes of measuring") {
  CHECK(good("").chain == 1);
  CHECK(good("--mode isolated").chain == 1);
  CHECK(good("--mode chain").chain == 20);
  CHECK(good("--mode chain --chain 7").chain == 7);
  CHECK(good("--chain 7").chain == 7);
  CHECK(good("--memory device --mode chain").chain == 20);
  CHECK_FALSE(good("").rate);
  CHECK(good("--rate 2500.5").rate == 2500.5);
  const Options lasting = good("--duration 10m");
  CHECK((lasting.seconds == 600 && lasting.windows));
  CHECK_FALSE(good("--seconds 10").windows);
  CHECK_FALSE(good("").late_rank);
  const Options late = good("--skew 3:250.5:10");
  REQUIRE(late.late_rank);
  CHECK((late.late_rank->rank == 3 && late.late_rank->us == 250.5 && late.late_rank->period == 10));
  CHECK(good("--skew 0:1").late_rank->period == 1);
  CHECK_NOTHROW(check_ranks(late, 4));
  CHECK_THROWS_AS(check_ranks(late, 3), UsageError);
  CHECK(good("--plant-slowdown 10").plant_slowdown == 0.1);
  CHECK(good("--plant-slowdown 0").plant_slowdown == 0);
}

TEST_CASE("disturbances, limits") {
  CHECK_FALSE(good("").limits);
  CHECK(good("--limits").limits);
  CHECK_FALSE(good("").noise);
  CHECK_FALSE(good("").aggressor);
  CHECK((good("--noise 1").noise->core == 1 && good("--noise 1").noise->percent == 100));
  CHECK((good("--noise 3:25").noise->core == 3 && good("--noise 3:25").noise->percent == 25));
  CHECK(good("--aggressor 64K").aggressor->collective == "broadcast");
  CHECK(good("--aggressor 64K").aggressor->bytes == 65536);
  CHECK(good("--aggressor 64K", kWithRoot).aggressor->collective == "all_reduce");
  CHECK(good("--aggressor broadcast:1M", kWithRoot).aggressor->collective == "broadcast");
}

TEST_CASE("a bad value is refused by name, with what is allowed") {
  struct Case {
    const char* line;
    const char* option;
    const char* part;
  };
  const Case cases[] = {
      {"-b 8x", "--minbytes", "8x"},
      {"-b 2T", "--minbytes", "1024GiB"},
      {"-e 99999999999999999999", "--maxbytes", "99999999999999999999"},
      {"-b 64 -e 8", "--maxbytes", "at least"},
      {"-f 1", "--stepfactor", "from 2"},
      {"-f 1.5", "--stepfactor", "1.5"},
      {"-i 0", "--stepbytes", "from 1"},
      {"-f 2 -i 8", "--stepbytes", "one of the two"},
      {"-n 0", "--iters", "from 1"},
      {"-n many", "--iters", "many"},
      {"-w 1e3", "--warmup_iters", "1e3"},
      {"-c x", "--check", "x"},
      {"-d float8", "--datatype", "bfloat16"},
      {"-d float,", "--datatype", "''"},
      {"-o xor", "--op", "sum, prod, min, max, avg"},
      {"--placement up", "--placement", "in, out, both"},
      {"--in-place --placement in", "--placement", "one of the two"},
      {"--np 0", "--np", "from 1 to 1024"},
      {"--np 1025", "--np", "from 1 to 1024"},
      {"--baseline x", "--baseline: 'x'", "mpi, ucc, gloo, nccl"},
      {"--baseline mpi,", "--baseline: ''", "mpi, ucc, gloo, nccl"},
      {"--baseline mpi,nccl", "--baseline nccl", "--memory device"},
      {"--peers x", "--peers", "--baseline ucc or gloo"},
      {"--baseline mpi --peers x", "--peers", "--baseline ucc or gloo"},
      {"--plant-error timed:ucc:x", "--plant-error", "WHERE:LIBRARY"},
      {"--timeout 0", "--timeout", "30s"},
      {"--timeout 30parsec", "--timeout", "30parsec"},
      {"--seconds 0", "--seconds", "above 0"},
      {"--seconds -1", "--seconds", ""},
      {"--seconds nan", "--seconds", "nan"},
      {"--json", "--json", ""},
      {"--raw", "--raw", ""},
      {"--mode graph", "--mode: 'graph'", "isolated, chain"},
      {"--mode chain --chain 1", "--chain", "at least 2"},
      {"--mode isolated --chain 2", "--chain", "isolated"},
      {"--chain 0", "--chain: '0'", "from 1 to 10000"},
      {"--rate 0", "--rate: '0'", "above 0"},
      {"--rate often", "--rate", "often"},
      {"--rate 10 --chain 2", "--rate", "chain"},
      {"--duration 1ms", "--duration: '1ms'", "from 1s to 24h"},
      {"--duration 10s -n 5", "--duration", "one of the three"},
      {"--skew 1", "--skew: '1'", "RANK:US"},
      {"--skew 1:0", "--skew", "above 0"},
      {"--skew x:5", "--skew", "'x'"},
      {"--skew 1:5:0", "--skew", "from 1"},
      {"--skew 1:5:2:3", "--skew", "RANK:US:PERIOD"},
      {"--noise x", "--noise: 'x'", "from 0"},
      {"--noise 1:0", "--noise: '0'", "from 1 to 100"},
      {"--noise 1:2:3", "--noise", "CORE:PERCENT"},
      {"--aggressor 1", "--aggressor: '1'", "from 4"},
      {"--aggressor 2G", "--aggressor: '2G'", "1G"},
      {"--aggressor gather:8", "--aggressor: 'gather:8'", "COLLECTIVE:SIZE"},
      {"--plant-slowdown -1", "--plant-slowdown", "0 to 1000"},
      {"--raw a --json a", "--raw, --json", "of its own"},
      {"--frobnicate", "--frobnicate", ""},
      {"-b 1 -e 1G -i 1", "sizes", "10000"},
      {"stray", "stray", ""},
  };
  for (const Case& c : cases) {
    const std::string text = bad(c.line);
    INFO(c.line << " gave: " << text);
    CHECK(contains(text, c.option));
    CHECK(contains(text, c.part));
    CHECK(contains(text, "--help"));
  }
  CHECK(contains(bad("-r -1", kWithRoot), "--root"));
  CHECK(contains(bad("-r 1024", kWithRoot), "--root"));
  CHECK(contains(bad("-r 0"), "-r"));
  CHECK(contains(bad("-o sum", kWithRoot), "-o"));
}

TEST_CASE("a value from outside is printed safely") {
  const ParsedOptions parsed = parse_options(kWithOp, {"-d", "a\x1b[2J\n"});
  CHECK(parsed.exit_code == 2);
  CHECK_FALSE(contains(parsed.text, "\x1b"));
}

TEST_CASE("help and version") {
  const ParsedOptions help = parse_options(kWithOp, {"--help"});
  CHECK_FALSE(help.options);
  CHECK(help.exit_code == 0);
  for (const char* part : {"-b,--minbytes",  "-e,--maxbytes", "-f,--stepfactor",
                           "-i,--stepbytes", "-n,--iters",    "-w,--warmup_iters",
                           "-c,--check",     "-d,--datatype", "-o,--op",
                           "--np",           "--json",        "--raw",
                           "--wide",         "--mode",        "--rate",
                           "--duration",     "--skew",        "--noise",
                           "--aggressor",    "--limits",      "--baseline",
                           "--algorithm",    "--timeout",     "Examples",
                           "Exit status"}) {
    INFO(part);
    CHECK(contains(help.text, part));
  }
  CHECK_FALSE(contains(help.text, "plant"));
  CHECK(contains(parse_options(kWithRoot, {"--help"}).text, "-r,--root"));
  const ParsedOptions version = parse_options(kWithOp, {"--version"});
  CHECK(version.exit_code == 0);
  CHECK(contains(version.text, library_version()));
}

TEST_CASE("device memory") {
  CHECK_FALSE(good("").device);
  CHECK_FALSE(good("--memory host").device);
  const Options plain = good("--memory device");
  REQUIRE(plain.device);
  CHECK(plain.device->ranks() == 2);
  CHECK(plain.chain == 1);
  CHECK(plain.device->nccl == "libnccl.so.2");
  const Options all = good("--memory device --ranks-per-gpu 3 --devices 2,0 --graph --chain 20 --registered");
  REQUIRE(all.device);
  CHECK(all.device->ranks() == 6);
  CHECK(all.device->devices == std::vector<int>{2, 0});
  CHECK((all.device->graph && all.registered && all.chain == 20));
  CHECK(good("--memory device --one-stream").device->one_stream);
  const Options nccl = good("--memory device --baseline nccl --nccl /x/libnccl.so --nccl-sweep");
  CHECK((nccl.device->baseline_nccl && nccl.device->nccl_sweep && nccl.baselines.empty()));
  CHECK(nccl.device->nccl == "/x/libnccl.so");
}

TEST_CASE("device options that cannot be") {
  CHECK(contains(bad("--memory disk"), "--memory: 'disk'"));
  for (const char* option : {"--ranks-per-gpu 2", "--devices 0", "--graph", "--one-stream", "--nccl x",
                             "--nccl-sweep", "--baseline nccl"}) {
    const std::string name = std::string(option).substr(0, std::string(option).find_last_of(' '));
    CHECK(contains(bad(option), "--memory device"));
    CHECK(contains(bad(option), option[2] == 'b' ? "--baseline nccl" : name));
  }
  CHECK(contains(bad("--memory device --np 3"), "--ranks-per-gpu"));
  CHECK(contains(bad("--memory device --baseline mpi"), "--baseline mpi"));
  CHECK(contains(bad("--memory device --baseline nccl,ucc"), "--baseline ucc"));
  CHECK(contains(bad("--memory device --baseline x"), "mpi, ucc, gloo, nccl"));
  CHECK(contains(bad("--memory device --baseline nccl --peers x"), "--peers"));
  for (const char* option : {"--rate 5", "--duration 5s", "--skew 0:5", "--plant-slowdown 5", "--noise 0",
                             "--aggressor 8", "--limits"})
    CHECK(contains(bad(std::string("--memory device ") + option), "is for host memory"));
  CHECK(contains(bad("--memory device --ranks-per-gpu 0"), "--ranks-per-gpu: '0'"));
  CHECK(contains(bad("--memory device --ranks-per-gpu 65"), "from 1 to 64"));
  CHECK(contains(bad("--memory device --devices 0,0"), "--devices: 0 stands there twice"));
  CHECK(contains(bad("--memory device --devices x"), "--devices: 'x'"));
  CHECK(contains(bad("--memory device --chain 0"), "--chain: '0'"));
  CHECK(contains(bad("--memory device --nccl x"), "--baseline nccl"));
  CHECK(contains(bad("--memory device --baseline nccl --nccl-sweep --raw x"), "--raw: --nccl-sweep"));
  CHECK(contains(bad("--memory device --nccl-sweep"), "--baseline nccl"));
  CHECK(contains(bad("--memory device --one-stream --baseline nccl"), "--one-stream"));
  CHECK(contains(bad("--memory device --one-stream --devices 0,1"), "--one-stream"));
}
