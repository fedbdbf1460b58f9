// Wrong arguments and wrong use: the code, a text that names rank, operation, value and what is allowed, and a communicator
// that works as before.
#include <tutti/tutti.h>

#include <array>
#include <climits>
#include <cstring>
#include <vector>

#include "tests/catch.h"
#include "tests/runtime/support/local_ranks.h"

namespace {

std::string last_text() {
  return tutti_last_error();
}

void check_text(std::initializer_list<const char*> parts) {
  const std::string text = last_text();
  for (const char* part : parts) {
    CAPTURE(text, part);
    CHECK(text.find(part) != std::string::npos);
  }
}

/// The communicator gives right results on both ranks.
void check_usable(LocalRanks& ranks) {
  for (int r = 0; r < ranks.size(); ++r) CHECK(tutti_comm_query(ranks[r]) == TUTTI_SUCCESS);
  std::vector<int64_t> sums(static_cast<size_t>(ranks.size()));
  ranks.run([&](int rank, tutti_comm_t comm) {
    const int64_t mine = rank + 1;
    expect_success(
        tutti_all_reduce(&mine, &sums[static_cast<size_t>(rank)], 1, TUTTI_INT64, TUTTI_SUM, comm, nullptr),
        "an all-reduce after refused calls");
  });
  const int64_t n = ranks.size();
  CHECK(sums == std::vector<int64_t>(static_cast<size_t>(n), n * (n + 1) / 2));
}

template <typename Enum>
Enum made_up(int value) {
  Enum result{};
  std::memcpy(&result, &value, sizeof(result));
  return result;
}

struct Buffers {
  std::array<float, 64> in{};
  std::array<float, 64> out{};
};

}  // namespace

TEST_CASE("arguments of all-reduce are checked before anything is sent") {
  LocalRanks ranks(2);
  Buffers b;
  tutti_comm_t comm = ranks[1];
  const auto call = [&](const void* in, void* out, int64_t count, tutti_datatype_t type, tutti_op_t op,
                        tutti_stream_t stream = nullptr) {
    const tutti_result_t blocking = tutti_all_reduce(in, out, count, type, op, comm, stream);
    tutti_request_t request = nullptr;
    CHECK(tutti_all_reduce_async(in, out, count, type, op, comm, stream, &request) == blocking);
    CHECK(request == nullptr);
    return blocking;
  };
  CHECK(call(b.in.data(), b.out.data(), -1, TUTTI_FLOAT32, TUTTI_SUM) == TUTTI_INVALID_ARGUMENT);
  check_text({"rank 1", "tutti_all_reduce", "count -1", "negative"});
  CHECK(call(b.in.data(), b.out.data(), INT64_MAX, TUTTI_FLOAT32, TUTTI_SUM) == TUTTI_INVALID_ARGUMENT);
  check_text({"rank 1", "tutti_all_reduce", "9223372036854775807", "float32"});
  CHECK(call(b.in.data(), b.out.data(), INT64_MAX / 2 + 1, TUTTI_INT16, TUTTI_SUM) == TUTTI_INVALID_ARGUMENT);
  for (const int type : {14, -1, 1000}) {
    CHECK(call(b.in.data(), b.out.data(), 1, made_up<tutti_datatype_t>(type), TUTTI_SUM) ==
          TUTTI_INVALID_ARGUMENT);
    check_text({"rank 1", "tutti_all_reduce", "datatype", "does not exist",
                "expected 0 (int8) to 13 (float8_e5m2)"});
  }
  for (const int op : {5, -1, 77}) {
    CHECK(call(b.in.data(), b.out.data(), 1, TUTTI_FLOAT32, made_up<tutti_op_t>(op)) ==
          TUTTI_INVALID_ARGUMENT);
    check_text({"rank 1", "tutti_all_reduce", "operator", "does not exist", "expected 0 (sum) to 4 (avg)"});
  }
  CHECK(call(nullptr, b.out.data(), 4, TUTTI_FLOAT32, TUTTI_SUM) == TUTTI_INVALID_ARGUMENT);
  check_text({"rank 1", "all_reduce of 4 float32, sum", "send buffer is null"});
  CHECK(call(b.in.data(), nullptr, 4, TUTTI_FLOAT32, TUTTI_SUM) == TUTTI_INVALID_ARGUMENT);
  check_text({"rank 1", "all_reduce of 4 float32, sum", "receive buffer is null"});
  CHECK(call(b.in.data(), b.in.data() + 3, 4, TUTTI_FLOAT32, TUTTI_SUM) == TUTTI_INVALID_ARGUMENT);
  check_text({"rank 1", "overlap", "16 bytes", "expected the same or disjoint"});
  CHECK(call(b.in.data() + 3, b.in.data(), 4, TUTTI_FLOAT32, TUTTI_SUM) == TUTTI_INVALID_ARGUMENT);
  int fake_stream = 0;
  CHECK(call(b.in.data(), b.out.data(), 4, TUTTI_FLOAT32, TUTTI_SUM, &fake_stream) == TUTTI_UNSUPPORTED);
  check_text(
      {"rank 1", "all_reduce of 4 float32", "expected a null stream, or a communicator made with a device"});
  check_usable(ranks);
}

