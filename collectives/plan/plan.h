// The plan: what one rank does in one collective, independent of the size of the message and of who executes
// it.
//
// A plan is a program of a few *lanes*. A lane is a short prologue and then steps inside at most two counted
// loops:
//
//     prologue steps                                  once
//     for iteration in 0 .. slices + max_lag - 1      the slice loop
//       for block in blocks
//         for round in 0 .. block.rounds - 1          the round loop
//           for step in block.steps                   acts on slice = iteration - step.lag;
//                                                     skipped unless 0 <= slice < slices
//
// A step with a lag runs behind the front of the pipeline: that is how one lane overlaps the reduce-scatter
// of a slice with the all-gather of the slice before it. Trip counts and offsets are closed expressions of
// (count, element size, rank, n, root, round, slice): see Affine and plan/binding.h. Nothing in a plan
// depends on where memory lies, so the host executor, the simulator, the verifier and the printer all walk
// the same object (plan/cursor.h).
//
// Memory. `input` and `output` are the caller's buffers, cut into `chunks` equal chunks and those into
// slices. `slots` is the bulk scratch: each rank's window offers `areas` areas, each a ring of `depth` slots
// that hold one slice each. `packets` is the scratch for small messages (transports/packet.h).
//
// A *direct* plan also reads and writes the inputs and outputs of its peers, which needs all ranks' buffers in one address space. There a
// raise of a board tells, besides, where this rank's buffers of this operation lie: `copy` and `reduce` may name the input or output of
// a peer one of whose boards has been awaited in this operation. And a rank may end the operation only when it knows that nobody
// touches its buffers any more; the caller may do with them what it likes from then on.
//
// Channels. A counter has one writer and only grows; it is never reset.
//   pair   from one rank to one other; it lies in the receiver's window
//   board  from one rank to all others of its node; it lies in the raiser's own window, where they may read it
// A channel step names the *count* it is about: which raise of that counter within this operation, a closed expression
// of round and slice. The counter's value is base + count + 1, where base is the communicator's *tick* count, which
// every operation advances by slices * uses_per_slice on all ranks alike, whether a rank used the channel or not.
// A wait for credit awaits the raise `credits` before the one it names, and nothing where there is none in this
// operation: the slot is then used for the first time, and `claim` has seen to it that it is free.
//
// Nodes. Ranks of one node map each other's windows; the others are reached through ports (transports/port.h), to which only two
// steps can be addressed: `put` to a slot of the peer, and `signal` on its pair channel. A put to another node is posted: it reads
// its source and writes its slot at any time until a signal on the same channel's peer has been awaited there. `flush` waits until
// the puts to a peer have left their sources; an operation ends when all have. Between ranks of one node a put is a store, and
// flush does nothing.
//
// Scratch between operations. Every rank allocates scratch for the same operation at the same place of a ring
// (plan/pool.h). `claim` waits until every rank has *retired* (finished) the operations that used those bytes
// before; it must precede the first write to scratch. An operation retires its scratch when all of its lanes
// have ended. Across nodes: a rank that claims waits for the ranks of its node, then grants the position to those in `port_sources`,
// and then waits for the grants of those in `port_targets`; so a plan in which another node's rank puts to this one claims on
// both sides.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/types.h"

namespace tutti::plan {

enum class Algorithm : uint8_t {
  local,               // one rank: copy
  one_shot,            // all-reduce, barrier: everybody posts packets, everybody reduces everything
  all_pairs,           // all-reduce: everybody stages slices, everybody folds everything
  two_shot,            // all-reduce: direct reduce-scatter, then all-gather
  ring,                // all-reduce
  recursive_doubling,  // all-reduce
  one_writer_packets,  // broadcast: the root posts packets, everybody reads them
  one_writer,          // broadcast: the root stages slices, everybody reads them
  chain,               // broadcast: pipelined from neighbour to neighbour
  halving_doubling,    // all-reduce: reduce-scatter by halving, all-gather by doubling
  double_binary_tree,  // all-reduce: two trees, each for half of the message
  binomial_tree,       // broadcast
  scatter_all_gather,  // broadcast
  direct,              // all-reduce, broadcast: in the peers' own buffers, without scratch
  // Between nodes, each node's ranks working together through shared memory (algorithms/hierarchical.h):
  hierarchical_small,  // all: packets inside, one exchange of the whole message between the first ranks of the nodes
  hierarchical_direct,    // all-reduce: rails exchange directly, in two trips
  hierarchical_ring,      // all-reduce
  hierarchical_doubling,  // all-reduce: recursive doubling along the rails
  hierarchical_halving,   // all-reduce: halving-doubling along the rails
  hierarchical_tree,      // all-reduce: double binary tree along the rails
  hierarchical_chain,     // broadcast
  hierarchical_binomial,  // broadcast
  hierarchical_scatter,   // broadcast: scatter and all-gather between nodes
};
inline constexpr int kAlgorithms = 23;
std::string_view name_of(Algorithm algorithm);

/// base + per_round * round + per_slice * slice, modulo `modulus` (result >= 0) where modulus is not 0.
struct Affine {
  int32_t base = 0;
  int32_t per_round = 0;
  int32_t per_slice = 0;
  int32_t modulus = 0;

