// Ranks that are processes: killed ones are seen as ended by all others, stopped ones as silent.
#include <atomic>
#include <string>
#include <thread>

#include "tests/bootstrap/support.h"
#include "tests/catch.h"
#include "tests/process/support/forked.h"
#include "tests/runtime/support/sanitizer.h"

using namespace control_test;

namespace {

/// Long enough for a loaded machine: where somebody is silent, a survey takes all of it.
constexpr uint64_t kSurveyNs = (kSanitized ? 6 : 2) * kSecondNs;

/// What the processes of a job tell each other besides.
struct Board {
  std::atomic<int> serving{0};
  std::atomic<int> satisfied{0};
  std::atomic<bool> end{false};
};

/// Starts `size` ranks; those in `acting` run act(control, rank) once all serve, the others wait to be killed or for the end.
template <typename Act>
void start(Forked& group, Shared<Board>& board, const UniqueId& id, int size, Act act) {
  for (int rank = 0; rank < size; ++rank) {
    group.start([&board, id, size, rank, act] {
      Heard heard;
      const auto control = Control::join(id, settings_of(rank, size));
      expect_gathers(*control, rank, size);
      control->serve(heard.events(rank), {});
      board[0].serving.fetch_add(1);
      await("all ranks to serve", [&] { return board[0].serving.load() == size; });
      act(*control, heard, rank);
      board[0].satisfied.fetch_add(1);
      await(
          "the end", [&] { return board[0].end.load(); }, 60 * kSecondNs);
    });
  }
  await(
      "all ranks to serve", [&] { return board[0].serving.load() == size; }, 60 * kSecondNs);
}

void finish(Forked& group, Shared<Board>& board, int satisfied, const std::vector<size_t>& spared) {
  await(
      "the surviving ranks", [&] { return board[0].satisfied.load() == satisfied; }, 60 * kSecondNs);
  board[0].end.store(true);
  group.expect_all_good(30 * kSecond, spared);
}

bool is_in(const std::vector<int>& list, int rank) {
  return std::find(list.begin(), list.end(), rank) != list.end();
}

std::vector<size_t> indices(const std::vector<int>& ranks) {
  return {ranks.begin(), ranks.end()};
}

/// Kills these ranks one after the other; every survivor must come to know each of them as ended, and nobody else.
void kill_in_turn(int size, const std::vector<int>& victims) {
  const UniqueId id = loopback_id();
  Forked group;
  Shared<Board> board(1);
  start(group, board, id, size, [&](Control& control, Heard& heard, int rank) {
    for (const int victim : victims) {
      // Waits to be killed: it must not count among the satisfied.
      if (rank == victim)
        await(
            "the end", [&] { return board[0].end.load(); }, 60 * kSecondNs);
      await("a killed rank to be known as ended", [&] { return control.state(victim) == PeerState::ended; });
    }
    for (int r = 0; r < size; ++r) {
      const PeerState wanted = is_in(victims, r) ? PeerState::ended : PeerState::alive;
      expect(control.state(r) == wanted, "rank {} is taken for {} by rank {}", r,
             static_cast<int>(control.state(r)), rank);
    }
    expect(heard.report().count == 0, "an error came: {}", heard.report().text);
  });
  for (const int victim : victims) group.signal(static_cast<size_t>(victim), SIGKILL);
  for (const int victim : victims) group.wait_for(static_cast<size_t>(victim), 10 * kSecond);
  finish(group, board, size - static_cast<int>(victims.size()), indices(victims));
}

}  // namespace

TEST_CASE("processes meet and exchange tables") {
  for (const int size : {2, 5, 12}) {
    const UniqueId id = loopback_id();
    Forked group;
    for (int rank = 0; rank < size; ++rank) {
      group.start([&, rank] {
        const auto control = Control::join(id, settings_of(rank, size));
        expect_gathers(*control, rank, size, 3000);
      });
    }
    group.expect_all_good(30 * kSecond);
  }
}

TEST_CASE("a killed process is known as ended to all others, whatever its place in the tree") {
  for (const int victim : {0, 1, 2, 4, 9}) kill_in_turn(10, {victim});
  kill_in_turn(2, {1});
  kill_in_turn(3, {0});
}

TEST_CASE("several killed processes, inner nodes first") {
  kill_in_turn(15, {1, 6});
  kill_in_turn(15, {2, 3, 14});
  kill_in_turn(15, {0, 9});
}

TEST_CASE(
    "a process that exits without destroying its communicator has ended; one that destroyed it has closed") {
  constexpr int kSize = 7;
  const UniqueId id = loopback_id();
  Forked group;
  Shared<Board> board(1);
  for (int rank = 0; rank < kSize; ++rank) {
    group.start([&, rank] {
      Heard heard;
      auto control = Control::join(id, settings_of(rank, kSize));
      control->serve(heard.events(rank), {});
      board[0].serving.fetch_add(1);
      await("all ranks to serve", [&] { return board[0].serving.load() == kSize; });
      if (rank == 5) _exit(0);
      if (rank == 3) control.reset();
      if (rank == 3) return;
      await("both to be gone",
            [&] { return control->state(5) == PeerState::ended && control->state(3) == PeerState::closed; });
      board[0].satisfied.fetch_add(1);
      await(
          "the end", [&] { return board[0].end.load(); }, 60 * kSecondNs);
    });
  }
  finish(group, board, kSize - 2, {});
}