TEST_CASE("arguments of broadcast and barrier are checked before anything is sent") {
  LocalRanks ranks(3);
  Buffers b;
  for (const int root : {-1, 3, INT_MAX, INT_MIN}) {
    CAPTURE(root);
    CHECK(tutti_broadcast(b.in.data(), b.out.data(), 1, TUTTI_FLOAT32, root, ranks[2], nullptr) ==
          TUTTI_INVALID_ARGUMENT);
    check_text({"rank 2", "tutti_broadcast", "root", std::to_string(root).c_str(), "expected 0 to 2"});
  }
  CHECK(tutti_broadcast(nullptr, b.out.data(), 1, TUTTI_FLOAT32, 0, ranks[0], nullptr) ==
        TUTTI_INVALID_ARGUMENT);
  check_text({"rank 0", "broadcast of 1 float32 from root 0", "send buffer is null"});
  CHECK(tutti_broadcast(b.in.data(), nullptr, 1, TUTTI_FLOAT32, 0, ranks[1], nullptr) ==
        TUTTI_INVALID_ARGUMENT);
  check_text({"rank 1", "receive buffer is null"});
  CHECK(tutti_broadcast(b.in.data(), b.in.data() + 1, 2, TUTTI_FLOAT32, 0, ranks[0], nullptr) ==
        TUTTI_INVALID_ARGUMENT);
  check_text({"overlap"});
  CHECK(tutti_broadcast(b.in.data(), b.out.data(), -5, TUTTI_FLOAT32, 0, ranks[0], nullptr) ==
        TUTTI_INVALID_ARGUMENT);
  check_text({"rank 0", "tutti_broadcast", "count -5"});
  int fake_stream = 0;
  CHECK(tutti_barrier(ranks[0], &fake_stream) == TUTTI_UNSUPPORTED);
  check_text({"rank 0", "barrier", "expected a null stream"});
  check_usable(ranks);
}

TEST_CASE("null buffers are allowed where nothing is looked at") {
  LocalRanks ranks(2);
  ranks.run([](int rank, tutti_comm_t comm) {
    expect_success(tutti_all_reduce(nullptr, nullptr, 0, TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr), "count 0");
    expect_success(tutti_broadcast(nullptr, nullptr, 0, TUTTI_FLOAT32, 1, comm, nullptr), "count 0");
    float value = static_cast<float>(rank);
    float got = -1;
    expect_success(tutti_broadcast(rank == 1 ? &value : nullptr, &got, 1, TUTTI_FLOAT32, 1, comm, nullptr),
                   "root 1");
    expect(got == 1, "broadcast gave {}", got);
    // Elsewhere than on the root the send buffer may be anything, the receive buffer's neighbour included.
    std::array<float, 4> both = {value, value, value, value};
    expect_success(tutti_broadcast(rank == 1 ? both.data() : both.data() + 1, both.data(), 3, TUTTI_FLOAT32,
                                   1, comm, nullptr),
                   "a send buffer that is not looked at");
  });
}

TEST_CASE("buffers that touch do not overlap") {
  LocalRanks ranks(2);
  ranks.run([](int rank, tutti_comm_t comm) {
    std::array<int32_t, 20> memory{};
    memory.fill(rank + 1);
    expect_success(
        tutti_all_reduce(memory.data(), memory.data() + 10, 10, TUTTI_INT32, TUTTI_SUM, comm, nullptr), "up");
    expect(memory[10] == 3 && memory[19] == 3 && memory[9] == rank + 1, "wrong sums");
    expect_success(
        tutti_all_reduce(memory.data() + 10, memory.data(), 10, TUTTI_INT32, TUTTI_SUM, comm, nullptr),
        "down");
    expect(memory[0] == 6 && memory[9] == 6 && memory[10] == 3, "wrong sums");
  });
}

