#include "runtime/device/network.h"

#include <fmt/format.h>

#include <cstddef>
#include <new>

#include "core/error.h"

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

}  // namespace

Network::Network(const cuda::DevicePtr& device, int rank, const Placement& placement, uint64_t slots_bytes)
    : device_(device),
      rank_(rank),
      placement_(placement),
      slots_bytes_(slots_bytes),
      staging_at_(whole_pages(inboxes_at(kTriggers) + static_cast<size_t>(placement.size()) * sizeof(Inbox))),
      shared_(device, staging_at_ + slots_bytes),
      slots_descriptor_(shm::create_memory(whole_pages(slots_bytes), rank)),
      slots_(static_cast<size_t>(placement.size())) {
  new (shared_.as<std::byte>()) cuda::FifoFeedback{};
  std::uninitialized_value_construct_n(inboxes().data(), inboxes().size());
  Slots& own = slots_[static_cast<size_t>(rank)];
  own.mapping = shm::Mapping(slots_descriptor_.get(), whole_pages(slots_bytes));
}

Network::~Network() {
  progress_.reset();
  networks_.reset();
}

std::span<Inbox> Network::inboxes() const {
  return {reinterpret_cast<Inbox*>(shared_.as<std::byte>() + inboxes_at(kTriggers)),
          static_cast<size_t>(placement_.size())};
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

void Network::start(const Start& start) {
  const NetworksRequest request = {.rank = rank_,
                                   .placement = &placement_,
                                   .slots = {slots_[static_cast<size_t>(rank_)].mapping.data(), slots_bytes_},
                                   .settings = start.settings,
                                   .all_gather = start.all_gather};
  networks_ = std::make_unique<Networks>(request, inboxes());
  auto* const base = shared_.as<std::byte>();
  constexpr uint64_t kStagingRing = 0;  // its number; there is no other source
  copied_because_ = networks_->register_source(kStagingRing, {base + staging_at_, slots_bytes_});
  auto* const feedback = reinterpret_cast<cuda::FifoFeedback*>(base);
  auto* const triggers = reinterpret_cast<cuda::Trigger*>(base + kTriggersAt);
  progress_ = std::make_unique<Progress>(
      Progress::Work{.triggers = cuda::FifoConsumer(triggers, kTriggers, *feedback),
                     .feedback = feedback,
                     .staging = base + staging_at_,
                     .staging_bytes = slots_bytes_,
                     .rank = rank_,
                     .placement = &placement_,
                     .networks = networks_.get(),
                     .abort_word = start.abort_word});
}

std::string Network::route(int peer) const {
  std::string route;
  progress_->let_in([&] { route = networks_->route(peer); });
  return route;
}

std::string Network::describe() const {
  std::string text;
  if (!networks_->remark().empty())
    text = "\n    device memory does not reach all ranks by verbs: " + networks_->remark();
  if (!copied_because_.empty())
    text += "\n    device memory is copied once more before it is sent: " + copied_because_;
  progress_->let_in([&] {
    for (int peer = 0; peer < placement_.size(); ++peer) {
      if (placement_.same_node(rank_, peer)) continue;
      text +=
          fmt::format("\n    device memory to {}: {}", placement_.rank_name(peer), networks_->describe(peer));
    }
  });
  const std::vector<RailStatistics> rails = rail_statistics();
  for (const RailStatistics& rail : rails) text += "\n    device memory by " + text_of(rail, rails);
  return text;
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
