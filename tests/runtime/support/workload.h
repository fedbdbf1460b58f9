// Collectives with known results: what each rank puts in, what must come out, and everything around the buffers that must
// stay as it was.
//
// A Case describes one operation of all ranks. Its data are a function of its seed and the rank, so every rank - thread
// or process - makes its own, and whoever starts the ranks computes what is expected once for all. A Job is one rank's part
// of a case: buffers at odd addresses between guard bytes, the output poisoned before the call.
#pragma once

#include <tutti/tutti.h>

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "core/types.h"
#include "tests/reduce/reference.h"

namespace workload {

using reference::Bytes;
using tutti::Collective;

/// exact: any order of folding gives the same bits. rounding: floating point values whose sum depends on the order.
enum class Values : uint8_t { exact, rounding };

struct Case {
  Collective collective = Collective::all_reduce;
  tutti_datatype_t type = TUTTI_FLOAT32;
  tutti_op_t op = TUTTI_SUM;
  int root = 0;
  int64_t count = 0;
  bool in_place = false;
  uint8_t send_shift = 0;  // bytes by which a buffer is off its natural alignment
  uint8_t recv_shift = 0;
  Values values = Values::exact;
  uint64_t seed = 0;

  size_t bytes() const { return static_cast<size_t>(count) * tutti_datatype_size(type); }
};

std::string describe(const Case& c);

/// Where the ranks of a test are: threads of one process, processes of one node, or on several nodes.
enum class Where : uint8_t { threads, processes, nodes };

/// The automatic choice (""), then every algorithm by name that works there.
std::vector<std::string> algorithms(Collective collective, Where where);

/// What rank `rank` of `ranks` sends.
Bytes input(const Case& c, int rank, int ranks);

/// What all ranks receive; for Values::rounding the fold in the order of ranks.
Bytes expected(const Case& c, int ranks);
std::vector<Bytes> expected(std::span<const Case> cases, int ranks);

/// One rank's part of a case.
class Job {
 public:
  Job(const Case& c, int rank, int ranks);

  tutti_result_t run(tutti_comm_t comm);
  tutti_result_t begin(tutti_comm_t comm, tutti_request_t* request);

  // For memory of other kinds: the bytes to put there (empty where there is no send buffer), the call on them, and the bytes that came back.
  Bytes& send_image() { return send_; }
  Bytes& recv_image() { return recv_; }
  tutti_result_t run_at(unsigned char* send_base, unsigned char* recv_base, tutti_comm_t comm,
                        tutti_stream_t stream) const;

  /// Throws unless the output is what is expected and nothing else has changed. `in_rank_order`: the algorithm folds in
  /// the order of ranks, so that roundings agree too.
  void check(const Bytes& wanted, bool in_rank_order) const;

  /// Of the output: equal on all ranks.
  uint64_t hash() const;

 private:
  const unsigned char* send() const { return sends_ ? send_.data() + kGuard + case_.send_shift : nullptr; }
  unsigned char* recv() { return recv_.data() + kGuard + case_.recv_shift; }
  const unsigned char* recv() const { return recv_.data() + kGuard + case_.recv_shift; }
  void check_rounding(const Bytes& wanted) const;
  [[noreturn]] void fail(const std::string& what) const;

  static constexpr size_t kGuard = 64;

  Case case_;
  int rank_;
  int ranks_;
  bool sends_ = false;  // has a send buffer of its own
  unsigned char poison_;
  Bytes sent_;
  Bytes send_;
  Bytes recv_;
};

/// True when the operation is folded in the order of ranks on this communicator.
bool in_rank_order(tutti_comm_t comm, const Case& c, bool on_device = false);

/// Mostly nothing, often some spinning or yielding, now and then long enough for the other ranks to fall asleep.
void skew(std::mt19937_64& random);

/// Runs the cases one after the other on one rank, checks each, and leaves hash(case) in hashes[case * ranks + rank].
void run_cases(tutti_comm_t comm, int rank, int ranks, std::span<const Case> cases,
               std::span<const Bytes> wanted, uint64_t* hashes);

/// Throws unless the hashes that run_cases left agree among ranks.
void check_hashes(std::span<const Case> cases, int ranks, const uint64_t* hashes);

/// How much of the matrix: `full` for few ranks.
enum class Amount : uint8_t { full, some, few };

/// The counts of the matrix, up to `most`.
std::vector<int64_t> counts(int ranks, int64_t most);

/// Every type and operator, every count, both placements, alignments; rounding values. `most` bounds the count.
std::vector<Case> all_reduce_matrix(int ranks, Amount amount, int64_t most, uint64_t seed);
/// Every root, every count, both placements, alignments.
std::vector<Case> broadcast_matrix(int ranks, Amount amount, int64_t most, uint64_t seed);

/// A case of any kind.
Case random_case(int ranks, int64_t most, std::mt19937_64& random);

}  // namespace workload
