// One rank's operations on device memory: turns calls into launches.
//
// Nothing here waits for the device, allocates or copies: all programs were uploaded when the communicator was made, and everything that
// advances from operation to operation is in device memory (collectives/executors/cuda/launch.h). So a call costs one launch, may be captured
// into a graph, and a replay is an operation like any other.
//
// Order. Operations of a communicator that are issued on different streams are chained by an event, so they run in the order of their calls.
// Graphs are ordered by whoever launches them.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "collectives/algorithms/algorithms.h"
#include "collectives/plan/program.h"
#include "runtime/communicator/device_path.h"
#include "runtime/device/team.h"
#include "runtime/tuner/selection.h"

namespace tutti {

class DeviceCommunicator : public DevicePath {
 public:
  /// One operation, ready to be launched.
  struct Prepared {
    cuda::RankArguments arguments;
    CUfunction kernel = nullptr;
    unsigned blocks = 0;
  };

  /// Builds and uploads all programs. Throws Error.
  DeviceCommunicator(std::shared_ptr<DeviceTeam> team, int rank, const Settings& settings);
  /// Waits for this rank's operations, which end at their deadline at the latest.
  ~DeviceCommunicator() override;
  DeviceCommunicator(const DeviceCommunicator&) = delete;
  DeviceCommunicator& operator=(const DeviceCommunicator&) = delete;

  const cuda::Device& cuda_device() const { return *own().device; }
  const cuda::Kernels& kernels() const { return *own().kernels; }
  const DeviceTeam& team() const { return *team_; }
  JobShape shape() const;

  Prepared prepare(Call call, const void* send, void* recv);
  /// Orders `stream` behind this communicator's latest operation.
  CUresult follow(CUstream stream);
  /// Remembers that the latest operation went to `stream`.
  CUresult launched(CUstream stream);
  /// For a launch on `common` that serves a call on `stream` too: orders `common` behind what the stream holds, and behind this
  /// communicator's latest operation.
  CUresult join(CUstream stream, CUstream common);
  /// After that launch: what comes on `stream` follows it.
  CUresult part(CUstream common, CUstream stream);

  int device() const override { return cuda_device().ordinal(); }
  Place place_of(const void* pointer) const noexcept override;
  Result enqueue(const Call& call, const void* send, void* recv, void* stream, std::string& problem) override;
  std::optional<Failure> failure() const override;
  void give_up() noexcept override;
  plan::Algorithm algorithm_for(Collective collective, uint64_t bytes) const override;
  std::string describe() const override;
  std::string freed_buffer(const Call& call, const void* send, const void* recv) const override;
  void register_buffer(uint64_t id, const void* buffer, size_t bytes) override;
  void deregister_buffer(uint64_t id) override;

 private:
  /// What peers need to use the buffers of a call.
  struct Loans {
    uint64_t input = cuda::kNoLoan;
    uint64_t output = cuda::kNoLoan;
  };

  struct Entry {
    std::unique_ptr<plan::Plan> plan;
    CUdeviceptr program = 0;
    uint32_t program_bytes = 0;
    // The last split: loops repeat the same call.
    uint64_t count = UINT64_MAX;
    uint32_t element = 0;
    uint32_t parts = 0;
    uint64_t part_bytes = 0;
    plan::Binding part;
    plan::Binding last;
  };

  const DeviceMember& own() const { return team_->members[static_cast<size_t>(rank_)]; }
  plan::Limits limits() const;
  plan::Shape plan_shape(plan::Algorithm algorithm, int rank, int root, const Settings& settings) const;
  plan::NetworkAreas network_areas(Collective collective, plan::Algorithm algorithm, int root,
                                   const Settings& settings) const;
  void build_programs(const Settings& settings);
  void upload_programs(const std::vector<std::vector<std::byte>>& programs);
  /// Whether all that peers would use of a call is registered; sets the loans.
  bool lend(const Call& call, const void* send, const void* recv, Loans& loans) const;
  Entry& entry_for(const Call& call, plan::Algorithm algorithm);
  void add_programs(Collective collective, const std::vector<Row>& table, const Settings& settings,
                    std::vector<std::vector<std::byte>>& programs);
  void await_own_operations() const;
  void split(Entry& entry, uint64_t count, uint32_t element) const;
  /// The latest operations by the device's clock, oldest first; those in graphs too.
  std::vector<cuda::DeviceStamp> stamps() const;
  std::string latest_text() const;

  std::shared_ptr<DeviceTeam> team_;
  int rank_;
  uint64_t timeout_ns_;
  uint64_t max_slice_bytes_;
  std::array<std::vector<Row>, kCollectives> tables_;
  std::array<std::vector<Row>, kCollectives> registered_tables_;  // for calls whose buffers are registered
  std::vector<Entry> entries_;
  /// [collective][algorithm]: the first entry, of root 0; the other roots follow. -1: none.
  std::array<std::array<int, plan::kAlgorithms>, kCollectives> first_entry_{};
  cuda::DeviceMemory programs_;
  cuda::PinnedMemory one_;  // the value that give_up() sends
  CUstream private_stream_ = nullptr;
  CUevent latest_ = nullptr;
  CUevent joint_ = nullptr;  // of join() and part()
  CUstream latest_stream_ = nullptr;
  bool has_latest_ = false;
  uint64_t in_place_ = 0;  // calls on registered buffers
};

}  // namespace tutti
