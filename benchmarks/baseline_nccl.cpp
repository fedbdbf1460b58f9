// The functions of NCCL that the baseline calls, and the settings that put several ranks on one device.
#include "benchmarks/baseline_nccl.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>
#include <optional>
#include <set>

#include "benchmarks/elements.h"

namespace tutti::bench {
namespace {

// As nccl.h has them since version 2.10.
using NcclComm = struct ncclComm*;
using NcclResult = int;
constexpr NcclResult kNcclSuccess = 0;
constexpr int kSeveralRanksSince = 23'000;  // 2.30.0

struct Functions {
  NcclResult (*ncclGetVersion)(int* version) = nullptr;
  const char* (*ncclGetErrorString)(NcclResult result) = nullptr;
  const char* (*ncclGetLastError)(NcclComm comm) = nullptr;
  NcclResult (*ncclCommInitAll)(NcclComm* comms, int devices, const int* list) = nullptr;
  NcclResult (*ncclCommDestroy)(NcclComm comm) = nullptr;
  NcclResult (*ncclCommGetAsyncError)(NcclComm comm, NcclResult* error) = nullptr;
  NcclResult (*ncclGroupStart)() = nullptr;
  NcclResult (*ncclGroupEnd)() = nullptr;
  NcclResult (*ncclAllReduce)(const void* send, void* recv, size_t count, int datatype, int op, NcclComm comm,
                              tutti_stream_t stream) = nullptr;
  NcclResult (*ncclBroadcast)(const void* send, void* recv, size_t count, int datatype, int root,
                              NcclComm comm, tutti_stream_t stream) = nullptr;
};

template <typename Function>
void find(void* library, Function& function, const char* name, const std::string& path) {
  void* symbol = dlsym(library, name);
  if (symbol == nullptr) throw NoBaseline(fmt::format("{} has no function {}: it is no NCCL", path, name));
  function = reinterpret_cast<Function>(symbol);
}

Functions load(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed: its threads may still run
  if (library == nullptr) {
    const char* why = dlerror();
    throw NoBaseline(fmt::format("no NCCL was found: {}", why == nullptr ? path : why));
  }
  Functions nccl;
#define TUTTI_BENCH_NCCL(name) find(library, nccl.name, #name, path)
  TUTTI_BENCH_NCCL(ncclGetVersion);
  TUTTI_BENCH_NCCL(ncclGetErrorString);
  TUTTI_BENCH_NCCL(ncclGetLastError);
  TUTTI_BENCH_NCCL(ncclCommInitAll);
  TUTTI_BENCH_NCCL(ncclCommDestroy);
  TUTTI_BENCH_NCCL(ncclCommGetAsyncError);
  TUTTI_BENCH_NCCL(ncclGroupStart);
  TUTTI_BENCH_NCCL(ncclGroupEnd);
  TUTTI_BENCH_NCCL(ncclAllReduce);
  TUTTI_BENCH_NCCL(ncclBroadcast);
#undef TUTTI_BENCH_NCCL
  return nccl;
}

std::optional<int> datatype_of(tutti_datatype_t datatype) {
  switch (datatype) {
    case TUTTI_INT8:
      return 0;
    case TUTTI_UINT8:
      return 1;
    case TUTTI_INT32:
      return 2;
    case TUTTI_UINT32:
      return 3;
    case TUTTI_INT64:
      return 4;
    case TUTTI_UINT64:
      return 5;
    case TUTTI_FLOAT16:
      return 6;
    case TUTTI_FLOAT32:
      return 7;
    case TUTTI_FLOAT64:
      return 8;
    case TUTTI_BFLOAT16:
      return 9;
    case TUTTI_FLOAT8_E4M3:
      return 10;
    case TUTTI_FLOAT8_E5M2:
      return 11;
    default:
      return std::nullopt;
  }
}

int op_of(tutti_op_t op) {
  switch (op) {
    case TUTTI_SUM:
      return 0;
    case TUTTI_PROD:
      return 1;
    case TUTTI_MAX:
      return 2;
    case TUTTI_MIN:
      return 3;
    case TUTTI_AVG:
      return 4;
  }
  return 0;
}

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? "" : fmt::format("{}={} ", name, value);
}

class NcclLibrary final : public DeviceLibrary {
 public:
  NcclLibrary(const CollectiveInfo& collective, Functions nccl, const std::vector<int>& devices)
      : collective_(collective), nccl_(nccl), comms_(devices.size()) {
    const NcclResult made =
        nccl_.ncclCommInitAll(comms_.data(), static_cast<int>(devices.size()), devices.data());
    if (made != kNcclSuccess) throw NoBaseline(fmt::format("ncclCommInitAll: {}", text(made)));
  }
  ~NcclLibrary() override {
    for (NcclComm comm : comms_) nccl_.ncclCommDestroy(comm);
  }
  NcclLibrary(const NcclLibrary&) = delete;
  NcclLibrary& operator=(const NcclLibrary&) = delete;

