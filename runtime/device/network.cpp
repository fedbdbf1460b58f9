#include "runtime/device/network.h"

#include <cstddef>
#include <new>

#include "core/error.h"
#ifdef TUTTI_HAVE_UCX
#include "transports/ucx/ucx.h"
#endif

namespace tutti {

namespace {

// A DeviceInbox is an Inbox as the device sees it.
static_assert(sizeof(Inbox) == sizeof(cuda::DeviceInbox));
static_assert(offsetof(Inbox, granted) == offsetof(cuda::DeviceInbox, granted));
static_assert(offsetof(PairLine, counters) == offsetof(cuda::DeviceLine, counters));
static_assert(offsetof(PairLine, tag) == offsetof(cuda::DeviceLine, tag));
static_assert(offsetof(Inbox, latest) + offsetof(Announcement, epoch) ==
              offsetof(cuda::DeviceInbox, latest_epoch));
static_assert(offsetof(Inbox, latest) + offsetof(Announcement, count) ==
              offsetof(cuda::DeviceInbox, latest_count));
static_assert(offsetof(Inbox, latest) + offsetof(Announcement, call) ==
              offsetof(cuda::DeviceInbox, latest_call));

constexpr size_t kTriggersAt = sizeof(cuda::FifoFeedback);
constexpr size_t kPage = 4096;

constexpr size_t inboxes_at(uint64_t triggers) {
  return kTriggersAt + triggers * sizeof(cuda::Trigger);
}

constexpr size_t whole_pages(size_t bytes) {
  return (bytes + kPage - 1) / kPage * kPage;
}

std::unique_ptr<PortTransport> make_transport([[maybe_unused]] int rank,
                                              [[maybe_unused]] const Placement& placement,
                                              [[maybe_unused]] std::byte* slots,
                                              [[maybe_unused]] uint64_t slots_bytes,
                                              [[maybe_unused]] UcxPut put) {
#ifdef TUTTI_HAVE_UCX
  return make_ucx_transport({.rank = rank,
                             .ranks = placement.size(),
                             .slots = slots,
                             .slots_bytes = slots_bytes,
                             .put = put,
                             .name_of = [&placement](int r) { return placement.rank_name(r); }});
#else
  raise(Result::unsupported,
        "rank {}: the ranks are on {} nodes, and this build has no transport between nodes (UCX)", rank,
        placement.node_count());
#endif
}

}  // namespace

Network::Network(const cuda::DevicePtr& device, int rank, const Placement& placement, uint64_t slots_bytes,
                 UcxPut put)
    : device_(device),
      rank_(rank),
      placement_(placement),
      slots_bytes_(slots_bytes),
      staging_at_(whole_pages(inboxes_at(kTriggers) + static_cast<size_t>(placement.size()) * sizeof(Inbox))),
      shared_(device, staging_at_ + slots_bytes),
      slots_descriptor_(shm::create_memory(whole_pages(slots_bytes), rank)),
      slots_(static_cast<size_t>(placement.size())) {
  new (shared_.as<std::byte>()) cuda::FifoFeedback{};
  for (int r = 0; r < placement.size(); ++r) new (inboxes() + r) Inbox{};
  Slots& own = slots_[static_cast<size_t>(rank)];
  own.mapping = shm::Mapping(slots_descriptor_.get(), whole_pages(slots_bytes));
  transport_ = make_transport(rank_, placement_, own.mapping.data(), slots_bytes_, put);
}

Network::~Network() {
  progress_.reset();
  transport_.reset();
}

Inbox* Network::inboxes() const {
  return reinterpret_cast<Inbox*>(shared_.as<std::byte>() + inboxes_at(kTriggers));
}

Parcel Network::slots_parcel() {
  Parcel parcel;
  parcel.descriptors.push_back(std::move(slots_descriptor_));
  return parcel;
}

void Network::map_slots(const std::vector<Parcel>& parcels) {
  const std::vector<int>& ranks = placement_.ranks_of(placement_.node_of(rank_));
  for (size_t place = 0; place < ranks.size(); ++place) {
    const int peer = ranks[place];
    Slots& slots = slots_[static_cast<size_t>(peer)];
    if (peer != rank_) {
      const std::vector<Descriptor>& descriptors = parcels[place].descriptors;
      if (descriptors.size() != 1) {
        raise(Result::system_error, "rank {} shares {} descriptors of network slots; expected 1", peer,
              descriptors.size());
      }
      shm::check_memory(descriptors[0].get(), whole_pages(slots_bytes_), peer);
      slots.mapping = shm::Mapping(descriptors[0].get(), whole_pages(slots_bytes_));
    }
    slots.registration = cuda::HostRegistration(device_, slots.mapping.data(), slots.mapping.size());
  }
}

void Network::start(const std::vector<std::string>& addresses, uint64_t& abort_word) {
  auto* const base = shared_.as<std::byte>();
  auto* const feedback = reinterpret_cast<cuda::FifoFeedback*>(base);
  auto* const triggers = reinterpret_cast<cuda::Trigger*>(base + kTriggersAt);
  Progress::Work work = {.triggers = cuda::FifoConsumer(triggers, kTriggers, *feedback),
                         .feedback = feedback,
                         .staging = base + staging_at_,
                         .staging_bytes = slots_bytes_,
                         .transport = transport_.get(),
                         .ports = {},
                         .abort_word = &abort_word};
  work.ports.resize(static_cast<size_t>(placement_.size()));
  for (int peer = 0; peer < placement_.size(); ++peer) {
    if (placement_.same_node(rank_, peer)) continue;
    const auto p = static_cast<size_t>(peer);
    work.ports[p] = &transport_->open(peer, addresses[p], inboxes()[peer]);
  }
  progress_ = std::make_unique<Progress>(std::move(work));
}

cuda::DeviceNetwork Network::view(uint64_t* granted) const {
  auto* const base =
      reinterpret_cast<std::byte*>(shared_.device_address());  // NOLINT(performance-no-int-to-ptr)
  cuda::DeviceNetwork view = {
      .triggers = reinterpret_cast<cuda::Trigger*>(base + kTriggersAt),
      .capacity = kTriggers,
      .feedback = reinterpret_cast<cuda::FifoFeedback*>(base),
      .staging = base + staging_at_,
      .staging_bytes = slots_bytes_,
      .inboxes = reinterpret_cast<cuda::DeviceInbox*>(base + inboxes_at(kTriggers)),
      .granted = granted,
      .slots = {},
  };
  for (size_t r = 0; r < slots_.size(); ++r) {
    if (!slots_[r].registration) continue;
    const CUdeviceptr at = slots_[r].registration.device_address();
    view.slots[r] = reinterpret_cast<std::byte*>(at);  // NOLINT(performance-no-int-to-ptr)
  }
  return view;
}

}  // namespace tutti
