// The module of UCC (Unified Collective Communication).
//
// One context and one team over all ranks of the run; addresses are exchanged through the run's own communicator. UCC chooses collective and team layers
// by itself, as its user guide advises; its variables (UCC_*, UCX_*) apply and are told. Collectives are persistent: initialised when a row begins, then
// posted for every call. UCC advances on the thread that asks, so a call polls. It yields the core soon where there are more ranks than cores, as MPI does
// when it is told to, and otherwise only when it has polled for long, which costs nothing while the peers have cores of their own.
#include <fmt/format.h>
#include <sched.h>
#include <ucc/api/ucc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "benchmarks/baseline.h"

namespace tutti::bench {
namespace {

void check(ucc_status_t status, const char* what) {
  if (status != UCC_OK) throw std::runtime_error(fmt::format("UCC: {}: {}", what, ucc_status_string(status)));
}

/// What UCC reduces on host memory; broadcasts are of bytes.
std::optional<ucc_datatype_t> ucc_datatype(tutti_datatype_t datatype) {
  switch (datatype) {
    case TUTTI_INT8:
      return UCC_DT_INT8;
    case TUTTI_UINT8:
      return UCC_DT_UINT8;
    case TUTTI_INT16:
      return UCC_DT_INT16;
    case TUTTI_UINT16:
      return UCC_DT_UINT16;
    case TUTTI_INT32:
      return UCC_DT_INT32;
    case TUTTI_UINT32:
      return UCC_DT_UINT32;
    case TUTTI_INT64:
      return UCC_DT_INT64;
    case TUTTI_UINT64:
      return UCC_DT_UINT64;
    case TUTTI_BFLOAT16:
      return UCC_DT_BFLOAT16;
    case TUTTI_FLOAT32:
      return UCC_DT_FLOAT32;
    case TUTTI_FLOAT64:
      return UCC_DT_FLOAT64;
    default:
      return std::nullopt;
  }
}

bool is_whole(tutti_datatype_t datatype) {
  return datatype <= TUTTI_UINT64;
}

ucc_reduction_op_t ucc_op(tutti_op_t op) {
  switch (op) {
    case TUTTI_PROD:
      return UCC_OP_PROD;
    case TUTTI_MIN:
      return UCC_OP_MIN;
    case TUTTI_MAX:
      return UCC_OP_MAX;
    case TUTTI_AVG:
      return UCC_OP_AVG;
    default:
      return UCC_OP_SUM;
  }
}

// How UCC has bytes exchanged. Ours block, so that they are done when they return; the request says how they ended.

ucc_status_t oob_gather(void* own, void* all, size_t bytes, void* info, void** request) {
  auto& ranks = *static_cast<BaselineRanks*>(info);
  *request = all;  // any pointer: UCC takes null for nothing to wait for
  try {
    ranks.gather({static_cast<const std::byte*>(own), bytes},
                 {static_cast<std::byte*>(all), bytes * static_cast<size_t>(ranks.size())});
    return UCC_OK;
  } catch (const std::exception&) {
    return UCC_ERR_NO_MESSAGE;
  }
}
ucc_status_t oob_test(void*) {
  return UCC_OK;
}
ucc_status_t oob_free(void*) {
  return UCC_OK;
}

template <typename Exchange>
Exchange exchange_by(BaselineRanks& ranks) {
  Exchange exchange{};
  exchange.allgather = oob_gather;
  exchange.req_test = oob_test;
  exchange.req_free = oob_free;
  exchange.coll_info = &ranks;
  exchange.n_oob_eps = static_cast<uint32_t>(ranks.size());
  exchange.oob_ep = static_cast<uint32_t>(ranks.rank());
  return exchange;
}

/// Variables that change what UCC does.
std::string variables() {
  std::string text;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view variable(*entry);
    if (variable.starts_with("UCC_") || variable.starts_with("UCX_")) text += fmt::format(", {}", variable);
  }
  return text;
}

class UccLibrary final : public Baseline {
 public:
  explicit UccLibrary(const BaselineSetup& setup)
      : collective_(setup.collective),
        ranks_(setup.ranks),
        polls_before_yield_(setup.ranks.crowded() ? kPollsWhereCrowded : kPollsElsewhere),
        limit_(setup.timeout_ns) {
    start_library();
    start_context();
    start_team();
  }

