// The same over IPv6.
#include <cstdio>

#include "runtime/bootstrap/interfaces.h"
#include "tests/bootstrap/support.h"
#include "tests/catch.h"

using namespace control_test;

TEST_CASE("ranks meet at ::1") {
  IpAddress loopback;
  loopback.bytes[15] = 1;
  const Descriptor probe = try_listen(loopback, 0);
  if (!probe) {
    std::puts("SKIPPED: nothing can listen at ::1 on this machine");
    return;
  }
  const uint16_t port = listen_at(loopback, {}).port;  // free again
  ThreadGroup group(7);
  group.run([&](int rank) {
    UniqueId id = UniqueId::derive("::1", port, "over IPv6");
    id.derived = 0;  // rank 0 listens at this very address
    const auto control = Control::join(id, settings_of(rank, 7));
    expect(id.address_text() == fmt::format("[::1]:{}", port), "the address is {}", id.address_text());
    expect_gathers(*control, rank, 7);
  });
}
