// One port that gets to know its peer: queue pairs, and the greetings by which both learn of them.
#include <fmt/format.h>

#include <algorithm>

#include "core/clock.h"
#include "core/error.h"
#include "transports/verbs/transport.h"

namespace tutti::verbs {

namespace {

constexpr uint64_t kFirstGreetingPauseNs = 4'000'000;
constexpr uint64_t kLongestGreetingPauseNs = 250'000'000;

}  // namespace

/// A rail by which no path leads to the peer is dead from the beginning: its cable may be out.
void VerbsPort::make_connections() {
  std::vector<std::unique_ptr<Rail>>& rails = transport_.rails();
  connections_.reserve(rails_);
  for (size_t i = 0; i < rails_; ++i) connections_.emplace_back(*rails[i], peer_);
  paths_.resize(rails_);
  for (size_t i = 0; i < rails_; ++i) {
    try_rail(i, [&] {
      paths_[i] = make_path(rails[i]->domain(), rails[i]->info(), address_.rails[i],
                            transport_.settings().tuning.traffic_class);
    });
  }
}

void VerbsPort::connect(const Greeting& greeting) {
  for (size_t i = 0; i < rails_; ++i) {
    if (is_dead(i)) continue;
    try_rail(i, [&] {
      connections_[i].connect(address_.rails[i], greeting.queue_pairs[i], greeting.first[i],
                              transport_.settings().tuning);
    });
  }
  connected_ = true;
}

template <typename Step>
void VerbsPort::try_rail(size_t rail, const Step& step) {
  try {
    step();
  } catch (const Error& error) {
    lose_rail(rail, error.what());
  }
}

bool VerbsPort::greet(uint64_t now) {
  if (broken_ || (peer_ready_ && knows_losses())) {
    greeted_since_ns_ = 0;
    return false;
  }
  if (greeted_since_ns_ == 0) {
    greeted_since_ns_ = now;
    greeting_pause_ns_ = kFirstGreetingPauseNs;
    next_greeting_ns_ = now;
  }
  if (now < next_greeting_ns_) return true;
  if (dead_ != 0 && peer_ready_ && now - greeted_since_ns_ > patience_ns()) {
    lose(why_dead_ + "; and it does not answer by other rails");
    return false;
  }
  if (now - greeted_since_ns_ > transport_.settings().connect_ns) {
    const auto first = static_cast<size_t>(first_alive());
    const RailInfo& rail = transport_.rails()[first]->info();
    lose(fmt::format("no answer to greetings for {:.3g} s, from {} ({}) to {}",
                     static_cast<double>(now - greeted_since_ns_) * 1e-9, rail.name, gid_text(rail.gid),
                     gid_text(address_.rails[first].gid)));
    return false;
  }
  try {
    if (!is_open()) make_connections();
    send_greeting(Greeting::kAsk | (connected_ ? Greeting::kReady : 0));
  } catch (const Error& error) {
    lose(error.what());
    return false;
  }
  next_greeting_ns_ = now + greeting_pause_ns_;
  greeting_pause_ns_ = std::min(2 * greeting_pause_ns_, kLongestGreetingPauseNs);
  return true;
}

/// By each rail, in case one is down.
void VerbsPort::send_greeting(uint32_t flags) {
  Greeting greeting = {.source = static_cast<uint32_t>(transport_.settings().rank),
                       .key = address_.key,
                       .flags = flags,
                       .rails = static_cast<uint32_t>(rails_),
                       .dead = dead_ & ~unsettled_,  // of the others more may come than is counted here
                       .applied = transport_.receiver(peer_).applied(),
                       .early = transport_.receiver(peer_).early()};
  for (size_t i = 0; i < rails_; ++i) {
    greeting.queue_pairs[i] = connections_[i].number();
    greeting.first[i] = connections_[i].first();
  }
  for (size_t i = 0; i < rails_; ++i) {
    if (paths_[i])
      transport_.rails()[i]->greeter().send(paths_[i].get(), address_.rails[i].greeter, greeting);
  }
}

void VerbsPort::hear(const Greeting& greeting) {
  if (broken_ || greeting.rails != rails_) return;
  if (!is_open()) make_connections();
  if (!connected_) connect(greeting);
  if ((greeting.flags & Greeting::kReady) != 0 && !peer_ready_) {
    peer_ready_ = true;
    transport_.list(*this);
  }
  if (greeting.dead != 0) {
    heard_ = greeting;
    hear_losses();
  }
  if (!broken_ && (greeting.flags & Greeting::kAsk) != 0)
    send_greeting(Greeting::kReady | (peer_ready_ ? 0 : Greeting::kAsk));
}

}  // namespace tutti::verbs