TEST_CASE("handles that are null, garbage or destroyed are refused") {
  float value = 0;
  const auto use = [&](tutti_comm_t comm) {
    const tutti_result_t result =
        tutti_all_reduce(&value, &value, 1, TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr);
    tutti_request_t request = nullptr;
    int number = 0;
    CHECK(tutti_broadcast(&value, &value, 1, TUTTI_FLOAT32, 0, comm, nullptr) == result);
    CHECK(tutti_barrier(comm, nullptr) == result);
    CHECK(tutti_barrier_async(comm, nullptr, &request) == result);
    CHECK(tutti_comm_query(comm) == result);
    CHECK(tutti_comm_abort(comm) == result);
    CHECK(tutti_comm_rank(comm, &number) == result);
    CHECK(tutti_comm_size(comm, &number) == result);
    CHECK(tutti_algorithm_name(comm, "all_reduce", 1, TUTTI_FLOAT32) == nullptr);
    return result;
  };
  CHECK(use(nullptr) == TUTTI_INVALID_ARGUMENT);
  check_text({"tutti_comm_size", "communicator is null"});
  CHECK(tutti_comm_destroy(nullptr) == TUTTI_SUCCESS);

  int here = 0;
  std::vector<void*> garbage = {&here, &value};
  for (const uintptr_t bits : {uintptr_t{1}, uintptr_t{0xffff}, uintptr_t{0x10000}, uintptr_t{0x10001},
                               UINTPTR_MAX, uintptr_t{0xdeadbeefcafe}}) {
    void* handle = nullptr;
    std::memcpy(&handle, &bits, sizeof(handle));
    garbage.push_back(handle);
  }
  for (void* handle : garbage) {
    CAPTURE(handle);
    CHECK(use(static_cast<tutti_comm_t>(handle)) == TUTTI_INVALID_USAGE);
    check_text({"is no communicator, or one that was destroyed"});
    CHECK(tutti_comm_destroy(static_cast<tutti_comm_t>(handle)) == TUTTI_INVALID_USAGE);
  }

  tutti_comm_t comm = nullptr;
  REQUIRE(tutti_comm_create_local(&comm, 1, nullptr) == TUTTI_SUCCESS);
  REQUIRE(tutti_comm_destroy(comm) == TUTTI_SUCCESS);
  CHECK(use(comm) == TUTTI_INVALID_USAGE);
  CHECK(tutti_comm_destroy(comm) == TUTTI_INVALID_USAGE);
  // Another communicator in the same place is not taken for the one that is gone.
  tutti_comm_t next = nullptr;
  REQUIRE(tutti_comm_create_local(&next, 1, nullptr) == TUTTI_SUCCESS);
  CHECK(use(comm) == TUTTI_INVALID_USAGE);
  CHECK(tutti_comm_destroy(next) == TUTTI_SUCCESS);
}

TEST_CASE("requests are refused where they are wrong") {
  float value = 1;
  LocalRanks ranks(2);
  CHECK(tutti_all_reduce_async(&value, &value, 1, TUTTI_FLOAT32, TUTTI_SUM, ranks[0], nullptr, nullptr) ==
        TUTTI_INVALID_ARGUMENT);
  check_text({"tutti_all_reduce_async", "request is null"});
  CHECK(tutti_request_test(nullptr) == TUTTI_INVALID_ARGUMENT);
  CHECK(tutti_request_wait(nullptr, -1) == TUTTI_INVALID_ARGUMENT);
  tutti_request_t none = nullptr;
  CHECK(tutti_request_test(&none) == TUTTI_SUCCESS);
  CHECK(tutti_request_wait(&none, 0) == TUTTI_SUCCESS);

  int here = 0;
  void* garbage = &here;
  auto request = static_cast<tutti_request_t>(garbage);
  const tutti_result_t result = tutti_request_test(&request);
  CHECK(result == TUTTI_INVALID_USAGE);
  CHECK(request == nullptr);
  check_usable(ranks);
}

TEST_CASE("a request that outlives its communicator is refused") {
  tutti_comm_t comms[2] = {};
  REQUIRE(tutti_comm_create_local(comms, 2, nullptr) == TUTTI_SUCCESS);
  tutti_request_t request = nullptr;
  REQUIRE(tutti_barrier_async(comms[0], nullptr, &request) == TUTTI_SUCCESS);
  REQUIRE(tutti_comm_destroy(comms[0]) == TUTTI_SUCCESS);
  CHECK(tutti_request_wait(&request, -1) == TUTTI_INVALID_USAGE);
  check_text({"tutti_request_wait", "communicator was destroyed"});
  CHECK(request == nullptr);
  CHECK(tutti_comm_destroy(comms[1]) == TUTTI_SUCCESS);
}

