#include "runtime/device/device_communicator.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>

#include "collectives/algorithms/algorithms.h"
#include "collectives/executors/cuda/device_packet.h"
#include "collectives/plan/program.h"
#include "core/error.h"
#include "runtime/device/faults.h"
#include "runtime/device/named_range.h"

namespace tutti {

namespace {

constexpr uint64_t kSliceBytes = 512 * 1024;
/// Between nodes, where slices pipeline through more stages: as the host's.
constexpr uint64_t kNetworkSliceBytes = 128 * 1024;
/// Fewer bytes are not worth another block.
constexpr uint64_t kPartBytes = 64 * 1024;
constexpr uint64_t kPacketPartBytes = 4 * 1024;
/// Parts begin at cache lines.
constexpr uint64_t kPartAlignment = 128;

constexpr plan::PacketFormat kDevicePacket = {.bytes = sizeof(cuda::DevicePacket),
                                              .data = cuda::kDevicePacketData};

constexpr uint64_t divide_up(uint64_t value, uint64_t by) {
  return (value + by - 1) / by;
}

uint64_t acquire(const uint64_t& word) {
  return std::atomic_ref(const_cast<uint64_t&>(word)).load(std::memory_order_acquire);  // NOLINT
}

}  // namespace

DeviceCommunicator::DeviceCommunicator(std::shared_ptr<DeviceTeam> team, int rank, const Settings& settings)
    : team_(std::move(team)),
      rank_(rank),
      timeout_ns_(settings.timeout_ns),
      max_slice_bytes_(settings.tuning.slice_bytes != 0 ? settings.tuning.slice_bytes
                       : team_->network                 ? kNetworkSliceBytes
                                                        : kSliceBytes) {
  const cuda::Driver& driver = cuda_device().driver();
  const cuda::ContextGuard guard(cuda_device());
  one_ = cuda::PinnedMemory(own().device, sizeof(uint64_t));
  *one_.as<uint64_t>() = 1 + static_cast<uint64_t>(rank);
  driver.check(driver.cuStreamCreate(&private_stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  driver.check(driver.cuEventCreate(&latest_, CU_EVENT_DISABLE_TIMING), "cuEventCreate");
  driver.check(driver.cuEventCreate(&joint_, CU_EVENT_DISABLE_TIMING), "cuEventCreate");
  build_programs(settings);
  // From here on the communicator is there to spread errors.
  if (team_->network) team_->network->progress().watch(team_->alarm);
}

DeviceCommunicator::~DeviceCommunicator() {
  const cuda::Driver& driver = cuda_device().driver();
  try {
    const cuda::ContextGuard guard(cuda_device());
    if (has_latest_) static_cast<void>(driver.cuEventSynchronize(latest_));
    static_cast<void>(driver.cuStreamSynchronize(private_stream_));
    static_cast<void>(driver.cuEventDestroy(latest_));
    static_cast<void>(driver.cuEventDestroy(joint_));
    static_cast<void>(driver.cuStreamDestroy(private_stream_));
  } catch (const Error&) {  // NOLINT(bugprone-empty-catch): the context is gone, and everything in it
  }
  if (!team_->network) return;
  // What was posted last may still be on its way to ranks that are late.
  const bool failed = acquire(team_->words(rank_).abort) != 0 || DeviceCommunicator::failure();
  team_->network->progress().finish(failed ? Progress::kPatienceAfterErrorNs : Progress::kPatienceNs);
}

JobShape DeviceCommunicator::shape() const {
  JobShape shape = JobShape::one_node(team_->ranks());
  if (!team_->nodes.empty()) shape.nodes = 1 + *std::max_element(team_->nodes.begin(), team_->nodes.end());
  shape.one_process = team_->one_process;
  shape.on_device = true;
  return shape;
}

/// Of one part.
plan::Limits DeviceCommunicator::limits() const {
  return {.slots_bytes = team_->layout.slots_bytes / 2,
          .packets_bytes = team_->layout.packets_bytes / 2,
          .max_slice_bytes = max_slice_bytes_,
          .packet = kDevicePacket};
}

// ---- programs ---------------------------------------------------------------------------------------------------------

plan::Shape DeviceCommunicator::plan_shape(plan::Algorithm algorithm, int rank, int root,
                                           const Settings& settings) const {
  return {.ranks = static_cast<uint16_t>(team_->ranks()),
          .rank = static_cast<uint16_t>(rank),
          .root = static_cast<uint16_t>(root),
          .credits = static_cast<uint16_t>(credits_for(algorithm, settings.tuning)),
          .nodes = team_->nodes,
          .one_process = team_->one_process || team_->registrations};
}

/// From the plans of all ranks: which areas others put to is not in a rank's own.
plan::NetworkAreas DeviceCommunicator::network_areas(Collective collective, plan::Algorithm algorithm,
                                                     int root, const Settings& settings) const {
  plan::NetworkAreas areas;
  for (int rank = 0; !team_->nodes.empty() && rank < team_->ranks(); ++rank) {
    plan::add_network_areas(
        algorithms::build(collective, algorithm, plan_shape(algorithm, rank, root, settings)), areas);
  }
  return areas;
}

void DeviceCommunicator::build_programs(const Settings& settings) {
  for (auto& row : first_entry_) row.fill(-1);
  // Of all parts together: as many bytes in packets as the parts that such a message is cut into hold. Between nodes there is one.
  const uint64_t worth = kPacketPartBytes / kDevicePacket.data * kDevicePacket.bytes;
  const uint64_t packet_part =
      team_->network ? limits().packets_bytes : std::min(limits().packets_bytes, worth);
  const ScratchLimits scratch = {.slots_bytes = limits().slots_bytes,
                                 .packets_bytes = team_->layout.parts * packet_part,
                                 .packet = kDevicePacket};
  std::vector<std::vector<std::byte>> programs;
  for (int c = 0; c < kCollectives; ++c) {
    const auto collective = static_cast<Collective>(c);
    const auto at = static_cast<size_t>(c);
    tables_[at] = selection_table(collective, shape(), settings.tuning, scratch);
    add_programs(collective, tables_[at], settings, programs);
    if (!team_->registrations) continue;
    JobShape registered = shape();
    registered.one_process = true;  // as if
    registered_tables_[at] = selection_table(collective, registered, settings.tuning, scratch);
    add_programs(collective, registered_tables_[at], settings, programs);
  }
  upload_programs(programs);
}

/// Those of the table that are not there yet, for every root.
void DeviceCommunicator::add_programs(Collective collective, const std::vector<Row>& table,
                                      const Settings& settings,
                                      std::vector<std::vector<std::byte>>& programs) {
  for (const Row& row : table) {
    int& first = first_entry_[static_cast<size_t>(collective)][static_cast<size_t>(row.algorithm)];
    if (first >= 0) continue;
    first = static_cast<int>(entries_.size());
    const int roots = collective == Collective::broadcast ? team_->ranks() : 1;
    for (int root = 0; root < roots; ++root) {
      Entry& entry = entries_.emplace_back();
      entry.plan = std::make_unique<plan::Plan>(
          algorithms::build(collective, row.algorithm, plan_shape(row.algorithm, rank_, root, settings)));
      if (entry.plan->lanes.size() > cuda::kDeviceLanes)
        raise(Result::internal_error, "a plan of {} lanes; at most {}", entry.plan->lanes.size(),
              cuda::kDeviceLanes);
      programs.push_back(
          plan::flatten(*entry.plan, network_areas(collective, row.algorithm, root, settings)));
      entry.program_bytes = static_cast<uint32_t>(programs.back().size());
    }
  }
}

void DeviceCommunicator::upload_programs(const std::vector<std::vector<std::byte>>& programs) {
  std::vector<std::byte> all;
  for (const auto& program : programs) all.insert(all.end(), program.begin(), program.end());
  const cuda::Driver& driver = cuda_device().driver();
  programs_ = cuda::DeviceMemory(own().device, all.size());
  driver.check(driver.cuMemcpyHtoDAsync(programs_.address(), all.data(), all.size(), private_stream_),
               fmt::format("uploading {} bytes of plans", all.size()));
  driver.check(driver.cuStreamSynchronize(private_stream_),
               fmt::format("uploading {} bytes of plans", all.size()));
  CUdeviceptr at = programs_.address();
  for (Entry& entry : entries_) {
    entry.program = at;
    at += entry.program_bytes;
  }
}

plan::Algorithm DeviceCommunicator::algorithm_for(Collective collective, uint64_t bytes) const {
  return select(tables_[static_cast<size_t>(collective)], bytes);
}

DeviceCommunicator::Entry& DeviceCommunicator::entry_for(const Call& call, plan::Algorithm algorithm) {
  const int first = first_entry_[static_cast<size_t>(call.collective)][static_cast<size_t>(algorithm)];
  return entries_[static_cast<size_t>(first) + static_cast<size_t>(call.root)];
}

/// Cuts a message into parts; the same on every rank.
void DeviceCommunicator::split(Entry& entry, uint64_t count, uint32_t element) const {
  const uint64_t worth = entry.plan->whole ? kPacketPartBytes : kPartBytes;
  const uint64_t parts = std::clamp<uint64_t>(divide_up(count * element, worth), 1, team_->layout.parts);
  const uint64_t unit = kPartAlignment / element;
  const uint64_t per_part = divide_up(divide_up(count, parts), unit) * unit;
  entry.count = count;
  entry.element = element;
  entry.parts = count == 0 ? 1 : static_cast<uint32_t>(divide_up(count, per_part));
  entry.part_bytes = per_part * element;
  entry.part = plan::bind(*entry.plan, std::min(per_part, count), element, limits());
  entry.last = plan::bind(*entry.plan, count - (entry.parts - 1) * per_part, element, limits());
}

// ---- operations -------------------------------------------------------------------------------------------------------

bool DeviceCommunicator::lend(const Call& call, const void* send, const void* recv, Loans& loans) const {
  if (!team_->registrations) {
    loans = {reinterpret_cast<uint64_t>(send), reinterpret_cast<uint64_t>(recv)};
    return false;
  }
  loans.output = team_->registrations->lend(recv, call.bytes());
  if (call.sends(rank_)) loans.input = team_->registrations->lend(send, call.bytes());
  return loans.output != cuda::kNoLoan && (!call.sends(rank_) || loans.input != cuda::kNoLoan);
}

DeviceCommunicator::Prepared DeviceCommunicator::prepare(Call call, const void* send, void* recv) {
  Loans loans;
  call.registered = lend(call, send, recv, loans);
  const auto& tables = call.registered ? registered_tables_ : tables_;
  Entry& entry = entry_for(call, select(tables[static_cast<size_t>(call.collective)], call.bytes()));
  // Ranks that choose the same plan either way need not agree.
  call.registered = call.registered && entry.plan->direct;
  if (call.registered) ++in_place_;
  const auto element = static_cast<uint32_t>(size_of(call.datatype));
  if (entry.count != call.count || entry.element != element) split(entry, call.count, element);
  Prepared prepared;
  prepared.arguments = {
      .rank = team_->rank_state(rank_),
      .program = reinterpret_cast<const std::byte*>(entry.program),  // NOLINT(performance-no-int-to-ptr)
      .input = static_cast<const std::byte*>(send),
      .output = static_cast<std::byte*>(recv),
      .part = entry.part,
      .last = entry.last,
      .part_bytes = entry.part_bytes,
      .call = pack(call),
      .count = call.count,
      .timeout_ns = timeout_ns_,
      .program_bytes = entry.program_bytes,
      .parts = entry.parts,
      .first_block = 0,
      .divisor = call.op == ReduceOp::avg ? static_cast<uint32_t>(team_->ranks()) : 0,
      .direct = entry.plan->direct ? 1U : 0U,
      .input_loan = loans.input,
      .output_loan = loans.output};
  prepared.kernel = kernels().kernel(call.op, call.datatype);
  prepared.blocks = entry.parts;
  return prepared;
}

CUresult DeviceCommunicator::follow(CUstream stream) {
  if (!has_latest_ || stream == latest_stream_) return CUDA_SUCCESS;
  const cuda::Driver& driver = cuda_device().driver();
  CUstreamCaptureStatus capturing = CU_STREAM_CAPTURE_STATUS_NONE;
  const CUresult asked = driver.cuStreamIsCapturing(stream, &capturing);
  if (asked != CUDA_SUCCESS) return asked;
  // An event from outside of a graph cannot be waited for within it.
  if (capturing != CU_STREAM_CAPTURE_STATUS_NONE) return CUDA_SUCCESS;
  return driver.cuStreamWaitEvent(stream, latest_, CU_EVENT_WAIT_DEFAULT);
}

CUresult DeviceCommunicator::launched(CUstream stream) {
  const cuda::Driver& driver = cuda_device().driver();
  CUstreamCaptureStatus capturing = CU_STREAM_CAPTURE_STATUS_NONE;
  const CUresult asked = driver.cuStreamIsCapturing(stream, &capturing);
  if (asked != CUDA_SUCCESS || capturing != CU_STREAM_CAPTURE_STATUS_NONE) return asked;
  if (team_->network) team_->network->progress().wake();
  latest_stream_ = stream;
  has_latest_ = true;
  return driver.cuEventRecord(latest_, stream);
}

CUresult DeviceCommunicator::join(CUstream stream, CUstream common) {
  const cuda::Driver& driver = cuda_device().driver();
  if (stream != common) {
    if (const CUresult recorded = driver.cuEventRecord(joint_, stream); recorded != CUDA_SUCCESS)
      return recorded;
    const CUresult waits = driver.cuStreamWaitEvent(common, joint_, CU_EVENT_WAIT_DEFAULT);
    if (waits != CUDA_SUCCESS) return waits;
  }
  return follow(common);
}

CUresult DeviceCommunicator::part(CUstream common, CUstream stream) {
  const cuda::Driver& driver = cuda_device().driver();
  if (stream != common) {
    if (const CUresult recorded = driver.cuEventRecord(joint_, common); recorded != CUDA_SUCCESS)
      return recorded;
    const CUresult waits = driver.cuStreamWaitEvent(stream, joint_, CU_EVENT_WAIT_DEFAULT);
    if (waits != CUDA_SUCCESS) return waits;
  }
  return launched(stream);
}

Result DeviceCommunicator::enqueue(const Call& call, const void* send, void* recv, void* stream,
                                   std::string& problem) {
  const cuda::ContextGuard guard(cuda_device());
  const NamedRange range(call.collective);
  const Prepared prepared = prepare(call, send, recv);
  const auto cuda_stream = static_cast<CUstream>(stream);
  cuda::Launch launch{};
  launch.ranks = 1;
  launch.rank[0] = prepared.arguments;
  CUresult result = follow(cuda_stream);
  if (result == CUDA_SUCCESS) {
    result = cuda::enqueue(kernels(), prepared.kernel, launch, prepared.blocks, cuda_stream,
                           cuda::Residency::by_caller);
  }
  if (result == CUDA_SUCCESS) result = launched(cuda_stream);
  if (result == CUDA_SUCCESS) return Result::success;
  problem = fmt::format("launching {} blocks on device {}: {}", prepared.blocks, device(),
                        cuda_device().driver().text(result));
  return Result::system_error;
}

Place DeviceCommunicator::place_of(const void* pointer) const noexcept {
  const cuda::PointerInfo info = cuda::inspect(cuda_device(), pointer);
  if (info.result != CUDA_SUCCESS) return Place::unknown;
  switch (info.kind) {
    case cuda::MemoryKind::host:
      return Place::host;
    case cuda::MemoryKind::pinned:
      return Place::pinned;
    case cuda::MemoryKind::managed:
    case cuda::MemoryKind::device:
      return Place::device;
  }
  return Place::unknown;
}

// ---- registered buffers -----------------------------------------------------------------------------------------------

std::string DeviceCommunicator::freed_buffer(const Call& call, const void* send, const void* recv) const {
  if (!team_->registrations || call.bytes() == 0) return "";
  const bool output = team_->registrations->is_stale(recv, call.bytes());
  if (!output && !(call.sends(rank_) && team_->registrations->is_stale(send, call.bytes()))) return "";
  return fmt::format(
      "the {} buffer is registered, but what was registered there has been freed since; expected "
      "tutti_deregister before memory is freed",
      output ? "receive" : "send");
}

void DeviceCommunicator::register_buffer(uint64_t id, const void* buffer, size_t bytes) {
  if (!team_->registrations) return;
  // Mapping memory may wait for what runs on the device.
  await_own_operations();
  team_->registrations->add(id, buffer, bytes);
}

void DeviceCommunicator::deregister_buffer(uint64_t id) {
  if (!team_->registrations) return;
  await_own_operations();
  team_->registrations->remove(id);
}

/// They end at their deadline at the latest.
void DeviceCommunicator::await_own_operations() const {
  if (!has_latest_) return;
  const cuda::ContextGuard guard(cuda_device());
  cuda_device().driver().check(cuda_device().driver().cuEventSynchronize(latest_), "waiting for operations");
}

// ---- what went wrong, and when things happened ------------------------------------------------------------------------

std::optional<DevicePath::Failure> DeviceCommunicator::failure() const {
  if (team_->network) {
    // Then kernels gave up because of it.
    if (const auto lost = team_->network->progress().failure())
      return Failure{lost->rank >= 0 ? Result::peer_lost : Result::system_error, lost->text};
  }
  const cuda::DeviceFault& fault = team_->words(rank_).fault;
  if (acquire(fault.state) == 0) return std::nullopt;
  Failure failure = explain(fault, timeout_ns_);
  const auto peer = static_cast<size_t>(fault.peer);
  if (failure.code == Result::timeout && peer < team_->members.size() && !team_->members[peer].mapped)
    failure.text += fmt::format("; its device memory is reached by {}", team_->network->route(fault.peer));
  return failure;
}

void DeviceCommunicator::give_up() noexcept {
  // This rank's own kernels look here; kernels of other ranks, at their windows, which a copy reaches while they run.
  std::atomic_ref(team_->words(rank_).abort).store(1, std::memory_order_release);
  const cuda::Driver& driver = cuda_device().driver();
  try {
    const cuda::ContextGuard guard(cuda_device());
    for (const DeviceMember& member : team_->members) {
      if (member.mapped == nullptr) continue;
      const auto word = reinterpret_cast<CUdeviceptr>(&team_->layout.control(member.mapped)->abort);
      static_cast<void>(
          driver.cuMemcpyHtoDAsync(word, one_.as<uint64_t>(), sizeof(uint64_t), private_stream_));
    }
  } catch (const Error&) {  // NOLINT(bugprone-empty-catch): the others find out by their deadlines
  }
}

/// "; operation 12 took 35.2 us, of which 20.1 us until the last peer was there"; of the latest one, graphs included.
std::string DeviceCommunicator::latest_text() const {
  const std::vector<cuda::DeviceStamp> all = stamps();
  if (all.empty()) return "";
  const cuda::DeviceStamp& latest = all.back();
  const auto us = [&](uint64_t ns) { return static_cast<double>(ns - latest.arrival) * 1e-3; };
  return fmt::format("; operation {} took {:.1f} us, of which {:.1f} us until the last peer was there",
                     latest.epoch, us(latest.exit), us(latest.last_dependency));
}

std::string DeviceCommunicator::describe() const {
  return fmt::format("device {} ({}), at most {} thread blocks, {} KiB of scratch each, {}{}{}{}", device(),
                     cuda_device().facts().name, team_->layout.parts,
                     (team_->layout.packets_bytes + team_->layout.slots_bytes) / 1024,
                     team_->one_process ? "buffers of all ranks in one process"
                     : team_->network   ? "windows of its node, pinned memory and a network to others"
                                        : "windows of other processes",
                     team_->registrations ? team_->registrations->describe(in_place_) : "", latest_text(),
                     team_->network ? team_->network->describe() : "");
}

std::vector<cuda::DeviceStamp> DeviceCommunicator::stamps() const {
  std::vector<cuda::DeviceStamp> stamps(cuda::kStamps);
  const cuda::Driver& driver = cuda_device().driver();
  const cuda::ContextGuard guard(cuda_device());
  const size_t bytes = stamps.size() * sizeof(cuda::DeviceStamp);
  driver.check(driver.cuMemcpyDtoHAsync(stamps.data(), team_->stamps(rank_), bytes, private_stream_),
               "reading stamps");
  driver.check(driver.cuStreamSynchronize(private_stream_), "reading stamps");
  // One that was being written while it was read is not in order.
  std::erase_if(stamps, [](const cuda::DeviceStamp& s) {
    return s.epoch == 0 || s.last_dependency < s.arrival || s.exit < s.last_dependency;
  });
  std::sort(stamps.begin(), stamps.end(), [](const auto& a, const auto& b) { return a.epoch < b.epoch; });
  return stamps;
}

}  // namespace tutti
