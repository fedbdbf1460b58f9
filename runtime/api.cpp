// The C interface (include/tutti/tutti.h): checks what it is given, catches everything, keeps the text of errors.
#include <fmt/format.h>
#include <unistd.h>

#include <climits>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "core/env.h"
#include "core/error.h"
#include "core/log.h"
#include "include/tutti/tutti.h"
#include "runtime/bootstrap/launch.h"
#include "runtime/bootstrap/unique_id.h"
#include "runtime/describe.h"
#include "runtime/device.h"
#include "runtime/group.h"
#include "runtime/handles.h"

namespace {

using tutti::Call;
using tutti::Collective;
using tutti::Communicator;
using tutti::DataType;
using tutti::ReduceOp;
using tutti::Result;

static_assert(TUTTI_INTERNAL_ERROR == static_cast<int>(Result::internal_error));
static_assert(TUTTI_FLOAT64 == static_cast<int>(DataType::float64));
static_assert(TUTTI_FLOAT8_E5M2 == static_cast<int>(DataType::float8_e5m2) &&
              TUTTI_FLOAT8_E5M2 + 1 == tutti::kDataTypes);
static_assert(TUTTI_AVG == static_cast<int>(ReduceOp::avg) && TUTTI_AVG + 1 == tutti::kReduceOps);
static_assert(sizeof(tutti_unique_id_t) == sizeof(tutti::UniqueId));

constexpr int kMaxRanks = 65535;

thread_local std::string last_error;

tutti_result_t fail(Result code, std::string text) {
  last_error = std::move(text);
  return static_cast<tutti_result_t>(code);
}

/// Runs set-up code: whatever it throws becomes a result and a text.
template <typename Body>
tutti_result_t guarded(Body&& body) noexcept {
  try {
    body();
    return TUTTI_SUCCESS;
  } catch (const tutti::Error& e) {
    return fail(e.code(), e.what());
  } catch (const std::bad_alloc&) {
    return fail(Result::system_error, "out of memory");
  } catch (const std::exception& e) {
    return fail(Result::internal_error, e.what());
  } catch (...) {
    return fail(Result::internal_error, "an unknown exception");
  }
}

tutti_result_t no_communicator(const char* function, const void* handle, bool forked) {
  if (forked) {
    return fail(Result::invalid_usage,
                fmt::format("{}: the communicator belongs to the process that this one was forked from; a "
                            "child process must create its own",
                            function));
  }
  if (handle == nullptr)
    return fail(Result::invalid_argument, fmt::format("{}: the communicator is null", function));
  return fail(Result::invalid_usage,
              fmt::format("{}: {} is no communicator, or one that was destroyed", function, handle));
}

/// The arguments all collectives share. False: `result` says why not.
bool check_arguments(const char* function, const Communicator& comm, int64_t count, tutti_datatype_t datatype,
                     tutti_result_t& result) {
  const auto refuse = [&](Result code, const std::string& what) {
    result = fail(code, fmt::format("rank {}: {}: {}", comm.rank(), function, what));
    return false;
  };
  const auto type = static_cast<unsigned>(datatype);
  if (type >= tutti::kDataTypes) {
    return refuse(Result::invalid_argument,
                  fmt::format("datatype {} does not exist; expected 0 (int8) to {} (float8_e5m2)", type,
                              tutti::kDataTypes - 1));
  }
  if (count < 0) return refuse(Result::invalid_argument, fmt::format("count {} is negative", count));
  if (count > INT64_MAX / static_cast<int64_t>(tutti::size_of(static_cast<DataType>(type)))) {
    return refuse(Result::invalid_argument, fmt::format("count {} of {} is more bytes than memory can hold",
                                                        count, name_of(static_cast<DataType>(type))));
  }
  return true;
}

bool check_op(const Communicator& comm, tutti_op_t op, tutti_result_t& result) {
  const auto value = static_cast<unsigned>(op);
  if (value < tutti::kReduceOps) return true;
  result = fail(Result::invalid_argument,
                fmt::format("rank {}: tutti_all_reduce: operator {} does not exist; expected 0 (sum) to "
                            "{} (avg)",
                            comm.rank(), value, tutti::kReduceOps - 1));
  return false;
}

bool check_root(const Communicator& comm, int root, tutti_result_t& result) {
  if (root >= 0 && root < comm.size()) return true;
  result = fail(Result::invalid_argument,
                fmt::format("rank {}: tutti_broadcast: root {} does not exist; expected 0 to {}", comm.rank(),
                            root, comm.size() - 1));
  return false;
}

void check_outside_group(const char* function, const Communicator& comm) {
  if (!tutti::Group::is_open()) return;
  tutti::raise(Result::invalid_usage,
               "rank {}: {} between tutti_group_start and tutti_group_end; expected before or after",
               comm.rank(), function);
}

tutti_result_t refuse_request(const Communicator& comm, const Call& call) {
  return fail(Result::invalid_usage, fmt::format("rank {}: {}: an operation on device memory is asynchronous "
                                                 "by itself, its stream tells when it is complete; "
                                                 "expected the call without a request",
                                                 comm.rank(), tutti::describe(call)));
}

/// Runs a checked call, waiting for it where `request` is null. The data path: only a mistake or a defect throws below it.
tutti_result_t submit(Communicator& comm, tutti_comm_t handle, const Call& call, const void* send, void* recv,
                      tutti_stream_t stream, tutti_request_t* request) noexcept {
  try {
    Result result = Result::success;
    bool on_device = false;
    if (comm.looks_at_memory() || stream != nullptr) [[unlikely]]
      result = comm.choose_place(call, send, recv, stream, on_device);
    if (result != Result::success) return fail(result, comm.error_text());
    if (request == nullptr && tutti::Group::is_open()) [[unlikely]] {
      result = tutti::Group::add({&comm, handle, call, send, recv, stream, on_device});
    } else if (on_device) {
      if (request != nullptr) return refuse_request(comm, call);
      result = comm.run_on_device(call, send, recv, stream);
    } else if (request == nullptr) {
      result = comm.run(call, send, recv);
    } else {
      uint64_t ticket = 0;
      result = comm.begin(call, send, recv, ticket);
      if (result == Result::success) *request = tutti::handles::make_request(handle, ticket);
    }
    if (result == Result::success) [[likely]]
      return TUTTI_SUCCESS;
    return fail(result, comm.error_text());
  } catch (const tutti::Error& e) {
    return fail(e.code(), e.what());
  } catch (const std::exception& e) {
    return fail(Result::internal_error, e.what());
  }
}

tutti_result_t all_reduce(const void* send, void* recv, int64_t count, tutti_datatype_t datatype,
                          tutti_op_t op, tutti_comm_t handle, tutti_stream_t stream,
                          tutti_request_t* request) {
  bool forked = false;
  Communicator* comm = tutti::handles::find(handle, forked);
  if (comm == nullptr) return no_communicator("tutti_all_reduce", handle, forked);
  tutti_result_t result = TUTTI_SUCCESS;
  if (!check_arguments("tutti_all_reduce", *comm, count, datatype, result) || !check_op(*comm, op, result))
    return result;
  const Call call = {.collective = Collective::all_reduce,
                     .datatype = static_cast<DataType>(datatype),
                     .op = static_cast<ReduceOp>(op),
                     .root = 0,
                     .count = static_cast<uint64_t>(count)};
  return submit(*comm, handle, call, send, recv, stream, request);
}

tutti_result_t broadcast(const void* send, void* recv, int64_t count, tutti_datatype_t datatype, int root,
                         tutti_comm_t handle, tutti_stream_t stream, tutti_request_t* request) {
  bool forked = false;
  Communicator* comm = tutti::handles::find(handle, forked);
  if (comm == nullptr) return no_communicator("tutti_broadcast", handle, forked);
  tutti_result_t result = TUTTI_SUCCESS;
  if (!check_arguments("tutti_broadcast", *comm, count, datatype, result) || !check_root(*comm, root, result))
    return result;
  const Call call = {.collective = Collective::broadcast,
                     .datatype = static_cast<DataType>(datatype),
                     .op = ReduceOp::sum,
                     .root = root,
                     .count = static_cast<uint64_t>(count)};
  return submit(*comm, handle, call, send, recv, stream, request);
}

tutti_result_t barrier(tutti_comm_t handle, tutti_stream_t stream, tutti_request_t* request) {
  bool forked = false;
  Communicator* comm = tutti::handles::find(handle, forked);
  if (comm == nullptr) return no_communicator("tutti_barrier", handle, forked);
  tutti_result_t result = TUTTI_SUCCESS;
  if (!check_arguments("tutti_barrier", *comm, 0, TUTTI_UINT8, result)) return result;
  return submit(*comm, handle, Call{}, nullptr, nullptr, stream, request);
}

tutti_result_t null_request(const char* function) {
  return fail(Result::invalid_argument, fmt::format("{}: the place for the request is null", function));
}

/// Waits up to `limit_ns`, or only tests where it is 0.
tutti_result_t complete(const char* function, tutti_request_t* request, int64_t limit_ns) {
  if (request == nullptr) return null_request(function);
  if (*request == nullptr) return TUTTI_SUCCESS;
  bool forked = false;
  uint64_t ticket = 0;
  Communicator* comm = tutti::handles::find(*request, ticket, forked);
  if (comm == nullptr) {
    *request = nullptr;
    return fail(Result::invalid_usage, fmt::format("{}: the request's communicator was destroyed{}", function,
                                                   forked ? " or belongs to the parent process" : ""));
  }
  tutti_result_t result = TUTTI_SUCCESS;
  const tutti_result_t caught = guarded([&] {
    const Result r = limit_ns == 0
                         ? comm->test(ticket)
                         : comm->finish(ticket, limit_ns < 0 ? UINT64_MAX : static_cast<uint64_t>(limit_ns));
    result = static_cast<tutti_result_t>(r);
    if (r != Result::success && r != Result::in_progress) fail(r, comm->error_text());
  });
  if (caught != TUTTI_SUCCESS) result = caught;
  if (result != TUTTI_IN_PROGRESS) *request = nullptr;
  return result;
}

/// What the caller filled in, the rest as TUTTI_COMM_CONFIG_INIT has it.
tutti_comm_config_t known_fields(const tutti_comm_config_t* config) {
  tutti_comm_config_t known = TUTTI_COMM_CONFIG_INIT;
  if (config == nullptr) return known;
  // A caller built against an older header knows fewer fields; one built against a newer one may know more than this.
  if (config->struct_size < offsetof(tutti_comm_config_t, algorithm) || config->struct_size > 4096) {
    tutti::raise(Result::invalid_argument, "config.struct_size is {}; start from TUTTI_COMM_CONFIG_INIT",
                 config->struct_size);
  }
  std::memcpy(&known, config, std::min(config->struct_size, sizeof(known)));
  return known;
}

tutti::Settings settings_from(const tutti_comm_config_t* config) {
  const tutti_comm_config_t known = known_fields(config);
  tutti::Overrides overrides;
  overrides.timeout_ns = known.timeout_ns;
  overrides.setup_timeout_ns = known.setup_timeout_ns;
  overrides.device = known.device;
  if (known.algorithm != nullptr) overrides.algorithm = known.algorithm;
  const tutti::Environment& environment = tutti::Environment::process();
  if (environment.is_set(tutti::Variable::stats)) tutti::handles::write_statistics_at_exit();
  const uint64_t clock_offset = environment.duration_ns(tutti::Variable::clock_offset);
  const uint64_t clock_drift = environment.integer(tutti::Variable::clock_drift);
  if (clock_offset != 0 || clock_drift != 0) tutti::disturb_ticks(clock_offset, clock_drift);
  static const bool warned = [&] {
    for (const std::string& warning : environment.warnings()) tutti::log(tutti::Level::warn, "{}", warning);
    return true;
  }();
  static_cast<void>(warned);
  return tutti::make_settings(environment, overrides);
}

void check_ranks(int rank, int size, int most = kMaxRanks) {
  if (size < 1 || size > most)
    tutti::raise(Result::invalid_argument, "size {} is out of range; expected 1 to {}", size, most);
  if (rank < 0 || rank >= size)
    tutti::raise(Result::invalid_argument, "rank {} is out of range; expected 0 to {}", rank, size - 1);
}

tutti_comm_t create(const tutti::UniqueId& id, int rank, int size, const tutti::Settings& settings) {
  std::unique_ptr<tutti::World> world = tutti::join_world(id, rank, size, settings);
  const auto devices = world->devices;
  auto communicator = std::make_unique<Communicator>(std::move(world), settings);
  if (devices) communicator->use_device(tutti::make_device_path(devices, rank, settings));
  return tutti::handles::add(std::move(communicator));
}

/// The device of each rank of this process; empty where they have none.
std::vector<int> local_devices(const tutti_comm_config_t* config, int size, const tutti::Settings& settings) {
  const int* given = known_fields(config).devices;
  if (given != nullptr) return {given, given + size};
  std::vector<int> devices;
  const int device = tutti::wanted_device(settings);
  if (device >= 0) devices.assign(static_cast<size_t>(size), device);
  return devices;
}

/// Of a communicator, or of its device.
template <typename Chooser>
const char* algorithm_name(const Chooser& chooser, const char* collective, int64_t count,
                           tutti_datatype_t datatype) {
  if (collective == nullptr || count < 0) return nullptr;
  const uint64_t bytes = static_cast<uint64_t>(count) * tutti_datatype_size(datatype);
  for (int c = 0; c < tutti::kCollectives; ++c) {
    const auto value = static_cast<Collective>(c);
    if (name_of(value) == collective) return name_of(chooser.algorithm_for(value, bytes)).data();
  }
  return nullptr;
}

/// Copies a text out as tutti.h says: cut to `size` with the final 0, its whole length in *needed.
void copy_text(const std::string& from, char* text, size_t size, size_t* needed) {
  if (needed != nullptr) *needed = from.size() + 1;
  if (size == 0) return;
  const size_t length = std::min(from.size(), size - 1);
  std::memcpy(text, from.data(), length);
  text[length] = '\0';
}

}  // namespace

