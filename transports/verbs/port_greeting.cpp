// One port that gets to know its peer: queue pairs, and the greetings by which both learn of them.
#include <fmt/format.h>

#include <algorithm>

#include "core/clock.h"
#include "core/error.h"
#include "core/log.h"
#include "transports/verbs/transport.h"

namespace tutti::verbs {

namespace {

constexpr uint64_t kFirstGreetingPauseNs = 4'000'000;
constexpr uint64_t kLongestGreetingPauseNs = 250'000'000;

}  // namespace

void VerbsPort::make_connections() {
  connections_.reserve(rails_);
  for (size_t i = 0; i < rails_; ++i) connections_.emplace_back(*transport_.rails()[i], peer_);
  paths_.resize(rails_);
}

/// `step(rail)` throws for a rail that does not lead to the peer. Where others do, it is dead from the beginning: its cable may be out. Where none
/// does, all are tried again later: a link may only blink. True once there is one.
template <typename Step>
bool VerbsPort::try_rails(const Step& step) {
  constexpr uint64_t kPauseNs = 500'000'000;
  if (now_ns() < try_again_ns_ || dead_ == (1U << rails_) - 1) return false;
  std::vector<std::string> problems(rails_);
  bool some_lead_there = false;
  for (size_t i = 0; i < rails_; ++i) {
    if (is_dead(i)) continue;
    try {
      step(i);
      some_lead_there = true;
    } catch (const Error& error) {
      problems[i] = error.what();
    }
  }
  for (size_t i = 0; i < rails_ && some_lead_there; ++i) {
    if (!problems[i].empty()) lose_rail(i, problems[i]);
  }
  if (some_lead_there) return !broken_;
  const bool is_news = unreached_.empty();
  unreached_ = problems[static_cast<size_t>(first_alive())];
  if (is_news)
    log(Level::warn, "rank {}: {} is not reached yet: {}", transport_.settings().rank,
        transport_.name_of(peer_), unreached_);
  try_again_ns_ = now_ns() + kPauseNs;
  return false;
}

bool VerbsPort::find_paths() {
  const int traffic_class = transport_.settings().tuning.traffic_class;
  return try_rails([&](size_t i) {
    const Rail& rail = *transport_.rails()[i];
    if (!paths_[i]) paths_[i] = make_path(rail.domain(), rail.info(), address_.rails[i], traffic_class);
  });
}

bool VerbsPort::connect(const Greeting& greeting) {
  connected_ = try_rails([&](size_t i) {
    connections_[i].connect(address_.rails[i], greeting.queue_pairs[i], greeting.first[i],
                            transport_.settings().tuning);
  });
  return connected_;
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
    lose(silence_text(now - greeted_since_ns_));
    return false;
  }
  try {
    if (!is_open()) make_connections();
  } catch (const Error& error) {
    lose(error.what());
    return false;
  }
  if (find_paths()) send_greeting(Greeting::kAsk | (connected_ ? Greeting::kReady : 0));
  next_greeting_ns_ = now + greeting_pause_ns_;
  greeting_pause_ns_ = std::min(2 * greeting_pause_ns_, kLongestGreetingPauseNs);
  return true;
}

std::string VerbsPort::silence_text(uint64_t silence_ns) const {
  const auto rail = static_cast<size_t>(first_alive());
  const RailInfo& own = transport_.rails()[rail]->info();
  return fmt::format("no answer to greetings for {:.3g} s, from {} ({}) to {}{}{}",
                     static_cast<double>(silence_ns) * 1e-9, own.name, gid_text(own.gid),
                     gid_text(address_.rails[rail].gid), unreached_.empty() ? "" : "; ", unreached_);
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

void VerbsPort::note_peer_ready() {
  if (peer_ready_) return;
  peer_ready_ = true;
  transport_.list(*this);
}

void VerbsPort::hear(const Greeting& greeting) {
  if (broken_ || greeting.rails != rails_) return;
  if (!is_open()) make_connections();
  if (!connected_ && (!find_paths() || !connect(greeting))) return;
  if ((greeting.flags & Greeting::kReady) != 0) note_peer_ready();
  if (greeting.dead != 0) {
    heard_ = greeting;
    hear_losses();
  }
  if (!broken_ && (greeting.flags & Greeting::kAsk) != 0)
    send_greeting(Greeting::kReady | (peer_ready_ ? 0 : Greeting::kAsk));
}

}  // namespace tutti::verbs
