// How the two ranks find each other, and how one waits for the other.
#include "benchmarks/port_pair.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/env.h"
#include "core/error.h"
#include "core/units.h"
#include "runtime/bootstrap/launch.h"
#ifdef TUTTI_HAVE_UCX
#include "transports/ucx/ucx.h"
#endif
#ifdef TUTTI_HAVE_VERBS
#include "transports/verbs/verbs.h"
#endif

namespace tutti::bench {

namespace {

constexpr size_t kRanks = 2;
constexpr uint32_t kTurnsPerLook = 4096;
constexpr uint64_t kPatienceNs = 2'000'000'000;

std::unique_ptr<PortTransport> make_transport(const std::string& name, const Settings& settings, int rank,
                                              std::vector<std::byte>& memory) {
#ifdef TUTTI_HAVE_VERBS
  if (name == "verbs") {
    return make_verbs_transport({.rank = rank,
                                 .ranks = kRanks,
                                 .slots = memory.data(),
                                 .slots_bytes = memory.size(),
                                 .rails = settings.ib_rails,
                                 .tuning = settings.ib_tuning,
                                 .connect_ns = settings.setup_timeout_ns});
  }
#endif
#ifdef TUTTI_HAVE_UCX
  if (name == "ucx") {
    return make_ucx_transport({.rank = rank,
                               .ranks = kRanks,
                               .slots = memory.data(),
                               .slots_bytes = memory.size(),
                               .put = settings.ucx_put});
  }
#endif
  raise(Result::unsupported, "--transport {}: this build is without it", name);
}

}  // namespace

PortPair::PortPair(const PortBenchOptions& options)
    : settings_(make_settings(Environment::process(), {})),
      window_(options.window),
      stride_((options.max_bytes + kCacheLine - 1) / kCacheLine * kCacheLine),
      memory_(2 * window_ * stride_) {
  calibrate_ticks();
  join(options);
  std::string problem;
  try {
    transport_ = make_transport(options.transport, settings_, rank_, memory_);
  } catch (const Error& error) {
    control_->fail(error.code(), fmt::format("rank {}: {}", rank_, error.what()));
    throw;
  }
  const std::vector<std::string> addresses = control_->all_gather(transport_->address());
  port_ = &transport_->open(1 - rank_, addresses[static_cast<size_t>(1 - rank_)], inbox_);
  grant(window_);
  meet();
}

PortPair::~PortPair() {
  if (transport_) transport_->close(kPatienceNs);
}

void PortPair::join(const PortBenchOptions& options) {
  const Launch launch = find_launch(Environment::process(), settings_.setup_timeout_ns);
  if (launch.size != kRanks)
    raise(Result::invalid_usage, "port_bench is for two ranks, and {} says {}", launch.source, launch.size);
  rank_ = launch.rank;
  control_ = Control::join(launch.id, {.rank = rank_,
                                       .size = launch.size,
                                       .limit_ns = settings_.setup_timeout_ns,
                                       .digest = settings_.digest + options.digest(),
                                       .interfaces = settings_.interfaces,
                                       .ports = settings_.ports});
}

void PortPair::send(uint64_t number, size_t bytes) {
  port_->put(source(number), bytes, place(number));
  port_->signal(static_cast<uint8_t>(PortCounter::messages), ++sent_, {});
}

void PortPair::receive() {
  ++received_;
  const Counter& counter = inbox_.line.counters[static_cast<size_t>(PortCounter::messages)];
  until([&] { return reached(counter, received_); }, "a message");
}

void PortPair::await_credit() {
  until([&] { return reached(inbox_.granted, sent_ + 1); }, "credit");
}

void PortPair::await_flushed() {
  until([&] { return port_->flushed(); }, "the sources to be free");
}

void PortPair::meet() {
  port_->signal(static_cast<uint8_t>(PortCounter::meetings), ++meetings_, {});
  const Counter& counter = inbox_.line.counters[static_cast<size_t>(PortCounter::meetings)];
  until([&] { return reached(counter, meetings_); }, "the other rank");
}

uint64_t PortPair::sum(uint64_t mine) {
  const std::vector<std::string> all = control_->all_gather(fmt::format("{}", mine));
  uint64_t total = 0;
  for (const std::string& text : all) total += parse_integer(text).value_or(0);
  return total;
}

template <typename Condition>
void PortPair::until(const Condition& condition, const char* what) {
  uint64_t since = 0;
  for (uint32_t turn = 1; !condition(); ++turn) {
    transport_->advance();
    if (turn % kTurnsPerLook == 0) look_around(what, since);
  }
}

void PortPair::look_around(const char* what, uint64_t& since) const {
  const int peer = 1 - rank_;
  if (transport_->failure().rank >= 0)
    raise(Result::peer_lost, "waiting for {}: {}", what, transport_->failure().text);
  if (transport_->has_left(peer)) raise(Result::peer_lost, "waiting for {}: rank {} has left", what, peer);
  const uint64_t now = now_ns();
  if (since == 0) since = now;
  if (now - since > settings_.timeout_ns) {
    raise(Result::timeout, "waiting for {}: rank {} has sent nothing for {} (TUTTI_TIMEOUT)", what, peer,
          format_duration(settings_.timeout_ns));
  }
}

}  // namespace tutti::bench
