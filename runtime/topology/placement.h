// Which rank is on which node.
//
// Ranks are on one node exactly when their node ids are equal. Two ranks share memory by a local socket in the abstract name space
// (one network namespace), by descriptors passed through it, and by process descriptors (one process-id namespace); and the
// times they write for each other must come from one clock (one boot, one time namespace). The id is made of these, so that two
// containers on one machine are one node only if sharing works. TUTTI_NODE_ID replaces it.
//
// Every rank says what it is in a few bytes (Whereabouts), everybody gets everybody's bytes, and each rank computes the
// same Placement from them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tutti {

/// What one rank tells the others about where it runs.
struct Whereabouts {
  static constexpr size_t kMostId = 255;
  static constexpr size_t kMostHost = 255;

  std::string node_id;  // equal on the ranks of one node
  std::string machine;  // boot and network namespace: ranks that differ in them cannot share memory
  std::string host;     // for people
  uint32_t pid = 0;

  std::string serialize() const;
  /// Throws Error(invalid_argument) on any bytes that serialize() did not write; the text names `rank`.
  static Whereabouts parse(std::string_view bytes, int rank);
};

/// This process. `node_id` is TUTTI_NODE_ID, or empty: then the id is made as described above. Never fails: what the system
/// does not tell is left out of the id.
Whereabouts my_whereabouts(const std::string& node_id);

struct Placement {
  /// The bytes that a rank sends to all.
  static std::string describe_self(const std::string& node_id) { return my_whereabouts(node_id).serialize(); }
  /// From everybody's bytes, by rank. Throws Error(invalid_argument) naming the rank whose bytes are malformed, or two ranks with
  /// one TUTTI_NODE_ID that cannot share memory.
  static Placement from(const std::vector<std::string>& described);
  static Placement one_node(int ranks);

  std::vector<uint16_t> nodes;     // by rank; nodes are numbered in the order of their first rank
  std::vector<int> places;         // by rank: its local rank, the place among the ranks of its node
  std::vector<std::string> names;  // by node: host name or TUTTI_NODE_ID; a second node of that name is "b#2"
  std::vector<std::vector<int>> members;  // by node: its ranks, ascending

  int size() const { return static_cast<int>(nodes.size()); }
  int node_count() const { return static_cast<int>(members.size()); }
  int node_of(int rank) const { return nodes[static_cast<size_t>(rank)]; }
  const std::vector<int>& ranks_of(int node) const { return members[static_cast<size_t>(node)]; }
  bool same_node(int a, int b) const { return node_of(a) == node_of(b); }
  const std::string& node_name(int rank) const { return names[static_cast<size_t>(node_of(rank))]; }

  /// Rails that exist on every node: as many as the smallest node has ranks. Rail k joins the ranks with local rank k.
  int rails() const;
  /// The rank with local rank k of every node, by node.
  std::vector<int> rail(int k) const;
  /// As plan::Shape wants it: empty where there is one node.
  std::vector<uint16_t> shape_nodes() const { return node_count() > 1 ? nodes : std::vector<uint16_t>{}; }

  /// "rank 3", or "rank 3 (node b)" where there are several nodes.
  std::string rank_name(int rank) const;
  std::vector<std::string> rank_names() const;
  /// "3 ranks on 2 nodes: a 0-1, b 2".
  std::string summary() const;
};

/// One boot of one kernel. Without it host names must do: machines have different ones, and they do not change while a job starts.
std::string boot_id();

/// "0-3,8,10-11" of ascending numbers.
std::string format_list(const std::vector<int>& numbers);

}  // namespace tutti