TEST_CASE("registering host memory changes nothing, and is checked all the same") {
  tutti_comm_t comm = nullptr;
  REQUIRE(tutti_comm_create_local(&comm, 1, nullptr) == TUTTI_SUCCESS);
  std::vector<float> buffer(100, 1);
  tutti_registration_t first = nullptr;
  tutti_registration_t second = nullptr;
  REQUIRE(tutti_register(comm, buffer.data(), 400, &first) == TUTTI_SUCCESS);
  REQUIRE(tutti_register(comm, buffer.data(), 400, &second) == TUTTI_SUCCESS);
  CHECK(first != second);
  CHECK(tutti_all_reduce(buffer.data(), buffer.data(), 100, TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr) ==
        TUTTI_SUCCESS);
  CHECK(tutti_deregister(comm, first) == TUTTI_SUCCESS);
  CHECK(tutti_deregister(comm, first) == TUTTI_INVALID_ARGUMENT);
  check_text({"tutti_deregister", "is not registered"});
  CHECK(tutti_register(comm, buffer.data(), 400, nullptr) == TUTTI_INVALID_ARGUMENT);
  check_text({"tutti_register", "registration is null"});
  CHECK(tutti_group_start() == TUTTI_SUCCESS);
  CHECK(tutti_register(comm, buffer.data(), 400, &first) == TUTTI_INVALID_USAGE);
  check_text({"tutti_register", "tutti_group_start"});
  CHECK(tutti_group_end() == TUTTI_SUCCESS);
  CHECK(tutti_comm_destroy(comm) == TUTTI_SUCCESS);
  CHECK(tutti_deregister(comm, second) == TUTTI_INVALID_USAGE);
  check_text({"tutti_deregister", "destroyed"});
}

TEST_CASE("a request that has completed is not mistaken for a later one") {
  tutti_comm_t comm = nullptr;
  REQUIRE(tutti_comm_create_local(&comm, 1, nullptr) == TUTTI_SUCCESS);
  tutti_request_t first = nullptr;
  REQUIRE(tutti_barrier_async(comm, nullptr, &first) == TUTTI_SUCCESS);
  tutti_request_t copy = first;
  CHECK(tutti_request_wait(&first, -1) == TUTTI_SUCCESS);
  for (int i = 0; i < 200; ++i) REQUIRE(tutti_barrier(comm, nullptr) == TUTTI_SUCCESS);
  CHECK(tutti_request_test(&copy) == TUTTI_SUCCESS);
  CHECK(tutti_comm_destroy(comm) == TUTTI_SUCCESS);
}

TEST_CASE("arguments of set-up are checked") {
  tutti_comm_t comm = nullptr;
  tutti_unique_id_t id;
  REQUIRE(tutti_unique_id_create(&id) == TUTTI_SUCCESS);
  CHECK(tutti_unique_id_create(nullptr) == TUTTI_INVALID_ARGUMENT);
  CHECK(tutti_comm_create(nullptr, &id, 0, 1, nullptr) == TUTTI_INVALID_ARGUMENT);
  check_text({"tutti_comm_create", "comm is null"});
  CHECK(tutti_comm_create(&comm, nullptr, 0, 1, nullptr) == TUTTI_INVALID_ARGUMENT);
  check_text({"tutti_comm_create", "id is null"});
  for (const int size : {0, -1, 65536, INT_MAX}) {
    CHECK(tutti_comm_create(&comm, &id, 0, size, nullptr) == TUTTI_INVALID_ARGUMENT);
    check_text({"size", std::to_string(size).c_str(), "expected 1 to 65535"});
  }
  for (const int size : {0, -1, 1025, INT_MAX}) {
    CHECK(tutti_comm_create_local(&comm, size, nullptr) == TUTTI_INVALID_ARGUMENT);
    check_text({"size", std::to_string(size).c_str(), "expected 1 to 1024"});
  }
  for (const int rank : {-1, 4, INT_MAX}) {
    CHECK(tutti_comm_create(&comm, &id, rank, 4, nullptr) == TUTTI_INVALID_ARGUMENT);
    check_text({"rank", std::to_string(rank).c_str(), "expected 0 to 3"});
  }
  tutti_unique_id_t wrong = id;
  wrong.bytes[0] ^= 1;
  CHECK(tutti_comm_create(&comm, &wrong, 0, 1, nullptr) == TUTTI_INVALID_ARGUMENT);
  check_text({"unique id", "tutti_unique_id_create"});
  CHECK(comm == nullptr);
  CHECK(tutti_comm_create_local(nullptr, 1, nullptr) == TUTTI_INVALID_ARGUMENT);
}