  const char* name() const override { return "nccl"; }

  int enqueue(std::span<const DeviceCall> calls) noexcept override {
    NcclResult first = nccl_.ncclGroupStart();
    for (size_t rank = 0; rank < calls.size() && first == kNcclSuccess; ++rank) {
      const Call& call = calls[rank].call;
      tutti_stream_t stream = calls[rank].stream;
      const int datatype = datatype_of(call.datatype).value_or(0);
      const auto count = static_cast<size_t>(call.count);
      first = collective_.kind == Kind::broadcast ? nccl_.ncclBroadcast(call.send, call.recv, count, datatype,
                                                                        call.root, comms_[rank], stream)
                                                  : nccl_.ncclAllReduce(call.send, call.recv, count, datatype,
                                                                        op_of(call.op), comms_[rank], stream);
    }
    const NcclResult ended = nccl_.ncclGroupEnd();
    return first == kNcclSuccess ? ended : first;
  }

  std::string explain(int code) const override { return text(code); }

  std::string trouble() const override {
    for (NcclComm comm : comms_) {
      NcclResult error = kNcclSuccess;
      const NcclResult asked = nccl_.ncclCommGetAsyncError(comm, &error);
      if (asked != kNcclSuccess || error != kNcclSuccess) return text(asked != kNcclSuccess ? asked : error);
    }
    return {};
  }

  std::string algorithm(const Call&) const override { return "default"; }

  std::string settings() const override {
    std::string all;
    for (const char* name : {"NCCL_ALGO", "NCCL_PROTO", "NCCL_MAX_CTAS", "NCCL_CGA_CLUSTER_SIZE"})
      all += from_environment(name);
    if (!all.empty()) all.pop_back();
    return all;
  }

 private:
  std::string text(NcclResult result) const {
    const char* last = nccl_.ncclGetLastError(nullptr);
    const std::string detail = last == nullptr ? "" : last;
    return fmt::format("{}{}{}", nccl_.ncclGetErrorString(result), detail.empty() ? "" : ": ", detail);
  }

  const CollectiveInfo& collective_;
  Functions nccl_;
  std::vector<NcclComm> comms_;
};

bool repeats(const std::vector<int>& devices) {
  return std::set<int>(devices.begin(), devices.end()).size() < devices.size();
}

int checked_version(const Functions& nccl, const std::string& path, bool several_on_one_device) {
  int version = 0;
  if (nccl.ncclGetVersion(&version) != kNcclSuccess)
    throw NoBaseline(fmt::format("{} does not tell its version", path));
  const std::string why = several_on_one_device ? nccl_too_old(version) : "";
  if (!why.empty()) throw NoBaseline(why);
  return version;
}

}  // namespace

std::string nccl_version_text(int version) {
  return fmt::format("{}.{}.{}", version / 10'000, version / 100 % 100, version % 100);
}

std::string nccl_too_old(int version) {
  if (version >= kSeveralRanksSince) return {};
  return fmt::format("NCCL {} was found; several ranks on one device need NCCL {} or later (--nccl PATH)",
                     nccl_version_text(version), nccl_version_text(kSeveralRanksSince));
}

std::string nccl_cannot(const CollectiveInfo& collective, const Call& call) {
  if (!datatype_of(call.datatype)) return fmt::format("NCCL has no {}", tutti_datatype_name(call.datatype));
  if (collective.has_op() && call.op == TUTTI_AVG && !is_floating(call.datatype))
    return "NCCL's average of whole numbers is rounded in its own way";
  return {};
}

int nccl_version(const std::string& library, bool several_on_one_device) {
  return checked_version(load(library), library, several_on_one_device);
}

NcclOnDevice make_nccl_library(const CollectiveInfo& collective, const std::string& library,
                               const std::vector<int>& devices, int blocks) {
  const Functions nccl = load(library);
  const int version = checked_version(nccl, library, repeats(devices));
  // Read when the first communicator is made. What the user has set stays.
  constexpr int kKeep = 0;
  if (repeats(devices)) {
    setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1", 1);
    setenv("NCCL_CGA_CLUSTER_SIZE", "0", kKeep);  // blocks of several ranks share the device one by one
  }
  if (blocks > 0) setenv("NCCL_MAX_CTAS", std::to_string(blocks).c_str(), kKeep);
  return {std::make_unique<NcclLibrary>(collective, nccl, devices), nccl_version_text(version)};
}

}  // namespace tutti::bench
