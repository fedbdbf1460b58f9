// A library that was built without statistics says so.
#include "tests/catch.h"
#include "tests/runtime/support/local_ranks.h"

TEST_CASE("there are no statistics, and the reason is given") {
  LocalRanks group(2);
  group.run([](int, tutti_comm_t comm) { expect_success(tutti_barrier(comm, nullptr), "tutti_barrier"); });
  char text[8];
  CHECK(tutti_comm_stats(group[0], "json", text, sizeof(text), nullptr) == TUTTI_UNSUPPORTED);
  CHECK_NOTHROW(expect_text("TUTTI_STATS=OFF", "tutti_comm_stats"));
}