  /// Destroying a context is collective. Where this rank goes because something failed the others may not come: the process's end does it then.
  ~UccLibrary() override {
    if (std::uncaught_exceptions() > 0) return;
    drop_request();
    ucc_status_t status = ucc_team_destroy(team_);
    while (status == UCC_INPROGRESS) {
      ucc_context_progress(context_);
      status = ucc_team_destroy(team_);
    }
    ucc_context_destroy(context_);
    ucc_finalize(library_);
  }
  UccLibrary(const UccLibrary&) = delete;
  UccLibrary& operator=(const UccLibrary&) = delete;

  const char* name() const override { return "ucc"; }
  std::string version() const override { return ucc_get_version_string(); }

  std::string settings() const override {
    return fmt::format("layers of its own choice, persistent collectives, yields the core after {} polls{}",
                       polls_before_yield_, variables());
  }

  std::string cannot(const Call& call) const override {
    if (!collective_.has_op()) return {};
    if (!ucc_datatype(call.datatype))
      return fmt::format("UCC reduces no {} on host memory", tutti_datatype_name(call.datatype));
    if (call.op == TUTTI_AVG && is_whole(call.datatype))
      return "UCC's average of whole numbers is rounded in its own way";
    return {};
  }

  void prepare(const Call& call) override {
    drop_request();
    bytes_ = static_cast<size_t>(call.count) * tutti_datatype_size(call.datatype);
    ucc_coll_args_t args{};
    args.mask = UCC_COLL_ARGS_FIELD_FLAGS;
    args.flags = UCC_COLL_ARGS_FLAG_PERSISTENT | UCC_COLL_ARGS_FLAG_COUNT_64BIT;
    if (collective_.kind == Kind::broadcast) {
      describe_broadcast(call, args);
    } else {
      describe_all_reduce(call, args);
    }
    check(ucc_collective_init(&args, &request_, team_), "ucc_collective_init");
  }

  int run(const Call& call) noexcept override {
    const ucc_status_t posted = ucc_collective_post(request_);
    if (posted != UCC_OK) return posted;
    const ucc_status_t status = wait();
    if (status == UCC_OK && copies_) std::memcpy(call.recv, call.send, bytes_);
    return status;
  }

  std::string explain(int code) const override {
    return fmt::format("UCC: {}", ucc_status_string(static_cast<ucc_status_t>(code)));
  }

  std::string algorithm(const Call&) const override { return "default"; }

 private:
  static constexpr uint32_t kPollsWhereCrowded = 64;
  static constexpr uint32_t kPollsElsewhere = 4096;

  void start_library() {
    ucc_lib_config_h config = nullptr;
    check(ucc_lib_config_read(nullptr, nullptr, &config), "ucc_lib_config_read");
    ucc_lib_params_t params{};
    params.mask = UCC_LIB_PARAM_FIELD_THREAD_MODE;
    params.thread_mode = UCC_THREAD_SINGLE;
    const ucc_status_t status = ucc_init(&params, config, &library_);
    ucc_lib_config_release(config);
    check(status, "ucc_init");
  }

  /// UCC is told how many ranks there are, as its own benchmark does.
  void start_context() {
    ucc_context_config_h config = nullptr;
    check(ucc_context_config_read(library_, nullptr, &config), "ucc_context_config_read");
    const std::string ranks = std::to_string(ranks_.size());
    const std::string on_node = std::to_string(std::max(1, ranks_.size() / ranks_.nodes()));
    ucc_status_t status = ucc_context_config_modify(config, nullptr, "ESTIMATED_NUM_EPS", ranks.c_str());
    if (status == UCC_OK)
      status = ucc_context_config_modify(config, nullptr, "ESTIMATED_NUM_PPN", on_node.c_str());
    ucc_context_params_t params{};
    params.mask = UCC_CONTEXT_PARAM_FIELD_TYPE | UCC_CONTEXT_PARAM_FIELD_OOB;
    params.type = UCC_CONTEXT_SHARED;
    params.oob = exchange_by<decltype(params.oob)>(ranks_);
    if (status == UCC_OK) status = ucc_context_create(library_, &params, config, &context_);
    ucc_context_config_release(config);
    check(status, "ucc_context_create");
  }

