#include "runtime/device/team.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "transports/tag.h"

namespace tutti {

namespace {

/// Lanes of a rank beyond which more bring nothing.
constexpr int kMostParts = 64;
constexpr uint64_t kScratchBytes = uint64_t{32} << 20;
constexpr uint64_t kLeastPartScratch = 64 * 1024;
/// Between nodes slots are in pinned memory too, and so is as much for staging.
constexpr uint64_t kNetworkScratchBytes = uint64_t{8} << 20;

struct OfferBytes {
  static constexpr uint32_t kMagic = 0x74646576;
  uint32_t magic = kMagic;
  int32_t ordinal = 0;
  int32_t resident_blocks = 0;
  std::array<uint8_t, 16> uuid{};
};

int ranks_on(const std::vector<DeviceOffer>& offers, const DeviceOffer& device) {
  return static_cast<int>(std::count_if(offers.begin(), offers.end(),
                                        [&](const DeviceOffer& o) { return o.uuid == device.uuid; }));
}

/// What ranks of several nodes can have of a device: one part, for they share one network.
Settings for_network(Settings settings) {
  settings.ctas = 1;
  if (settings.device_scratch_bytes == 0) settings.device_scratch_bytes = kNetworkScratchBytes;
  return settings;
}

bool on_one_device(const std::vector<DeviceOffer>& offers) {
  return std::all_of(offers.begin(), offers.end(),
                     [&](const DeviceOffer& o) { return o.uuid == offers[0].uuid; });
}

DeviceOffer offer_of(const DeviceMember& member) {
  return {.ordinal = member.device->ordinal(),
          .uuid = member.device->facts().uuid,
          .resident_blocks = member.kernels->resident_blocks()};
}

DeviceMember open_member(int ordinal) {
  DeviceMember member;
  member.device = cuda::Device::open(ordinal);
  member.kernels = cuda::Kernels::load(member.device);
  return member;
}

// A rank's state: DeviceRank | PartState[parts] | DeviceStamp[kStamps] | granted[ranks].
constexpr size_t kStatesAt = (sizeof(cuda::DeviceRank) + 63) / 64 * 64;

size_t stamps_at(const cuda::DeviceLayout& layout) {
  return kStatesAt + layout.parts * sizeof(cuda::PartState);
}

size_t granted_at(const cuda::DeviceLayout& layout) {
  return stamps_at(layout) + cuda::kStamps * sizeof(cuda::DeviceStamp);
}

size_t state_size(const cuda::DeviceLayout& layout) {
  return granted_at(layout) + layout.ranks * sizeof(uint64_t);
}

void allocate(DeviceMember& member, const cuda::DeviceLayout& layout,
              const std::vector<cuda::DevicePtr>& peers) {
  member.window = cuda::DeviceMemory(member.device, layout.total, peers);
  member.window.clear(0, layout.slots);  // slots need no first value
  member.mapped = member.window.as<std::byte>();
  member.state = cuda::DeviceMemory(member.device, state_size(layout));
  member.words = cuda::PinnedMemory(member.device, sizeof(cuda::HostWords));
}

/// Tells rank `rank`'s kernels where everything is and where they start from.
void write_state(const DeviceTeam& team, int rank, const Settings& settings) {
  const DeviceMember& member = team.members[static_cast<size_t>(rank)];
  std::vector<std::byte> image(state_size(team.layout));
  cuda::DeviceRank state{};
  state.rank = rank;
  state.ranks = team.ranks();
  state.scope = team.scope;
  state.layout = team.layout;
  state.states = reinterpret_cast<cuda::PartState*>(member.state.as<std::byte>() + kStatesAt);
  state.stamps = reinterpret_cast<cuda::DeviceStamp*>(member.state.as<std::byte>() + stamps_at(team.layout));
  state.words =
      reinterpret_cast<cuda::HostWords*>(member.words.device_address());  // NOLINT(performance-no-int-to-ptr)
  if (team.registrations) state.registered = team.registrations->table();
  for (size_t r = 0; r < team.members.size(); ++r) state.windows[r] = team.members[r].mapped;
  if (team.network) {
    auto* const granted = member.state.as<std::byte>() + granted_at(team.layout);
    state.network = team.network->view(reinterpret_cast<uint64_t*>(granted));
  }
  std::memcpy(image.data(), &state, sizeof(state));
  for (uint32_t p = 0; p < team.layout.parts; ++p) {
    cuda::PartState part{};
    part.epoch = settings.epoch_start - 1;
    part.history = kNoHistory;
    std::memcpy(image.data() + kStatesAt + p * sizeof(part), &part, sizeof(part));
  }
  member.state.write(0, image.data(), image.size());
}

void check_all_have_devices(const std::vector<DeviceOffer>& offers) {
  const auto lacks = [](const DeviceOffer& o) { return o.ordinal == DeviceOffer::kNone; };
  const auto without = std::find_if(offers.begin(), offers.end(), lacks);
  if (without == offers.end()) return;
  const auto with = std::find_if_not(offers.begin(), offers.end(), lacks);
  raise(Result::mismatch,
        "rank {} uses CUDA device {} and rank {} uses none; expected all ranks to use one, or none "
        "(TUTTI_DEVICE, "
        "config.device, cudaSetDevice before the communicator is made)",
        with - offers.begin(), with->ordinal, without - offers.begin());
}

void check_size(size_t ranks) {
  if (ranks <= cuda::kMostDeviceRanks) return;
  raise(Result::unsupported, "{} ranks with devices; expected at most {}", ranks, cuda::kMostDeviceRanks);
}

std::vector<DeviceOffer> gather_offers(const TeamMeeting& meeting, const DeviceOffer& mine) {
  std::vector<std::string> all;
  if (meeting.placement->node_count() > 1) {
    all = meeting.all_gather(mine.bytes());
  } else {
    for (Parcel& parcel : meeting.exchange({mine.bytes(), {}})) all.push_back(std::move(parcel.bytes));
  }
  std::vector<DeviceOffer> offers;
  offers.reserve(all.size());
  for (size_t r = 0; r < all.size(); ++r) offers.push_back(DeviceOffer::parse(all[r], static_cast<int>(r)));
  return offers;
}

std::vector<DeviceOffer> chosen(const std::vector<DeviceOffer>& offers, const std::vector<int>& ranks) {
  std::vector<DeviceOffer> chosen;
  chosen.reserve(ranks.size());
  for (const int rank : ranks) chosen.push_back(offers[static_cast<size_t>(rank)]);
  return chosen;
}

void import_window(DeviceTeam& team, const cuda::DevicePtr& device, int peer, const Parcel& shared) {
  DeviceMember& member = team.members[static_cast<size_t>(peer)];
  member.imported = cuda::Imported(device, shared.bytes, shared.descriptors, fmt::format("rank {}", peer));
  if (member.imported.size() < team.layout.total) {
    raise(Result::system_error, "rank {} shares a device window of {} bytes; expected {}", peer,
          member.imported.size(), team.layout.total);
  }
  member.mapped =
      reinterpret_cast<std::byte*>(member.imported.address());  // NOLINT(performance-no-int-to-ptr)
}

/// Among the ranks of the node, `local`.
void share_windows(DeviceTeam& team, const TeamMeeting& meeting, const std::vector<int>& local) {
  const DeviceMember& own = team.members[static_cast<size_t>(meeting.rank)];
  cuda::Exported window = cuda::export_memory(*own.device, own.window.address(), team.layout.total);
  const std::vector<Parcel> windows =
      meeting.exchange({std::move(window.bytes), std::move(window.descriptors)});
  for (size_t place = 0; place < local.size(); ++place) {
    if (local[place] != meeting.rank) import_window(team, own.device, local[place], windows[place]);
  }
}

void join_network(DeviceTeam& team, const TeamMeeting& meeting, const cuda::DevicePtr& device,
                  const Settings& settings) {
  team.network = std::make_unique<Network>(device, meeting.rank, *meeting.placement, team.layout.slots_bytes);
  team.alarm = meeting.alarm;
  team.network->map_slots(meeting.exchange(team.network->slots_parcel()));
  team.network->start({.settings = &settings,
                       .all_gather = meeting.all_gather,
                       .abort_word = &team.words(meeting.rank).abort});
}

}  // namespace

std::string DeviceOffer::bytes() const {
  const OfferBytes raw = {.ordinal = ordinal, .resident_blocks = resident_blocks, .uuid = uuid};
  return {reinterpret_cast<const char*>(&raw), sizeof(raw)};
}

DeviceOffer DeviceOffer::parse(const std::string& bytes, int rank) {
  OfferBytes raw;
  if (bytes.size() == sizeof(raw)) std::memcpy(&raw, bytes.data(), sizeof(raw));
  if (bytes.size() != sizeof(raw) || raw.magic != OfferBytes::kMagic || raw.resident_blocks < 0) {
    raise(Result::system_error, "rank {} describes its device by {} bytes that are no such description", rank,
          bytes.size());
  }
  return {.ordinal = raw.ordinal, .uuid = raw.uuid, .resident_blocks = raw.resident_blocks};
}

CUdeviceptr DeviceTeam::stamps(int rank) const {
  return members[static_cast<size_t>(rank)].state.address() + stamps_at(layout);
}

cuda::DeviceLayout agree_on_layout(const std::vector<DeviceOffer>& offers, const Settings& settings) {
  int parts = settings.ctas != 0 ? settings.ctas : kMostParts;
  for (size_t r = 0; r < offers.size(); ++r) {
    const int sharers = std::max(ranks_on(offers, offers[r]) * settings.device_comms, 1);
    const int budget = offers[r].resident_blocks / sharers;
    if (budget == 0) {
      raise(Result::unsupported,
            "rank {}: its device runs {} thread blocks at a time, and {} ranks of {} communicators share it; "
            "expected at most "
            "{} ranks (TUTTI_DEVICE_COMMS)",
            r, offers[r].resident_blocks, sharers / settings.device_comms, settings.device_comms,
            offers[r].resident_blocks / settings.device_comms);
    }
    parts = std::min(parts, budget);
  }
  const uint64_t scratch =
      std::max(settings.device_scratch_bytes != 0 ? settings.device_scratch_bytes : kScratchBytes,
               static_cast<uint64_t>(parts) * kLeastPartScratch);
  return cuda::device_layout(static_cast<int>(offers.size()), parts, scratch);
}

std::shared_ptr<DeviceTeam> make_local_team(const std::vector<int>& ordinals, const Settings& settings) {
  auto team = std::make_shared<DeviceTeam>();
  team->one_process = true;
  std::vector<DeviceOffer> offers;
  std::vector<cuda::DevicePtr> devices;
  for (const int ordinal : ordinals) {
    team->members.push_back(open_member(ordinal));
    offers.push_back(offer_of(team->members.back()));
    devices.push_back(team->members.back().device);
  }
  team->layout = agree_on_layout(offers, settings);
  team->scope = on_one_device(offers) ? cuda::Scope::device : cuda::Scope::system;
  for (const cuda::DevicePtr& mine : devices) {
    for (const cuda::DevicePtr& theirs : devices) mine->enable_access(*theirs);
  }
  for (DeviceMember& member : team->members) allocate(member, team->layout, devices);
  for (int r = 0; r < team->ranks(); ++r) write_state(*team, r, settings);
  return team;
}

std::shared_ptr<DeviceTeam> join_team(const TeamMeeting& meeting, int ordinal, const Settings& settings) {
  DeviceMember own;
  DeviceOffer offer;
  if (ordinal != DeviceOffer::kNone) {
    own = open_member(ordinal);
    offer = offer_of(own);
  }
  const std::vector<DeviceOffer> offers = gather_offers(meeting, offer);
  if (std::all_of(offers.begin(), offers.end(),
                  [](const auto& o) { return o.ordinal == DeviceOffer::kNone; }))
    return nullptr;
  check_all_have_devices(offers);
  check_size(offers.size());
  const Placement& placement = *meeting.placement;
  const std::vector<int>& local = placement.ranks_of(placement.node_of(meeting.rank));
  auto team = std::make_shared<DeviceTeam>();
  team->nodes = placement.shape_nodes();
  team->layout = agree_on_layout(offers, team->nodes.empty() ? settings : for_network(settings));
  team->scope = on_one_device(chosen(offers, local)) ? cuda::Scope::device : cuda::Scope::system;
  allocate(own, team->layout, {});
  const cuda::DevicePtr device = own.device;
  team->members.resize(offers.size());
  team->members[static_cast<size_t>(meeting.rank)] = std::move(own);
  share_windows(*team, meeting, local);
  if (team->nodes.empty()) {
    team->registrations =
        std::make_unique<Registrations>(device, meeting.rank, team->ranks(), meeting.exchange);
  } else {
    join_network(*team, meeting, device, settings);
  }
  write_state(*team, meeting.rank, settings);
  static_cast<void>(meeting.exchange({}));  // nobody starts before everybody is ready
  return team;
}

}  // namespace tutti
