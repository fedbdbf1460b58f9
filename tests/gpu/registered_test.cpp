// Registered buffers: ranks that are processes of one node work on each other's memory in place.
#include <random>

#include "tests/catch.h"
#include "tests/gpu/support/device_job.h"
#include "tests/gpu/support/device_process.h"
#include "tests/gpu/support/graphs.h"
#include "tests/runtime/support/sanitizer.h"

namespace {

using workload::Amount;
using workload::Case;
using workload::Collective;

void* pointer(CUdeviceptr address) {
  return reinterpret_cast<void*>(address);  // NOLINT(performance-no-int-to-ptr)
}

/// Runs `body(own, rank)` in `ranks` processes, with packets for next to nothing, so that nearly all sizes are worked on in place.
template <typename Body>
void in_processes(int ranks, Body&& body, tutti_comm_config_t config = device_config()) {
  const tutti_unique_id_t id = make_id();
  Shared<std::atomic<int>> gate(1);
  Forked group;
  for (int rank = 0; rank < ranks; ++rank) {
    group.start([&, rank] {
      setenv("TUTTI_ONE_SHOT_BYTES", "8", 1);
      const DeviceProcess own(id, rank, ranks, config);
      body(own, rank);
      meet_at(gate[0], ranks);
    });
  }
  group.expect_all_good();
}

std::string described(tutti_comm_t comm) {
  std::string text(20000, '\0');
  expect_success(tutti_comm_describe(comm, text.data(), text.size(), nullptr), "tutti_comm_describe");
  return text;
}

void expect_described(tutti_comm_t comm, const std::string& wanted) {
  const std::string text = described(comm);
  expect(text.find(wanted) != std::string::npos, "'{}' is not in: {}", wanted, text.c_str());
}

tutti_registration_t registered(tutti_comm_t comm, void* at, size_t bytes) {
  tutti_registration_t registration = nullptr;
  expect_success(tutti_register(comm, at, bytes, &registration), "tutti_register");
  expect(registration != nullptr, "no registration");
  return registration;
}

void deregister(tutti_comm_t comm, tutti_registration_t registration) {
  expect_success(tutti_deregister(comm, registration), "tutti_deregister");
}

/// Two buffers as large as any case needs; a case lies somewhere in them.
class Buffers {
 public:
  static constexpr size_t kBytes = size_t{2} << 20;

  explicit Buffers(const DeviceProcess& own)
      : own_(own),
        send_(own.device, kBytes),
        recv_(own.device, kBytes),
        registrations_{registered(own.comm(), pointer(send_.address()), kBytes),
                       registered(own.comm(), pointer(recv_.address()), kBytes)} {
    expect_described(own.comm(), "2 registered buffers, 2 used in place");
  }
  void release() {
    for (const tutti_registration_t registration : registrations_) deregister(own_.comm(), registration);
  }

  uint64_t run(const Case& c, int rank, int ranks, size_t at, const workload::Bytes& wanted) {
    workload::Job job(c, rank, ranks);
    const size_t sent = job.send_image().size();
    expect(at + std::max(sent, job.recv_image().size()) <= kBytes, "a case of {} bytes", sent);
    if (sent != 0) upload(*own_.device, send_.address() + at, job.send_image());
    upload(*own_.device, recv_.address() + at, job.recv_image());
    const auto byte = [at](const Allocation& memory) {
      return static_cast<unsigned char*>(pointer(memory.address() + at));
    };
    expect_success(job.run_at(byte(send_), byte(recv_), own_.comm(), own_.stream.get()),
                   workload::describe(c));
    own_.stream.wait();
    expect_success(tutti_comm_query(own_.comm()), "tutti_comm_query");
    if (sent != 0) job.send_image() = download(*own_.device, send_.address() + at, sent);
    job.recv_image() = download(*own_.device, recv_.address() + at, job.recv_image().size());
    job.check(wanted, workload::in_rank_order(own_.comm(), c));
    return job.hash();
  }

 private:
  const DeviceProcess& own_;
  Allocation send_;
  Allocation recv_;
  std::array<tutti_registration_t, 2> registrations_;
};

void run_registered(int ranks, const std::vector<Case>& cases) {
  const std::vector<workload::Bytes> wanted = workload::expected(cases, ranks);
  Shared<uint64_t> hashes(cases.size() * static_cast<size_t>(ranks));
  in_processes(ranks, [&](const DeviceProcess& own, int rank) {
    std::mt19937_64 random(static_cast<uint64_t>(rank) + 3);
    Buffers buffers(own);
    for (size_t i = 0; i < cases.size(); ++i) {
      workload::skew(random);
      // Every rank's lies elsewhere.
      const size_t at = random() % 1000;
      hashes[i * static_cast<size_t>(ranks) + static_cast<size_t>(rank)] =
          buffers.run(cases[i], rank, ranks, at, wanted[i]);
    }
    buffers.release();
  });
  workload::check_hashes(cases, ranks, hashes.data());
}

}  // namespace

