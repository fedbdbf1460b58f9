#include "transports/verbs/rail.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/clock.h"
#include "core/error.h"
#include "core/log.h"

namespace tutti::verbs {

namespace {

[[noreturn]] void refuse(const std::string& rail, const char* what) {
  const int error = errno;
  raise_errno(error, "{} on the RDMA device {}", what, rail);
}

/// Events are taken as they come, and never waited for here.
void set_nonblocking(int descriptor, const RailInfo& rail) {
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags < 0 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) < 0)
    refuse(rail.name, "fcntl of an event channel");
}

}  // namespace

Rail::Rail(const RailInfo& info, const RailMemory& memory, int completions)
    : info_(info), context_(open_device(info.device)) {
  domain_.reset(ibv_alloc_pd(context_.get()));
  if (!domain_) refuse(info.name, "a protection domain");
  channel_.reset(ibv_create_comp_channel(context_.get()));
  if (!channel_) refuse(info.name, "an event channel");
  set_nonblocking(channel_->fd, info);
  set_nonblocking(context_->async_fd, info);
  ibv_device_attr limits = {};
  if (ibv_query_device(context_.get(), &limits) != 0) refuse(info.name, "what it can do is not known");
  most_room_ = limits.max_cqe;
  room_ = std::min(completions, most_room_);
  completions_.reset(ibv_create_cq(context_.get(), room_, nullptr, channel_.get(), 0));
  if (!completions_) refuse(info.name, "a completion queue");
  constexpr int kAccess = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
  if (!memory.slots.empty()) slots_ = register_memory(memory.slots, kAccess, "slots");
  mailboxes_ = register_memory(memory.mailboxes, kAccess, "mailboxes");
  outgoing_ = register_memory(memory.outgoing, 0, "records and slices to be sent");
  greeter_ = std::make_unique<Greeter>(context_.get(), domain_.get(), channel_.get(), info_);
}

Region Rail::register_source(std::span<const std::byte> memory) const {
  return register_memory(memory, 0, "a buffer");
}

Region Rail::register_memory(std::span<const std::byte> memory, int access, const char* what) const {
  // Without the right to write the card does not, whatever the type of the pointer.
  Region region(ibv_reg_mr(domain_.get(), const_cast<std::byte*>(memory.data()), memory.size(), access));
  if (!region) {
    const int error = errno;
    raise_errno(error, "registering {} bytes of {} with the RDMA device {}{}", memory.size(), what,
                info_.name,
                error == ENOMEM ? " (is the limit of locked memory large enough? ulimit -l)" : "");
  }
  return region;
}

RailAddress Rail::address() const {
  return {.gid = info_.gid,
          .greeter = greeter_->number(),
          .slots_rkey = slots_ ? slots_->rkey : 0,
          .mail_rkey = mailboxes_->rkey,
          .mtu = info_.mtu,
          .lid = info_.lid,
          .sort = info_.sort,
          .port = static_cast<uint8_t>(info_.port)};
}

void Rail::reserve_completions(int more) {
  const int needed = reserved_ + more;
  if (needed > room_) {
    const int wanted = std::max(needed, std::min(2 * room_, most_room_));
    if (const int error = ibv_resize_cq(completions_.get(), wanted); error != 0)
      raise_errno(error, "a completion queue of {} entries, instead of {}, on the RDMA device {}", wanted,
                  room_, info_.name);
    room_ = wanted;
  }
  reserved_ = needed;
}

void Rail::count_write(uint64_t bytes) {
  writes_.add(1);
  bytes_.add(bytes);
  outstanding_.add(bytes);
}

void Rail::forget_write(uint64_t bytes) {
  outstanding_.set(outstanding() - std::min(outstanding(), bytes));
}

RailStatistics Rail::statistics() const {
  RailStatistics all = {.name = info_.name,
                        .bytes = bytes_.get(),
                        .writes = writes_.get(),
                        .outstanding = outstanding(),
                        .dead_peers = dead_peers_.get(),
                        .completion = {}};
  all.completion.merge(completion_);
  condition_.tell(all);
  return all;
}

/// The rate: while it is busy, from the completion before; small writes say nothing of its rate.
void Rail::count_completion(uint64_t bytes, uint64_t posted_ns) {
  constexpr uint64_t kLeast = 4096;
  forget_write(bytes);
  const uint64_t now = now_ns();
  completion_.record(now - posted_ns);
  const uint64_t begin = std::max(posted_ns, std::exchange(last_completion_ns_, now));
  if (bytes >= kLeast) rate_.measure(bytes, now - begin, now);
}

bool Rail::arm() {
  return ibv_req_notify_cq(completions_.get(), 0) == 0 && greeter_->arm();
}

void Rail::take_events() {
  ibv_cq* queue = nullptr;
  void* user = nullptr;
  while (ibv_get_cq_event(channel_.get(), &queue, &user) == 0) ibv_ack_cq_events(queue, 1);
}

void Rail::take_device_events(int rank) {
  ibv_async_event event = {};
  while (ibv_get_async_event(context_.get(), &event) == 0) {
    const DeviceEvent kind = kind_of(event, info_.port);
    const std::string name = name_of(event.event_type);
    ibv_ack_async_event(&event);
    condition_.note(kind);
    const bool address_is_gone = kind == DeviceEvent::address_change && !has_its_address();
    const bool is_usual =
        kind == DeviceEvent::other || (kind == DeviceEvent::address_change && !address_is_gone);
    log(is_usual ? Level::info : Level::warn, "rank {}: rail {}: {}: {}", rank, info_.name, name,
        meaning_of(kind, gid_text(info_.gid), address_is_gone));
  }
}

/// Whether peers still reach it by what they were told.
bool Rail::has_its_address() const {
  const auto port = static_cast<uint8_t>(info_.port);
  ibv_gid gid = {};
  if (ibv_query_gid(context_.get(), port, info_.gid_index, &gid) != 0) return false;
  ibv_port_attr attributes = {};
  if (ibv_query_port(context_.get(), port, &attributes) != 0) return false;
  return std::memcmp(gid.raw, info_.gid.data(), sizeof(gid.raw)) == 0 && attributes.lid == info_.lid;
}

}  // namespace tutti::verbs