TEST_CASE("a stopped process is silent in a survey, those connected through it are not") {
  constexpr int kSize = 15;
  for (const std::vector<int>& stopped : {std::vector<int>{1}, {0}, {6}, {14}, {2, 3}}) {
    const UniqueId id = loopback_id();
    Forked group;
    Shared<Board> board(1);
    Shared<std::atomic<bool>> stand_still(1);
    start(group, board, id, kSize, [&](Control& control, Heard&, int rank) {
      if (is_in(stopped, rank)) {
        await(
            "the end", [&] { return board[0].end.load(); }, 60 * kSecondNs);
        return;
      }
      await("ranks to be stopped", [&] { return stand_still[0].load(); });
      if (rank % 4 != 0) return;  // a few asks are enough
      const SurveyResult result = control.survey(kSurveyNs);
      expect(result.silent == stopped, "rank {}: {} are silent, the first is rank {}", rank,
             result.silent.size(), result.silent.empty() ? -1 : result.silent[0]);
      expect(result.answers.size() == kSize - stopped.size(), "rank {}: {} answers", rank,
             result.answers.size());
      for (const int r : stopped)
        expect(control.state(r) == PeerState::alive, "rank {} is not taken for alive", r);
    });
    for (const int r : stopped) {
      group.signal(static_cast<size_t>(r), SIGSTOP);
      int status = 0;
      CHECK(waitpid(group.pid(static_cast<size_t>(r)), &status, WUNTRACED) ==
            group.pid(static_cast<size_t>(r)));
      CHECK(WIFSTOPPED(status));
    }
    stand_still[0].store(true);
    await(
        "the other ranks",
        [&] { return board[0].satisfied.load() == kSize - static_cast<int>(stopped.size()); },
        60 * kSecondNs);
    for (const int r : stopped) group.signal(static_cast<size_t>(r), SIGCONT);
    board[0].end.store(true);
    group.expect_all_good(30 * kSecond);
  }
}

TEST_CASE("behind two stopped ranks others cannot be seen, and are not called silent") {
  // Ranks 3 and 1 are all that ranks 7 and 8 are connected to.
  constexpr int kSize = 9;
  const UniqueId id = loopback_id();
  Forked group;
  Shared<Board> board(1);
  Shared<std::atomic<bool>> stand_still(1);
  start(group, board, id, kSize, [&](Control& control, Heard&, int rank) {
    if (rank == 1 || rank == 3)
      await(
          "the end", [&] { return board[0].end.load(); }, 60 * kSecondNs);
    if (rank != 0) return;
    await("ranks to be stopped", [&] { return stand_still[0].load(); });
    const SurveyResult result = control.survey(kSurveyNs);
    expect(result.silent == std::vector<int>({1, 3}), "{} ranks are silent", result.silent.size());
    expect(result.answers.size() == 5, "{} answers", result.answers.size());
  });
  for (const int r : {1, 3}) {
    group.signal(static_cast<size_t>(r), SIGSTOP);
    int status = 0;
    CHECK(waitpid(group.pid(static_cast<size_t>(r)), &status, WUNTRACED) > 0);
  }
  stand_still[0].store(true);
  await(
      "the other ranks", [&] { return board[0].satisfied.load() == kSize - 2; }, 60 * kSecondNs);
  for (const int r : {1, 3}) group.signal(static_cast<size_t>(r), SIGCONT);
  board[0].end.store(true);
  group.expect_all_good(30 * kSecond);
}

TEST_CASE("a process that dies during set-up is named on all others") {
  for (const int victim : {0, 1, 3}) {
    const UniqueId id = loopback_id();
    Forked group;
    for (int rank = 0; rank < 7; ++rank) {
      group.start([&, rank] {
        const auto control = Control::join(id, settings_of(rank, 7));
        expect_gathers(*control, rank, 7);
        if (rank == victim) _exit(0);
        try {
          control->all_gather("x");
        } catch (const Error& e) {
          expect(e.code() == Result::peer_lost &&
                     contains(e.what(), fmt::format("set-up: rank {} left", victim)),
                 "rank {}: {}", rank, e.what());
          return;
        }
        expect(false, "rank {}: no error", rank);
      });
    }
    group.expect_all_good(30 * kSecond);
  }
}

TEST_CASE("after set-up nobody listens, not even where the id was made") {
  const UniqueId id = loopback_id();  // here, so that this process has a copy of rank 0's socket
  Forked group;
  Shared<Board> board(1);
  start(group, board, id, 3, [](Control&, Heard&, int) {});
  const SocketAddress name(id.ip(), id.port_number());
  const Descriptor socket(::socket(name.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  CHECK(connect(socket.get(), name.get(), name.size) != 0);
  CHECK(errno == ECONNREFUSED);
  finish(group, board, 3, {});
}