TEST_CASE("collectives in registered buffers of processes") {
  if (skipped_here()) return;
  const Amount amount = kSanitized ? Amount::few : Amount::some;
  for (const int ranks : {2, 3, 5}) {
    DYNAMIC_SECTION("all-reduce, ranks " << ranks) {
      run_registered(ranks, workload::all_reduce_matrix(ranks, amount, 20011, 83));
    }
    DYNAMIC_SECTION("broadcast, ranks " << ranks) {
      run_registered(ranks, workload::broadcast_matrix(ranks, amount, 20011, 89));
    }
  }
}

TEST_CASE("a call in registered buffers on one rank and in others on another is a mismatch") {
  if (skipped_here()) return;
  in_processes(2, [](const DeviceProcess& own, int rank) {
    const Sum here(own, rank, 2, 1000);
    const Sum there(own, rank, 2, 1000);
    registered(own.comm(), pointer(here.memory.address()), 4000);
    here.fill(own, 0);
    there.fill(own, 0);
    expect_success(here.run(own), "a sum in registered memory");
    expect_success(there.run(own), "a sum in other memory");
    own.stream.wait();
    here.check(own, 0);
    there.check(own, 0);
    expect_success((rank == 0 ? here : there).run(own), "enqueuing");
    own.stream.wait();
    expect_result(tutti_comm_query(own.comm()), TUTTI_MISMATCH, fmt::format("rank {}", rank));
    expect_text("rank 0 called all_reduce of 1000 int32, sum, in registered buffers", "rank 0's call");
    expect_text("rank 1 called all_reduce of 1000 int32, sum", "rank 1's call");
  });
}