extern "C" {

int tutti_version(void) {
  return TUTTI_VERSION_MAJOR * 10000 + TUTTI_VERSION_MINOR * 100 + TUTTI_VERSION_PATCH;
}

tutti_result_t tutti_unique_id_create(tutti_unique_id_t* id) {
  return guarded([&] {
    if (id == nullptr) tutti::raise(Result::invalid_argument, "tutti_unique_id_create: id is null");
    // Not the environment of the process, which is read once and for all: a launcher may make an id, and its forked ranks have
    // variables of their own.
    const tutti::Environment environment(environ);
    const tutti::UniqueId made = tutti::UniqueId::create(environment.text(tutti::Variable::ifname),
                                                         environment.text(tutti::Variable::port_range));
    std::memcpy(id, &made, sizeof(made));
  });
}

tutti_result_t tutti_comm_create(tutti_comm_t* comm, const tutti_unique_id_t* id, int rank, int size,
                                 const tutti_comm_config_t* config) {
  return guarded([&] {
    if (comm == nullptr || id == nullptr)
      tutti::raise(Result::invalid_argument, "tutti_comm_create: {} is null",
                   comm == nullptr ? "comm" : "id");
    *comm = nullptr;
    check_ranks(rank, size);
    const tutti::Settings settings = settings_from(config);
    tutti::UniqueId unique{};
    std::memcpy(&unique, id, sizeof(unique));
    tutti::calibrate_ticks();
    *comm = create(unique, rank, size, settings);
  });
}

tutti_result_t tutti_comm_create_env(tutti_comm_t* comm, const tutti_comm_config_t* config) {
  return guarded([&] {
    if (comm == nullptr) tutti::raise(Result::invalid_argument, "tutti_comm_create_env: comm is null");
    *comm = nullptr;
    const tutti::Settings settings = settings_from(config);
    tutti::calibrate_ticks();
    const tutti::Launch launch = tutti::find_launch(tutti::Environment::process(), settings.setup_timeout_ns);
    check_ranks(launch.rank, launch.size);
    *comm = create(launch.id, launch.rank, launch.size, settings);
  });
}

tutti_result_t tutti_comm_create_local(tutti_comm_t* comms, int size, const tutti_comm_config_t* config) {
  return guarded([&] {
    if (comms == nullptr) tutti::raise(Result::invalid_argument, "tutti_comm_create_local: comms is null");
    check_ranks(0, size, tutti::kMaxLocalRanks);
    const tutti::Settings settings = settings_from(config);
    tutti::calibrate_ticks();
    std::vector<std::unique_ptr<Communicator>> made;
    made.reserve(static_cast<size_t>(size));
    const auto node = tutti::make_local_node(size, settings.scratch_bytes);
    const std::vector<int> devices = local_devices(config, size, settings);
    const auto team = devices.empty() ? nullptr : tutti::make_local_devices(devices, settings);
    for (int r = 0; r < size; ++r) {
      made.push_back(std::make_unique<Communicator>(tutti::local_world(node, r), settings));
      if (team) made.back()->use_device(tutti::make_device_path(team, r, settings));
    }
    for (int r = 0; r < size; ++r) comms[r] = tutti::handles::add(std::move(made[static_cast<size_t>(r)]));
  });
}

tutti_result_t tutti_comm_destroy(tutti_comm_t comm) {
  if (comm == nullptr) return TUTTI_SUCCESS;
  tutti_result_t result = TUTTI_SUCCESS;
  const tutti_result_t caught = guarded([&] {
    if (!tutti::handles::remove(comm)) result = no_communicator("tutti_comm_destroy", comm, false);
  });
  return caught != TUTTI_SUCCESS ? caught : result;
}

tutti_result_t tutti_comm_abort(tutti_comm_t comm) {
  bool forked = false;
  Communicator* found = tutti::handles::find(comm, forked);
  if (found == nullptr) return no_communicator("tutti_comm_abort", comm, forked);
  return guarded([&] { found->abort(); });
}

tutti_result_t tutti_comm_query(tutti_comm_t comm) {
  bool forked = false;
  Communicator* found = tutti::handles::find(comm, forked);
  if (found == nullptr) return no_communicator("tutti_comm_query", comm, forked);
  const Result result = found->query();
  return result == Result::success ? TUTTI_SUCCESS : fail(result, found->error_text());
}

tutti_result_t tutti_comm_rank(tutti_comm_t comm, int* rank) {
  bool forked = false;
  const Communicator* found = tutti::handles::find(comm, forked);
  if (found == nullptr) return no_communicator("tutti_comm_rank", comm, forked);
  if (rank == nullptr) return fail(Result::invalid_argument, "tutti_comm_rank: rank is null");
  *rank = found->rank();
  return TUTTI_SUCCESS;
}

tutti_result_t tutti_comm_size(tutti_comm_t comm, int* size) {
  bool forked = false;
  const Communicator* found = tutti::handles::find(comm, forked);
  if (found == nullptr) return no_communicator("tutti_comm_size", comm, forked);
  if (size == nullptr) return fail(Result::invalid_argument, "tutti_comm_size: size is null");
  *size = found->size();
  return TUTTI_SUCCESS;
}

tutti_result_t tutti_comm_node_count(tutti_comm_t comm, int* nodes) {
  bool forked = false;
  const Communicator* found = tutti::handles::find(comm, forked);
  if (found == nullptr) return no_communicator("tutti_comm_node_count", comm, forked);
  if (nodes == nullptr) return fail(Result::invalid_argument, "tutti_comm_node_count: nodes is null");
  *nodes = found->nodes();
  return TUTTI_SUCCESS;
}

tutti_result_t tutti_all_reduce(const void* send, void* recv, int64_t count, tutti_datatype_t datatype,
                                tutti_op_t op, tutti_comm_t comm, tutti_stream_t stream) {
  return all_reduce(send, recv, count, datatype, op, comm, stream, nullptr);
}

tutti_result_t tutti_broadcast(const void* send, void* recv, int64_t count, tutti_datatype_t datatype,
                               int root, tutti_comm_t comm, tutti_stream_t stream) {
  return broadcast(send, recv, count, datatype, root, comm, stream, nullptr);
}

tutti_result_t tutti_barrier(tutti_comm_t comm, tutti_stream_t stream) {
  return barrier(comm, stream, nullptr);
}

tutti_result_t tutti_all_reduce_async(const void* send, void* recv, int64_t count, tutti_datatype_t datatype,
                                      tutti_op_t op, tutti_comm_t comm, tutti_stream_t stream,
                                      tutti_request_t* request) {
  if (request == nullptr) return null_request("tutti_all_reduce_async");
  *request = nullptr;
  return all_reduce(send, recv, count, datatype, op, comm, stream, request);
}

tutti_result_t tutti_broadcast_async(const void* send, void* recv, int64_t count, tutti_datatype_t datatype,
                                     int root, tutti_comm_t comm, tutti_stream_t stream,
                                     tutti_request_t* request) {
  if (request == nullptr) return null_request("tutti_broadcast_async");
  *request = nullptr;
  return broadcast(send, recv, count, datatype, root, comm, stream, request);
}

tutti_result_t tutti_barrier_async(tutti_comm_t comm, tutti_stream_t stream, tutti_request_t* request) {
  if (request == nullptr) return null_request("tutti_barrier_async");
  *request = nullptr;
  return barrier(comm, stream, request);
}

tutti_result_t tutti_request_test(tutti_request_t* request) {
  return complete("tutti_request_test", request, 0);
}

tutti_result_t tutti_request_wait(tutti_request_t* request, int64_t limit_ns) {
  return complete("tutti_request_wait", request, limit_ns);
}

tutti_result_t tutti_comm_device(tutti_comm_t comm, int* device) {
  bool forked = false;
  const Communicator* found = tutti::handles::find(comm, forked);
  if (found == nullptr) return no_communicator("tutti_comm_device", comm, forked);
  if (device == nullptr) return fail(Result::invalid_argument, "tutti_comm_device: device is null");
  *device = found->device() != nullptr ? found->device()->device() : TUTTI_DEVICE_NONE;
  return TUTTI_SUCCESS;
}

tutti_result_t tutti_group_start(void) {
  tutti::Group::start();
  return TUTTI_SUCCESS;
}

tutti_result_t tutti_group_end(void) {
  tutti_result_t result = TUTTI_SUCCESS;
  const tutti_result_t caught = guarded([&] {
    std::string text;
    const Result r = tutti::Group::end(text);
    if (r != Result::success) result = fail(r, std::move(text));
  });
  return caught != TUTTI_SUCCESS ? caught : result;
}

tutti_result_t tutti_mem_alloc(void** memory, size_t bytes, int device) {
  return guarded([&] {
    if (memory == nullptr) tutti::raise(Result::invalid_argument, "tutti_mem_alloc: memory is null");
    *memory = nullptr;
    if (bytes == 0) tutti::raise(Result::invalid_argument, "tutti_mem_alloc: 0 bytes; expected at least 1");
    *memory = tutti::allocate_device_memory(bytes, device);
  });
}

tutti_result_t tutti_mem_free(void* memory) {
  return guarded([&] { tutti::free_device_memory(memory); });
}

tutti_result_t tutti_register(tutti_comm_t comm, void* buffer, size_t bytes,
                              tutti_registration_t* registration) {
  bool forked = false;
  Communicator* found = tutti::handles::find(comm, forked);
  if (found == nullptr) return no_communicator("tutti_register", comm, forked);
  return guarded([&] {
    if (registration == nullptr)
      tutti::raise(Result::invalid_argument, "rank {}: tutti_register: registration is null", found->rank());
    *registration = nullptr;
    check_outside_group("tutti_register", *found);
    // NOLINTNEXTLINE(performance-no-int-to-ptr): a number in a pointer's clothes, as all handles
    *registration = reinterpret_cast<tutti_registration_t>(found->register_buffer(buffer, bytes));
  });
}

tutti_result_t tutti_deregister(tutti_comm_t comm, tutti_registration_t registration) {
  bool forked = false;
  Communicator* found = tutti::handles::find(comm, forked);
  if (found == nullptr) return no_communicator("tutti_deregister", comm, forked);
  return guarded([&] {
    check_outside_group("tutti_deregister", *found);
    found->deregister_buffer(reinterpret_cast<uint64_t>(registration));
  });
}

const char* tutti_last_error(void) {
  return last_error.c_str();
}

const char* tutti_result_name(tutti_result_t result) {
  const auto value = static_cast<unsigned>(result);
  return value <= TUTTI_INTERNAL_ERROR ? name_of(static_cast<Result>(value)).data() : "unknown";
}

const char* tutti_datatype_name(tutti_datatype_t datatype) {
  const auto value = static_cast<unsigned>(datatype);
  return value < tutti::kDataTypes ? name_of(static_cast<DataType>(value)).data() : "unknown";
}

const char* tutti_op_name(tutti_op_t op) {
  const auto value = static_cast<unsigned>(op);
  return value < tutti::kReduceOps ? name_of(static_cast<ReduceOp>(value)).data() : "unknown";
}

size_t tutti_datatype_size(tutti_datatype_t datatype) {
  const auto value = static_cast<unsigned>(datatype);
  return value < tutti::kDataTypes ? tutti::size_of(static_cast<DataType>(value)) : 0;
}

const char* tutti_algorithm_name(tutti_comm_t comm, const char* collective, int64_t count,
                                 tutti_datatype_t datatype) {
  bool forked = false;
  const Communicator* found = tutti::handles::find(comm, forked);
  return found == nullptr ? nullptr : algorithm_name(*found, collective, count, datatype);
}

const char* tutti_device_algorithm_name(tutti_comm_t comm, const char* collective, int64_t count,
                                        tutti_datatype_t datatype) {
  bool forked = false;
  const Communicator* found = tutti::handles::find(comm, forked);
  return found == nullptr || found->device() == nullptr
             ? nullptr
             : algorithm_name(*found->device(), collective, count, datatype);
}

tutti_result_t tutti_describe(const char* format, int ranks, char* text, size_t size, size_t* needed) {
  return guarded([&] {
    if (format == nullptr || (text == nullptr && size != 0)) {
      tutti::raise(Result::invalid_argument, "tutti_describe: {} is null",
                   format == nullptr ? "format" : "text");
    }
    check_ranks(0, ranks);
    copy_text(tutti::describe(format, ranks), text, size, needed);
  });
}

tutti_result_t tutti_describe_nodes(const char* format, const int* ranks_of_nodes, int nodes, char* text,
                                    size_t size, size_t* needed) {
  return guarded([&] {
    if (format == nullptr || ranks_of_nodes == nullptr || (text == nullptr && size != 0)) {
      tutti::raise(Result::invalid_argument, "tutti_describe_nodes: {} is null",
                   format == nullptr ? "format" : (ranks_of_nodes == nullptr ? "ranks_of_nodes" : "text"));
    }
    if (nodes < 1 || nodes > kMaxRanks)
      tutti::raise(Result::invalid_argument, "nodes {} is out of range; expected 1 to {}", nodes, kMaxRanks);
    const std::vector<int> all(ranks_of_nodes, ranks_of_nodes + nodes);
    int64_t ranks = 0;
    for (const int there : all) {
      check_ranks(0, there, tutti::kMaxLocalRanks);
      ranks += there;
    }
    check_ranks(0, static_cast<int>(ranks));
    copy_text(tutti::describe(format, all), text, size, needed);
  });
}

tutti_result_t tutti_comm_describe(tutti_comm_t comm, char* text, size_t size, size_t* needed) {
  bool forked = false;
  const Communicator* found = tutti::handles::find(comm, forked);
  if (found == nullptr) return no_communicator("tutti_comm_describe", comm, forked);
  return guarded([&] {
    if (text == nullptr && size != 0)
      tutti::raise(Result::invalid_argument, "tutti_comm_describe: text is null");
    copy_text(found->describe(), text, size, needed);
  });
}

tutti_result_t tutti_comm_stats(tutti_comm_t comm, const char* format, char* text, size_t size,
                                size_t* needed) {
  bool forked = false;
  const Communicator* found = tutti::handles::find(comm, forked);
  if (found == nullptr) return no_communicator("tutti_comm_stats", comm, forked);
  return guarded([&] {
    if (format == nullptr || (text == nullptr && size != 0)) {
      tutti::raise(Result::invalid_argument, "tutti_comm_stats: {} is null",
                   format == nullptr ? "format" : "text");
    }
    copy_text(found->statistics(format), text, size, needed);
  });
}

}  // extern "C"
