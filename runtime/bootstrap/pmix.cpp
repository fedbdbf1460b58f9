#include "runtime/bootstrap/pmix.h"

#include <fmt/format.h>

#include "core/error.h"

#ifdef TUTTI_HAVE_PMIX
#include <dlfcn.h>
#include <pmix.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#endif

namespace tutti::pmix {

#ifndef TUTTI_HAVE_PMIX

std::string why_not(const std::function<const char*(const char*)>& /*variable*/) {
  return "this build of Tutti has none: pmix.h was not found when it was configured";
}

Shared share(const std::string& /*key*/, uint64_t /*limit_ns*/,
             const std::function<std::string()>& /*make*/) {
  raise(Result::unsupported, "PMIx: {}", why_not({}));
}

#else

namespace {

constexpr const char* kLibrary = "libpmix.so.2";
// What rank 0 gives begins with one of these: a value, or the text of the error by which it has none.
constexpr char kValue = 'v';
constexpr char kFailure = 'f';

/// The functions of the library that are used.
struct Library {
  decltype(&PMIx_Init) init = nullptr;
  decltype(&PMIx_Finalize) finalize = nullptr;
  decltype(&PMIx_Put) put = nullptr;
  decltype(&PMIx_Commit) commit = nullptr;
  decltype(&PMIx_Fence_nb) fence = nullptr;
  decltype(&PMIx_Get_nb) get = nullptr;
  decltype(&PMIx_Error_string) error_string = nullptr;
};

template <typename Function>
void load(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(handle, name));
  if (function == nullptr) raise(Result::unsupported, "PMIx: {} has no {}", kLibrary, name);
}

/// Stays loaded: the library has threads of its own.
Library load_library() {
  // Its plug-ins look for its symbols globally.
  void* handle = ::dlopen(kLibrary, RTLD_NOW | RTLD_GLOBAL);
  if (handle == nullptr) {
    const char* why = ::dlerror();
    raise(Result::unsupported, "PMIx: {} cannot be loaded: {}", kLibrary, why == nullptr ? "unknown" : why);
  }
  Library library;
  load(handle, "PMIx_Init", library.init);
  load(handle, "PMIx_Finalize", library.finalize);
  load(handle, "PMIx_Put", library.put);
  load(handle, "PMIx_Commit", library.commit);
  load(handle, "PMIx_Fence_nb", library.fence);
  load(handle, "PMIx_Get_nb", library.get);
  load(handle, "PMIx_Error_string", library.error_string);
  return library;
}

const Library& library() {
  static const Library loaded = load_library();
  return loaded;
}

void check(pmix_status_t status, const char* call) {
  if (status == PMIX_SUCCESS) return;
  const char* text = library().error_string(status);
  raise(Result::system_error, "PMIx: {}: {} ({})", call, text == nullptr ? "unknown" : text, status);
}

/// What an answer of the library left behind.
struct Answer {
  pmix_status_t status = PMIX_SUCCESS;
  std::string bytes;
  uint32_t number = 0;
};

/// Calls that have not been answered. The library may answer after we have stopped waiting, so it is given a number and
/// not an address.
class Answers {
 public:
  static Answers& all() {
    static Answers answers;
    return answers;
  }

  uintptr_t expect() {
    const std::lock_guard lock(mutex_);
    open_.try_emplace(++last_);
    return last_;
  }

  void give(uintptr_t number, Answer answer) {
    const std::lock_guard lock(mutex_);
    const auto at = open_.find(number);
    if (at == open_.end()) return;
    at->second = std::move(answer);
    given_.notify_all();
  }

  /// Nothing: it did not come in time.
  std::optional<Answer> wait(uintptr_t number, std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    given_.wait_until(lock, deadline, [&] { return open_.at(number).has_value(); });
    std::optional<Answer> answer = std::move(open_.at(number));
    open_.erase(number);
    return answer;
  }

  void forget(uintptr_t number) {
    const std::lock_guard lock(mutex_);
    open_.erase(number);
  }

 private:
  std::mutex mutex_;
  std::condition_variable given_;
  std::map<uintptr_t, std::optional<Answer> > open_;
  uintptr_t last_ = 0;
};

extern "C" {

static void fence_answered(pmix_status_t status, void* data) {
  Answers::all().give(std::bit_cast<uintptr_t>(data), Answer{.status = status, .bytes = {}});
}

static void value_answered(pmix_status_t status, pmix_value_t* value, void* data) {
  Answer answer{.status = status, .bytes = {}};
  if (status == PMIX_SUCCESS && value != nullptr) {
    if (value->type == PMIX_BYTE_OBJECT && value->data.bo.bytes != nullptr) {
      answer.bytes.assign(value->data.bo.bytes, value->data.bo.size);
    }
    if (value->type == PMIX_UINT32) answer.number = value->data.uint32;
  }
  Answers::all().give(std::bit_cast<uintptr_t>(data), std::move(answer));
}

}  // extern "C"

/// This process's stay in the library, from PMIx_Init at the first use to PMIx_Finalize when the process ends: a server that is slow
/// to notice a departure takes a rank that leaves and comes again at once for lost.
class Stay {
 public:
  static Stay& instance() {
    static Stay stay;
    return stay;
  }
  // Where a call is not answered the library is busy with it, and leaving might wait for it. A forked child never came.
  ~Stay() {
    if (!is_stuck && process_ == getpid()) static_cast<void>(library().finalize(nullptr, 0));
  }
  Stay(const Stay&) = delete;
  Stay& operator=(const Stay&) = delete;