TEST_CASE("graphs run on registered buffers, beside calls on others") {
  if (skipped_here()) return;
  in_processes(3, [](const DeviceProcess& own, int rank) {
    const Sum in_place(own, rank, 3, 50'000);
    const Sum staged(own, rank, 3, 50'000);
    const tutti_registration_t registration =
        registered(own.comm(), pointer(in_place.memory.address()), 200'000);
    Graph graph(own.device->driver(), own.stream.get());
    expect_success(in_place.run(own), "captured, in registered memory");
    expect_success(staged.run(own), "captured");
    graph.end();
    for (int turn = 0; turn < 8; ++turn) {
      in_place.fill(own, turn);
      staged.fill(own, turn);
      graph.launch();
      own.stream.wait();
      in_place.check(own, turn);
      staged.check(own, turn);
      if (turn % 3 != 0) continue;
      in_place.fill(own, turn + 100);
      expect_success(in_place.run(own), "between replays");
      own.stream.wait();
      in_place.check(own, turn + 100);
    }
    deregister(own.comm(), registration);
    in_place.fill(own, 7);
    expect_success(in_place.run(own), "after deregistering");
    own.stream.wait();
    in_place.check(own, 7);
  });
}

TEST_CASE("memory of every kind can be registered, and a row is used again") {
  if (skipped_here()) return;
  in_processes(2, [](const DeviceProcess& own, int rank) {
    const auto try_out = [&](void* at, size_t bytes, const char* wanted) {
      expect_success(tutti_comm_query(own.comm()), "tutti_comm_query");
      const tutti_registration_t registration = registered(own.comm(), at, bytes);
      expect_described(own.comm(), wanted);
      deregister(own.comm(), registration);
      expect(described(own.comm()).find("registered buffers") == std::string::npos, "it is still registered");
    };
    void* own_kind = nullptr;
    expect_success(tutti_mem_alloc(&own_kind, 100'000, 0), "tutti_mem_alloc");
    std::vector<float> on_host(100);
    const Segments segments(own.device, 3);
    for (int turn = 0; turn < 3; ++turn) {
      try_out(own_kind, 100'000, "1 registered buffers, 1 used in place");
      try_out(pointer(segments.address() + 1000), segments.bytes() - 1000,
              "1 registered buffers, 1 used in place");
      // One that is not shared by one rank is not used in place by any.
      try_out(rank == 0 ? own_kind : static_cast<void*>(on_host.data()), 400,
              "1 registered buffers, 0 used in place");
      expect_described(own.comm(), "thread blocks");
      try_out(nullptr, 0, "1 registered buffers, 0 used in place");
    }
    expect_success(tutti_mem_free(own_kind), "tutti_mem_free");
  });
}

TEST_CASE("registrations may overlap, and hold any part of a call's buffers only whole") {
  if (skipped_here()) return;
  in_processes(2, [](const DeviceProcess& own, int rank) {
    const Sum sum(own, rank, 2, 10'000);
    const auto at = [&](size_t byte) { return pointer(sum.memory.address() + byte); };
    int calls = 0;
    const auto expect_in_place = [&](bool wanted, const char* what) {
      sum.fill(own, 1);
      expect_success(sum.run(own), what);
      own.stream.wait();
      expect_success(tutti_comm_query(own.comm()), what);
      sum.check(own, 1);
      calls += wanted ? 1 : 0;
      expect_described(own.comm(), fmt::format(", {} calls on them", calls));
    };
    const tutti_registration_t tail = registered(own.comm(), at(20'000), 20'000);
    expect_in_place(false, "a part");
    const tutti_registration_t all = registered(own.comm(), at(0), 40'000);
    const tutti_registration_t head = registered(own.comm(), at(0), 100);
    expect_in_place(true, "overlapping");
    deregister(own.comm(), all);
    expect_in_place(false, "parts again");
    deregister(own.comm(), tail);
    deregister(own.comm(), head);
  });
}

TEST_CASE("a registered buffer that was freed is refused, and what is there now is not touched") {
  if (skipped_here()) return;
  in_processes(2, [](const DeviceProcess& own, int rank) {
    Segments segments(own.device, 2);
    const size_t bytes = segments.bytes();
    const tutti_registration_t registration = registered(own.comm(), pointer(segments.address()), bytes);
    void* const at = pointer(segments.address());
    const auto sum = [&] {
      return tutti_all_reduce(at, at, static_cast<int64_t>(bytes / 4), TUTTI_INT32, TUTTI_SUM, own.comm(),
                              own.stream.get());
    };
    expect_success(sum(), "before");
    own.stream.wait();
    segments.unmap(1);
    segments.map(1);
    expect_result(sum(), TUTTI_INVALID_USAGE, fmt::format("rank {}", rank));
    expect_text("freed since", "why");
    // Nothing was begun: the communicator is as good as before.
    deregister(own.comm(), registration);
    const tutti_registration_t again = registered(own.comm(), at, bytes);
    expect_success(sum(), "after");
    own.stream.wait();
    expect_success(tutti_comm_query(own.comm()), "tutti_comm_query");
    deregister(own.comm(), again);
  });
}

TEST_CASE("what is wrong with registering is said on every rank") {
  if (skipped_here()) return;
  in_processes(2, [](const DeviceProcess& own, int rank) {
    const Sum one(own, rank, 2, 1000);
    const Sum other(own, rank, 2, 1000);
    const tutti_registration_t first = registered(own.comm(), pointer(one.memory.address()), 4000);
    const tutti_registration_t second = registered(own.comm(), pointer(other.memory.address()), 4000);
    expect_result(tutti_register(own.comm(), pointer(one.memory.address()), 4000, nullptr),
                  TUTTI_INVALID_ARGUMENT, "without a place for the result");
    expect_success(tutti_group_start(), "tutti_group_start");
    expect_result(tutti_deregister(own.comm(), first), TUTTI_INVALID_USAGE, "in a group");
    expect_success(tutti_group_end(), "tutti_group_end");
    // In different orders.
    expect_result(tutti_deregister(own.comm(), rank == 0 ? first : second), TUTTI_INVALID_USAGE,
                  "in other orders");
    expect_text("in the same order", "what was expected");
    expect_result(tutti_deregister(own.comm(), nullptr), TUTTI_INVALID_ARGUMENT, "none");
  });
}

TEST_CASE("a rank that does not register is named") {
  if (skipped_here()) return;
  tutti_comm_config_t config = device_config();
  config.setup_timeout_ns = 3 * kSecond;
  in_processes(
      2,
      [](const DeviceProcess& own, int rank) {
        if (rank == 1) return;
        const Sum sum(own, rank, 2, 1000);
        tutti_registration_t registration = nullptr;
        expect_result(tutti_register(own.comm(), pointer(sum.memory.address()), 4000, &registration),
                      TUTTI_TIMEOUT, "tutti_register");
        expect_text("local rank 1 did not come", "who is missing");
      },
      config);
}
