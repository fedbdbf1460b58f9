// Scratch is handed out so that every claim can be met and never meets bytes that are still in use.
#include "collectives/plan/pool.h"

#include <algorithm>
#include <random>
#include <vector>

#include "tests/catch.h"

using tutti::plan::Extent;
using tutti::plan::Ring;

TEST_CASE("an operation larger than what is left behind the skipped end of the ring can be claimed") {
  Ring ring(192);
  const Extent first = ring.take(192);
  const Extent second = ring.take(64);
  const Extent third = ring.take(192);  // skips 128 bytes and takes the whole ring
  CHECK(first.required == 0);
  CHECK(second.required == 64);
  CHECK(third.offset == 0);
  CHECK(third.required == second.end);
}

TEST_CASE("claims wait for everybody who used the bytes, and for nothing that is never retired") {
  std::mt19937 random(7);
  for (int trial = 0; trial < 200; ++trial) {
    const uint64_t size = 64 * (1 + random() % 8);
    Ring ring(size);
    std::vector<Extent> before;
    for (int k = 0; k < 50; ++k) {
      const uint64_t need = 64 * (random() % (size / 64 + 1));
      const Extent extent = ring.take(need);
      REQUIRE(extent.offset + need <= size);
      const uint64_t retired = before.empty() ? 0 : before.back().end;
      REQUIRE(extent.required <= retired);
      for (const Extent& old : before) {
        const bool shares = std::max(old.offset, extent.offset) <
                            std::min(old.offset + (old.end - old.position), extent.offset + need);
        // A rank goes from at most old.position to old.end in one step, so this waits for all of it.
        if (shares) REQUIRE(old.position < extent.required);
      }
      before.push_back(extent);
    }
  }
}