  const pmix_proc_t& me() const { return me_; }
  bool is_stuck = false;

 private:
  Stay() { check(library().init(&me_, nullptr, 0), "PMIx_Init"); }

  pmix_proc_t me_{};
  pid_t process_ = getpid();
};

/// What one exchange asks of the library.
class Session {
 public:
  explicit Session(uint64_t limit_ns)
      : limit_ns_(limit_ns),
        deadline_(std::chrono::steady_clock::now() + std::chrono::nanoseconds(limit_ns)),
        stay_(Stay::instance()),
        me_(stay_.me()) {}

  uint32_t rank() const { return me_.rank; }

  uint32_t size() {
    const Answer answer = get(PMIX_RANK_WILDCARD, PMIX_JOB_SIZE);
    if (answer.number == 0) raise(Result::system_error, "PMIx: the number of ranks is 0 or no number");
    return answer.number;
  }

  void put(const std::string& key, std::string bytes) {
    pmix_value_t value{};
    value.type = PMIX_BYTE_OBJECT;
    value.data.bo.bytes = bytes.data();
    value.data.bo.size = bytes.size();
    check(library().put(PMIX_GLOBAL, key.c_str(), &value), "PMIx_Put");
    check(library().commit(), "PMIx_Commit");
  }

  /// Waits for all ranks of the job, and brings what they put.
  void fence() {
    pmix_info_t collect{};
    std::strncpy(collect.key, PMIX_COLLECT_DATA, sizeof(collect.key) - 1);
    collect.value.type = PMIX_BOOL;
    collect.value.data.flag = true;
    const uintptr_t number = Answers::all().expect();
    const pmix_status_t status =
        library().fence(nullptr, 0, &collect, 1, fence_answered, std::bit_cast<void*>(number));
    // A fence of one rank may be complete at once; then no answer follows.
    if (status == PMIX_OPERATION_SUCCEEDED) {
      Answers::all().forget(number);
      return;
    }
    const Answer answer = answered(number, status, "PMIx_Fence");
    check(answer.status, "PMIx_Fence");
  }

  std::string value_of(uint32_t rank, const std::string& key) { return get(rank, key).bytes; }

 private:
  Answer get(uint32_t rank, const std::string& key) {
    pmix_proc_t whose{};
    std::copy(std::begin(me_.nspace), std::end(me_.nspace), std::begin(whose.nspace));
    whose.rank = rank;
    const uintptr_t number = Answers::all().expect();
    const pmix_status_t status =
        library().get(&whose, key.c_str(), nullptr, 0, value_answered, std::bit_cast<void*>(number));
    Answer answer = answered(number, status, "PMIx_Get");
    if (answer.status != PMIX_SUCCESS) {
      const char* text = library().error_string(answer.status);
      raise(Result::system_error, "rank {}: PMIx_Get of {}: {} ({})", me_.rank, key,
            text == nullptr ? "unknown" : text, answer.status);
    }
    return answer;
  }

  Answer answered(uintptr_t number, pmix_status_t status, const char* call) {
    if (status != PMIX_SUCCESS) {
      Answers::all().forget(number);
      check(status, call);
    }
    std::optional<Answer> answer = Answers::all().wait(number, deadline_);
    if (!answer) {
      stay_.is_stuck = true;
      raise(Result::timeout,
            "rank {}: {} was not answered within {} ms: a rank of the job has not come to create its "
            "communicator, or the "
            "process manager does not answer",
            me_.rank, call, limit_ns_ / 1'000'000);
    }
    return *std::move(answer);
  }

  uint64_t limit_ns_;
  std::chrono::steady_clock::time_point deadline_;
  Stay& stay_;
  const pmix_proc_t& me_;
};

/// What rank 0 puts, and the error that made it fail.
struct Made {
  std::string bytes;
  std::optional<Error> error;
};

Made make_value(const std::function<std::string()>& make) {
  try {
    return {kValue + make(), std::nullopt};
  } catch (const Error& e) {
    return {kFailure + std::string(e.what()), e};
  }
}

}  // namespace

std::string why_not(const std::function<const char*(const char*)>& variable) {
  for (const char* name : {"PMIX_NAMESPACE", "PMIX_RANK"}) {
    const char* value = variable(name);
    if (value == nullptr || *value == '\0') return fmt::format("{} is not set", name);
  }
  return {};
}

Shared share(const std::string& key, uint64_t limit_ns, const std::function<std::string()>& make) {
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  Session session(limit_ns);
  Shared shared;
  shared.rank = static_cast<int>(session.rank());
  shared.size = static_cast<int>(session.size());
  std::optional<Error> error;
  if (shared.rank == 0) {
    Made made = make_value(make);
    error = std::move(made.error);
    session.put(key, std::move(made.bytes));
  }
  session.fence();
  const std::string bytes = session.value_of(0, key);
  if (error) throw Error(*error);
  if (bytes.empty()) raise(Result::system_error, "rank {}: PMIx gave no value for {}", shared.rank, key);
  if (bytes[0] == kFailure) {
    raise(Result::system_error, "rank {}: rank 0 could not create a unique id: {}", shared.rank,
          bytes.substr(1));
  }
  shared.value = bytes.substr(1);
  return shared;
}

#endif

}  // namespace tutti::pmix