  constexpr int64_t at(int64_t round, int64_t slice) const {
    int64_t value = base + per_round * round + per_slice * slice;
    if (modulus != 0 && (value < 0 || value >= modulus)) {
      value %= modulus;
      if (value < 0) value += modulus;
    }
    return value;
  }
  bool operator==(const Affine&) const = default;
};

enum class Space : uint8_t { input, output, slots, packets };

/// Where a step reads or writes one slice.
struct Location {
  Space space = Space::input;
  uint16_t rank =
      0;  // whose memory: this rank's, or a peer's that is mapped (input, output: in direct plans)
  uint16_t area = 0;  // slots, packets: which area
  Affine index;       // input, output: the chunk. slots: position in the area's ring, taken modulo its depth
  bool operator==(const Location&) const = default;
};

enum class StepKind : uint8_t {
  claim,           // wait until the scratch of this operation is free on all ranks
  copy,            // src[0] -> every dst; one that is the source itself (in place) is not written
  put,             // the same, the last dst being a peer's window: on a port channel this is a posted write
  reduce,          // fold of all src in order -> every dst
  signal,          // raise a channel
  wait,            // await a channel
  flush,           // wait until the puts to channel.peer have left their sources
  put_packets,     // src[0] -> packets at dst[0]
  copy_packets,    // packets at src[0] -> dst[0], waiting for each
  reduce_packets,  // fold of all src in order -> dst[0], waiting for each packet
  barrier,         // among the lanes of this rank
};
std::string_view name_of(StepKind kind);

enum class ChannelKind : uint8_t { pair, board };

struct Channel {
  ChannelKind kind = ChannelKind::pair;
  uint8_t index = 0;  // which counter
  uint16_t peer = 0;  // pair: the other rank. board: whose board (a signal raises this rank's own)
  bool operator==(const Channel&) const = default;
};
inline constexpr int kPairChannels = 2;   // per ordered pair of ranks
inline constexpr int kBoardChannels = 2;  // per rank

struct Step {
  StepKind kind = StepKind::copy;
  uint8_t lag = 0;      // acts on slice (iteration - lag)
  bool final = false;   // reduce, reduce_packets: avg divides here
  bool credit = false;  // wait: for flow control: awaits the raise `credits` before the one named
  uint16_t dsts = 0;    // locations[first_location .. + dsts) are the destinations,
  uint16_t srcs = 0;    // the next srcs the sources
  uint32_t first_location = 0;
  Affine extent;    // the chunk whose slice gives the number of elements moved
  Channel channel;  // signal, wait
  Affine count;     // signal, wait: which raise, from 0; its counter value is base + count + 1
};

struct Block {
  uint32_t rounds = 1;
  uint32_t first_step = 0;
  uint32_t end_step = 0;
};

struct Lane {
  uint32_t prologue_first = 0;
  uint32_t prologue_end = 0;
  uint8_t max_lag = 0;
  std::vector<Block> blocks;
};

/// What one rank does. Immutable once built; shared by every operation that runs it.
struct Plan {
  Collective collective = Collective::all_reduce;
  Algorithm algorithm = Algorithm::local;
  uint16_t ranks = 1;
  uint16_t rank = 0;
  uint16_t root = 0;
  uint16_t chunks = 1;          // the message is cut into that many
  uint16_t areas = 0;           // slot areas in each rank's window
  uint16_t packet_areas = 0;    // packet areas in each rank's window
  uint16_t credits = 0;         // depth of an area's ring; slices in flight to a receiver
  uint32_t uses_per_slice = 1;  // how often an area's ring advances per slice
  bool whole = false;           // the message is one slice (packets)
  bool direct = false;          // names inputs and outputs of peers; a chunk is one slice
  std::vector<Lane> lanes;
  std::vector<Step> steps;
  std::vector<Location> locations;
  std::vector<uint16_t> nodes;         // by rank: its node, numbered from 0; empty: all ranks are on one
  std::vector<uint16_t> port_targets;  // ranks of other nodes to which this one puts, ascending
  std::vector<uint16_t> port_sources;  // ranks of other nodes that may put to this one, ascending

  /// True where the two map each other's memory.
  bool mapped(int a, int b) const {
    return nodes.empty() || nodes[static_cast<size_t>(a)] == nodes[static_cast<size_t>(b)];
  }

  std::span<const Location> dsts(const Step& step) const {
    return {locations.data() + step.first_location, step.dsts};
  }
  std::span<const Location> srcs(const Step& step) const {
    return {locations.data() + step.first_location + step.dsts, step.srcs};
  }
};

}  // namespace tutti::plan