  void start_team() {
    ucc_team_params_t params{};
    params.mask = UCC_TEAM_PARAM_FIELD_EP | UCC_TEAM_PARAM_FIELD_EP_RANGE | UCC_TEAM_PARAM_FIELD_OOB;
    params.oob = exchange_by<decltype(params.oob)>(ranks_);
    params.ep = static_cast<uint64_t>(ranks_.rank());
    params.ep_range = UCC_COLLECTIVE_EP_RANGE_CONTIG;
    check(ucc_team_create_post(&context_, 1, &params, &team_), "ucc_team_create_post");
    check(poll([this] { return ucc_team_create_test(team_); }), "ucc_team_create_test");
  }

  void describe_all_reduce(const Call& call, ucc_coll_args_t& args) {
    const bool in_place = call.send == call.recv;
    if (in_place) args.flags |= UCC_COLL_ARGS_FLAG_IN_PLACE;
    args.coll_type = UCC_COLL_TYPE_ALLREDUCE;
    args.op = ucc_op(call.op);
    const ucc_datatype_t datatype = ucc_datatype(call.datatype).value_or(UCC_DT_UINT8);
    args.src.info = buffer(const_cast<void*>(call.send), static_cast<uint64_t>(call.count), datatype);
    args.dst.info = buffer(call.recv, static_cast<uint64_t>(call.count), datatype);
    copies_ = false;
  }

  /// UCC's broadcast has one buffer; it only reads the root's.
  void describe_broadcast(const Call& call, ucc_coll_args_t& args) {
    copies_ = ranks_.rank() == call.root && call.send != call.recv;
    args.coll_type = UCC_COLL_TYPE_BCAST;
    args.root = static_cast<uint64_t>(call.root);
    args.src.info = buffer(copies_ ? const_cast<void*>(call.send) : call.recv, bytes_, UCC_DT_UINT8);
  }

  static ucc_coll_buffer_info_t buffer(void* memory, uint64_t count, ucc_datatype_t datatype) {
    ucc_coll_buffer_info_t info{};
    info.buffer = memory;
    info.count = count;
    info.datatype = datatype;
    info.mem_type = UCC_MEMORY_TYPE_HOST;
    return info;
  }

  ucc_status_t wait() noexcept {
    return poll([this] { return ucc_collective_test(request_); });
  }

  /// Until it is no longer in progress, or a peer has been gone for too long.
  template <typename Test>
  ucc_status_t poll(Test test) const noexcept {
    using Clock = std::chrono::steady_clock;
    constexpr uint32_t kPollsBeforeClock = 1 << 16;
    std::optional<Clock::time_point> start;
    for (uint32_t polls = 1;; ++polls) {
      const ucc_status_t status = test();
      if (status != UCC_INPROGRESS) return status;
      ucc_context_progress(context_);
      if (polls % polls_before_yield_ == 0) sched_yield();
      if (polls % kPollsBeforeClock != 0) continue;
      if (!start) start = Clock::now();
      if (Clock::now() - *start > limit_) return UCC_ERR_TIMED_OUT;
    }
  }

  void drop_request() noexcept {
    if (ucc_coll_req_h request = std::exchange(request_, nullptr)) ucc_collective_finalize(request);
  }

  const CollectiveInfo& collective_;
  BaselineRanks& ranks_;
  uint32_t polls_before_yield_;
  std::chrono::nanoseconds limit_;
  ucc_lib_h library_ = nullptr;
  ucc_context_h context_ = nullptr;
  ucc_team_h team_ = nullptr;
  ucc_coll_req_h request_ = nullptr;
  size_t bytes_ = 0;
  bool copies_ = false;
};

}  // namespace
}  // namespace tutti::bench

extern "C" {
__attribute__((visibility("default"))) int tutti_bench_interface() {
  return tutti::bench::kBaselineInterface;
}
__attribute__((visibility("default"))) void tutti_bench_make(
    const tutti::bench::BaselineSetup& setup, std::unique_ptr<tutti::bench::Baseline>& baseline) {
  baseline = std::make_unique<tutti::bench::UccLibrary>(setup);
}
}
