#include "runtime/communicator/world.h"

#include <unistd.h>

#include <algorithm>

#include "core/error.h"
#include "runtime/bootstrap/parcels.h"
#include "runtime/bootstrap/rendezvous.h"
#include "runtime/device.h"

namespace tutti {

namespace {

/// The id by which the ranks of one node meet: a name of its own, the secret of the job.
UniqueId id_of_node(UniqueId id, unsigned node) {
  for (size_t byte = 0; byte < sizeof(node); ++byte) {
    id.name[byte] ^= static_cast<unsigned char>(node >> (8 * byte));
  }
  return id;
}

int most_on_a_node(const Placement& placement) {
  int most = 1;
  for (int node = 0; node < placement.node_count(); ++node) {
    most = std::max(most, static_cast<int>(placement.ranks_of(node).size()));
  }
  return most;
}

void meet_on_node(World& world, const UniqueId& id, const Settings& settings) {
  const int node = world.placement.node_of(world.rank);
  const int most = most_on_a_node(world.placement);
  const Meeting meeting = {.rank = world.place(),
                           .ranks = world.placement.ranks_of(node),
                           .most = most,
                           .limit_ns = settings.setup_timeout_ns,
                           .scratch_bytes = scratch_bytes(settings, world.placement.node_count(), most),
                           .digest = settings.digest};
  world.node = meet(id_of_node(id, static_cast<unsigned>(node)), meeting);
}

void open_networks(World& world, const Settings& settings) {
  world.inboxes = std::vector<Inbox>(static_cast<size_t>(world.ranks()));
  const NetworksRequest request = {
      .rank = world.rank,
      .placement = &world.placement,
      .slots = {world.node->window(world.place()).slots, world.node->layout.slots_size},
      .settings = &settings,
      .all_gather = [&world](const std::string& own) { return world.control->all_gather(own); }};
  world.networks = std::make_unique<Networks>(request, world.inboxes);
}

void find_places(World& world, const Settings& settings) {
  const std::vector<std::string> all = world.control->all_gather(Placement::describe_self(settings.node_id));
  world.placement = Placement::from(all);
  for (int r = 0; r < world.ranks(); ++r) {
    world.pids.push_back(Whereabouts::parse(all[static_cast<size_t>(r)], r).pid);
  }
}

void find_devices(World& world, const UniqueId& id, const Settings& settings) {
  const int node = world.placement.node_of(world.rank);
  world.parcels = std::make_unique<ParcelExchange>(id_of_node(id, static_cast<unsigned>(node)), world.place(),
                                                   static_cast<int>(world.placement.ranks_of(node).size()),
                                                   settings.setup_timeout_ns);
  world.devices = join_devices({.rank = world.rank,
                                .placement = &world.placement,
                                .control = world.control.get(),
                                .abort = &world.node->control().abort,
                                .parcels = world.parcels.get()},
                               settings);
}

void join_others(World& world, const UniqueId& id, const Settings& settings) {
  find_places(world, settings);
  meet_on_node(world, id, settings);
  if (world.placement.node_count() > 1) open_networks(world, settings);
  find_devices(world, id, settings);
  // Nobody starts before everybody can be reached.
  world.crowd = Crowd::from(world.control->all_gather(Crowd::describe_self()), world.rank);
}

}  // namespace

host::Endpoint World::endpoint() {
  host::Endpoint endpoint;
  endpoint.rank = rank;
  endpoint.sleepers = &node->control().sleepers;
  endpoint.packets_size = node->layout.packets_size;
  endpoint.slots_size = node->layout.slots_size;
  const shm::Window mine = node->window(place());
  for (int p = 0; p < ranks(); ++p) {
    const auto at = static_cast<size_t>(p);
    if (!is_mapped(p)) {
      endpoint.peers.push_back({.from = &inboxes[at].line, .inbox = &inboxes[at], .port = networks->port(p)});
      continue;
    }
    const int there = place_of(p);
    const shm::Window theirs = node->window(there);
    endpoint.mapped.push_back(p);
    endpoint.peers.push_back({.slots = theirs.slots,
                              .packets = theirs.packets,
                              .board = &theirs.header->board,
                              .retired = &theirs.header->retired,
                              .announcements = theirs.header->announcements,
                              .to = theirs.pairs + place(),
                              .from = mine.pairs + there,
                              .wake_descriptor = member(p).wake.get(),
                              .local = there});
  }
  return endpoint;
}

std::unique_ptr<World> local_world(const std::shared_ptr<Node>& node, int rank) {
  auto world = std::make_unique<World>();
  world->rank = rank;
  world->placement = Placement::one_node(node->ranks());
  world->pids.assign(static_cast<size_t>(node->ranks()), static_cast<uint32_t>(getpid()));
  world->crowd = Crowd::threads(node->ranks());
  world->one_process = true;
  world->node = node;
  return world;
}

std::unique_ptr<World> join_world(const UniqueId& id, int rank, int size, const Settings& settings) {
  id.check();
  if (size == 1) {
    auto alone = local_world(make_local_node(1, settings.scratch_bytes), 0);
    if (const int device = wanted_device(settings); device >= 0)
      alone->devices = make_local_devices({device}, settings);
    return alone;
  }
  auto world = std::make_unique<World>();
  world->rank = rank;
  world->control = Control::join(id, {.rank = rank,
                                      .size = size,
                                      .limit_ns = settings.setup_timeout_ns,
                                      .digest = settings.digest,
                                      .interfaces = settings.interfaces,
                                      .ports = settings.ports});
  try {
    join_others(*world, id, settings);
  } catch (const Error& e) {
    world->control->fail(e.code(), e.what());
    throw;
  }
  // Ranks of one node see each other's processes and errors in shared memory.
  if (world->placement.node_count() == 1) world->control.reset();
  return world;
}

}  // namespace tutti
