// Ranks with a transport of UCX.
#pragma once

#include "tests/transports/ranks.h"
#include "transports/ucx/ucx.h"

namespace port_test {

class UcxRank : public Rank {
 public:
  UcxRank(Shared& shared, int rank, int ranks, tutti::UcxPut way, size_t slots_bytes, bool opens = true)
      : Rank(
            shared, rank, ranks,
            [way](int r, int n, std::span<std::byte> slots) {
              return tutti::make_ucx_transport(
                  {.rank = r, .ranks = n, .slots = slots.data(), .slots_bytes = slots.size(), .put = way});
            },
            slots_bytes, opens) {}
};

}  // namespace port_test