TEST_CASE("the configuration is checked") {
  tutti_comm_t comm = nullptr;
  const auto create = [&](const tutti_comm_config_t& config) {
    return tutti_comm_create_local(&comm, 1, &config);
  };
  for (const size_t size : {size_t{0}, size_t{8}, size_t{5000}, SIZE_MAX}) {
    tutti_comm_config_t config = TUTTI_COMM_CONFIG_INIT;
    config.struct_size = size;
    CHECK(create(config) == TUTTI_INVALID_ARGUMENT);
    check_text({"struct_size", std::to_string(size).c_str(), "TUTTI_COMM_CONFIG_INIT"});
  }
  for (const bool setup : {false, true}) {
    tutti_comm_config_t config = TUTTI_COMM_CONFIG_INIT;
    (setup ? config.setup_timeout_ns : config.timeout_ns) = -1;
    CHECK(create(config) == TUTTI_INVALID_ARGUMENT);
    check_text({setup ? "setup_timeout_ns" : "timeout_ns", "-1"});
  }
  for (const char* algorithm : {"rings", "all_reduce=chain", "broadcast=ring", "barrier=ring",
                                "all_reduce=", "=ring", ",", "ring,nonsense"}) {
    CAPTURE(algorithm);
    tutti_comm_config_t config = TUTTI_COMM_CONFIG_INIT;
    config.algorithm = algorithm;
    CHECK(create(config) == TUTTI_INVALID_ARGUMENT);
  }
  tutti_comm_config_t config = TUTTI_COMM_CONFIG_INIT;
  config.algorithm = "rings";
  CHECK(create(config) == TUTTI_INVALID_ARGUMENT);
  check_text({"'rings' does not exist", "all_reduce has one_shot, ", "ring", "broadcast has"});
  CHECK(comm == nullptr);
}

TEST_CASE("a configuration from an older or a newer header is understood") {
  struct Newer {
    tutti_comm_config_t known = TUTTI_COMM_CONFIG_INIT;
    int64_t more[4] = {1, 2, 3, 4};
  } newer;
  newer.known.struct_size = sizeof(newer);
  newer.known.algorithm = "ring";
  tutti_comm_t comms[2] = {};
  REQUIRE(tutti_comm_create_local(comms, 2, &newer.known) == TUTTI_SUCCESS);
  CHECK(std::string(tutti_algorithm_name(comms[0], "all_reduce", 10, TUTTI_FLOAT32)) == "ring");
  for (tutti_comm_t comm : comms) CHECK(tutti_comm_destroy(comm) == TUTTI_SUCCESS);

  tutti_comm_config_t older = TUTTI_COMM_CONFIG_INIT;
  older.struct_size = offsetof(tutti_comm_config_t, algorithm);
  older.algorithm = "a field this caller does not know";
  REQUIRE(tutti_comm_create_local(comms, 2, &older) == TUTTI_SUCCESS);
  for (tutti_comm_t comm : comms) CHECK(tutti_comm_destroy(comm) == TUTTI_SUCCESS);
}

TEST_CASE("names of values, and of those that are none") {
  CHECK(std::string(tutti_datatype_name(TUTTI_BFLOAT16)) == "bfloat16");
  CHECK(std::string(tutti_op_name(TUTTI_AVG)) == "avg");
  CHECK(std::string(tutti_result_name(TUTTI_PEER_LOST)) == "peer lost");
  CHECK(std::string(tutti_datatype_name(made_up<tutti_datatype_t>(14))) == "unknown");
  CHECK(std::string(tutti_op_name(made_up<tutti_op_t>(-1))) == "unknown");
  CHECK(std::string(tutti_result_name(made_up<tutti_result_t>(11))) == "unknown");
  CHECK(tutti_datatype_size(made_up<tutti_datatype_t>(99)) == 0);
  CHECK(tutti_datatype_size(TUTTI_FLOAT16) == 2);
  size_t needed = 0;
  CHECK(tutti_describe("yaml", 2, nullptr, 0, &needed) == TUTTI_INVALID_ARGUMENT);
  check_text({"'yaml'", "expected text, json, graphviz or environment-markdown"});
  CHECK(tutti_describe(nullptr, 2, nullptr, 0, &needed) == TUTTI_INVALID_ARGUMENT);
  CHECK(tutti_describe("text", 0, nullptr, 0, &needed) == TUTTI_INVALID_ARGUMENT);
  char small[8];
  std::memset(small, 'x', sizeof(small));
  CHECK(tutti_describe("text", 2, small, 4, &needed) == TUTTI_SUCCESS);
  CHECK(needed > 100);
  CHECK(small[3] == '\0');
  CHECK(small[4] == 'x');
}
