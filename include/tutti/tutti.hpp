// Tutti for C++20: thin, header-only owners over the C interface of tutti.h.
//
//     auto ranks = tutti::Communicator::create_local(4);         // or create(id, rank, size), or adopt(handle)
//     ranks[r].all_reduce(std::span<const float>(mine), std::span<float>(sum), TUTTI_SUM);   // thread r
//
// Every failure is a tutti::Exception with the code and the library's text. Nothing is copied or allocated per
// operation. What the calls mean, and which of them may run at once, is said in tutti.h.
//
// The names live in an inline namespace: `tutti::Communicator` is how they are written, and their symbols are
// apart from those of the library's own internals.
#pragma once

#include <tutti/tutti.h>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace tutti {
inline namespace api {

/// A call that failed; what() is tutti_last_error().
class Exception : public std::runtime_error {
 public:
  Exception(tutti_result_t code, const std::string& message) : std::runtime_error(message), code_(code) {}
  tutti_result_t code() const noexcept { return code_; }

 private:
  tutti_result_t code_;
};

/// Throws unless `result` is TUTTI_SUCCESS. Called by the thread that got the result, before its next call.
inline void check(tutti_result_t result) {
  if (result == TUTTI_SUCCESS) return;
  const std::string text = tutti_last_error();
  throw Exception(result, text.empty() ? tutti_result_name(result) : text);
}

/// What the typed calls take: float, double and the integers of 1, 2, 4 and 8 bytes; characters and bool are none.
template <typename T>
concept Element = std::same_as<T, float> || std::same_as<T, double> ||
    (std::integral<T> && sizeof(T) <= 8 && !std::same_as<T, bool> && !std::same_as<T, char> &&
     !std::same_as<T, wchar_t> && !std::same_as<T, char8_t> && !std::same_as<T, char16_t> &&
     !std::same_as<T, char32_t>);

template <Element T>
constexpr tutti_datatype_t datatype_of() noexcept {
  if constexpr (std::same_as<T, float>) return TUTTI_FLOAT32;
  if constexpr (std::same_as<T, double>) return TUTTI_FLOAT64;
  if constexpr (sizeof(T) == 1) return std::is_signed_v<T> ? TUTTI_INT8 : TUTTI_UINT8;
  if constexpr (sizeof(T) == 2) return std::is_signed_v<T> ? TUTTI_INT16 : TUTTI_UINT16;
  if constexpr (sizeof(T) == 4) return std::is_signed_v<T> ? TUTTI_INT32 : TUTTI_UINT32;
  return std::is_signed_v<T> ? TUTTI_INT64 : TUTTI_UINT64;
}

/// Names one communicator that is about to be made; one rank creates it, all ranks need the same bytes.
class UniqueId {
 public:
  static UniqueId create() {
    UniqueId id;
    check(tutti_unique_id_create(&id.id_));
    return id;
  }

  explicit UniqueId(const tutti_unique_id_t& id) noexcept : id_(id) {}

  /// Reads what hex() wrote; TUTTI_UNIQUE_ID holds it for programs that are started without MPI.
  static UniqueId from_hex(std::string_view text) {
    UniqueId id;
    if (text.size() != 2 * sizeof(id.id_.bytes)) {
      throw Exception(TUTTI_INVALID_ARGUMENT,
                      "unique id: expected " + std::to_string(2 * sizeof(id.id_.bytes)) +
                          " hexadecimal digits, got " + std::to_string(text.size()) + " characters");
    }
    for (size_t i = 0; i < sizeof(id.id_.bytes); ++i) {
      id.id_.bytes[i] = static_cast<unsigned char>(digit(text[2 * i]) * 16 + digit(text[2 * i + 1]));
    }
    return id;
  }

  std::string hex() const {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    text.reserve(2 * sizeof(id_.bytes));
    for (const unsigned char byte : id_.bytes) {
      text += kDigits[byte >> 4];
      text += kDigits[byte & 15];
    }
    return text;
  }

  const tutti_unique_id_t& get() const noexcept { return id_; }

 private:
  UniqueId() = default;

  static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    throw Exception(TUTTI_INVALID_ARGUMENT, "unique id: a character is no hexadecimal digit");
  }

  tutti_unique_id_t id_{};
};

/// Calls of this thread in its scope begin together at end(), which throws the first error of any of them. Without end(), when an exception
/// leaves the scope, the destructor ends the group and says nothing.
class Group {
 public:
  Group() { check(tutti_group_start()); }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  ~Group() {
    if (open_) static_cast<void>(tutti_group_end());
  }
  void end() {
    open_ = false;
    check(tutti_group_end());
  }

 private:
  bool open_ = true;
};

/// Settings of a communicator; what is left as it is follows the environment (TUTTI_TIMEOUT, ...).
struct Config {
  std::chrono::nanoseconds timeout{0};
  std::chrono::nanoseconds setup_timeout{0};
  std::string algorithm = {};
  int device = TUTTI_DEVICE_AUTO;
  std::vector<int> devices = {};  // create_local: by rank
};

/// An operation that has been started. Its buffers must stay untouched until it is complete, and it must end
/// before its communicator. The destructor waits for the operation, as long as the operation's own limit.
class [[nodiscard]] Request {
 public:
  Request() noexcept = default;
  explicit Request(tutti_request_t request) noexcept : request_(request) {}
  Request(Request&& other) noexcept : request_(std::exchange(other.request_, nullptr)) {}
  Request& operator=(Request&& other) noexcept {
    if (this != &other) {
      finish();
      request_ = std::exchange(other.request_, nullptr);
    }
    return *this;
  }
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  ~Request() { finish(); }

  /// True when the operation is complete (and for an empty request); makes progress without blocking.
  bool test() { return completed(tutti_request_test(&request_)); }

  void wait() {
    while (!completed(tutti_request_wait(&request_, -1))) {
    }
  }

  /// False when `limit` passed first: the request stays valid.
  template <typename Rep, typename Period>
  bool wait_for(std::chrono::duration<Rep, Period> limit) {
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(limit).count();
    return completed(tutti_request_wait(&request_, ns < 0 ? 0 : static_cast<int64_t>(ns)));
  }

 private:
  static bool completed(tutti_result_t result) {
    if (result == TUTTI_IN_PROGRESS) return false;
    check(result);
    return true;
  }

  void finish() noexcept {
    if (request_ != nullptr) static_cast<void>(tutti_request_wait(&request_, -1));
    request_ = nullptr;
  }

  tutti_request_t request_ = nullptr;
};

/// One rank's handle; used by one thread at a time.
class Communicator {
 public:
  /// Blocks until all `size` ranks have joined the communicator that `id` names.
  static Communicator create(const UniqueId& id, int rank, int size, const Config& config = {}) {
    const tutti_comm_config_t c = to_c(config);
    tutti_comm_t comm = nullptr;
    check(tutti_comm_create(&comm, &id.get(), rank, size, &c));
    return Communicator(comm);
  }

  /// With rank, size and id from whoever started this process: see tutti_comm_create_env.
  static Communicator create_env(const Config& config = {}) {
    const tutti_comm_config_t c = to_c(config);
    tutti_comm_t comm = nullptr;
    check(tutti_comm_create_env(&comm, &c));
    return Communicator(comm);
  }

  /// All ranks inside this process; element r is rank r's, to be used by a thread of its own.
  static std::vector<Communicator> create_local(int size, const Config& config = {}) {
    const tutti_comm_config_t c = to_c(config);
    if (!config.devices.empty() && config.devices.size() != static_cast<size_t>(size > 0 ? size : 0)) {
      throw Exception(TUTTI_INVALID_ARGUMENT, "create_local: " + std::to_string(config.devices.size()) +
                                                  " devices for " + std::to_string(size) + " ranks");
    }
    std::vector<tutti_comm_t> comms(size > 0 ? static_cast<size_t>(size) : 1, nullptr);
    std::vector<Communicator> result;
    result.reserve(comms.size());
    check(tutti_comm_create_local(comms.data(), size, &c));
    for (tutti_comm_t comm : comms) result.push_back(Communicator(comm));
    return result;
  }

  /// Takes ownership of a handle, e.g. one of tutti_comm_create_mpi.
  static Communicator adopt(tutti_comm_t comm) noexcept { return Communicator(comm); }

  Communicator() noexcept = default;
  Communicator(Communicator&& other) noexcept : comm_(std::exchange(other.comm_, nullptr)) {}
  Communicator& operator=(Communicator&& other) noexcept {
    if (this != &other) {
      reset();
      comm_ = std::exchange(other.comm_, nullptr);
    }
    return *this;
  }
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  ~Communicator() { reset(); }

  explicit operator bool() const noexcept { return comm_ != nullptr; }
  tutti_comm_t get() const noexcept { return comm_; }
  /// The handle, which the caller must destroy from now on.
  tutti_comm_t release() noexcept { return std::exchange(comm_, nullptr); }
  void reset() noexcept {
    if (comm_ != nullptr) static_cast<void>(tutti_comm_destroy(std::exchange(comm_, nullptr)));
  }

  int rank() const {
    int value = 0;
    check(tutti_comm_rank(comm_, &value));
    return value;
  }
  int size() const {
    int value = 0;
    check(tutti_comm_size(comm_, &value));
    return value;
  }

  /// On how many nodes the ranks are.
  int nodes() const {
    int value = 0;
    check(tutti_comm_node_count(comm_, &value));
    return value;
  }

  /// The CUDA device of this rank, or TUTTI_DEVICE_NONE.
  int device() const {
    int value = 0;
    check(tutti_comm_device(comm_, &value));
    return value;
  }

  /// Collective; see tutti_register.
  tutti_registration_t register_buffer(void* buffer, size_t bytes) {
    tutti_registration_t registration = nullptr;
    check(tutti_register(comm_, buffer, bytes, &registration));
    return registration;
  }
  /// Collective.
  void deregister(tutti_registration_t registration) { check(tutti_deregister(comm_, registration)); }

  /// How long operations took and who was late: tutti_comm_stats. From any thread.
  std::string stats(const char* format = "json") const {
    std::string text;
    for (size_t needed = 1;;) {
      text.resize(needed + needed / 8);  // it may grow meanwhile
      check(tutti_comm_stats(comm_, format, text.data(), text.size(), &needed));
      if (needed > text.size()) continue;
      text.resize(needed - 1);
      return text;
    }
  }

  /// Throws the error that poisoned the communicator, if there is one.
  void query() const { check(tutti_comm_query(comm_)); }
  void abort() { check(tutti_comm_abort(comm_)); }

  // Typed calls. `send` and `recv` have the same length; the forms with one span work in place.

  template <Element T>
  void all_reduce(std::span<const T> send, std::span<T> recv, tutti_op_t op) {
    all_reduce(send.data(), recv.data(), count_of(send, recv), datatype_of<T>(), op);
  }
  template <Element T>
  void all_reduce(std::span<T> data, tutti_op_t op) {
    all_reduce(data.data(), data.data(), count_of(data), datatype_of<T>(), op);
  }
  template <Element T>
  Request all_reduce_async(std::span<const T> send, std::span<T> recv, tutti_op_t op) {
    return all_reduce_async(send.data(), recv.data(), count_of(send, recv), datatype_of<T>(), op);
  }
  template <Element T>
  Request all_reduce_async(std::span<T> data, tutti_op_t op) {
    return all_reduce_async(data.data(), data.data(), count_of(data), datatype_of<T>(), op);
  }

  /// `send` is looked at on the root only.
  template <Element T>
  void broadcast(std::span<const T> send, std::span<T> recv, int root) {
    broadcast(send.data(), recv.data(), root_count(send, recv, root), datatype_of<T>(), root);
  }
  template <Element T>
  void broadcast(std::span<T> data, int root) {
    broadcast(data.data(), data.data(), count_of(data), datatype_of<T>(), root);
  }
  template <Element T>
  Request broadcast_async(std::span<const T> send, std::span<T> recv, int root) {
    return broadcast_async(send.data(), recv.data(), root_count(send, recv, root), datatype_of<T>(), root);
  }
  template <Element T>
  Request broadcast_async(std::span<T> data, int root) {
    return broadcast_async(data.data(), data.data(), count_of(data), datatype_of<T>(), root);
  }

  void barrier(tutti_stream_t stream = nullptr) { check(tutti_barrier(comm_, stream)); }
  Request barrier_async() {
    tutti_request_t request = nullptr;
    check(tutti_barrier_async(comm_, nullptr, &request));
    return Request(request);
  }

  // Untyped calls, for floats of 16 and 8 bits, types known at run time only, and device memory, where `stream` counts.

  void all_reduce(const void* send, void* recv, int64_t count, tutti_datatype_t datatype, tutti_op_t op,
                  tutti_stream_t stream = nullptr) {
    check(tutti_all_reduce(send, recv, count, datatype, op, comm_, stream));
  }
  Request all_reduce_async(const void* send, void* recv, int64_t count, tutti_datatype_t datatype,
                           tutti_op_t op) {
    tutti_request_t request = nullptr;
    check(tutti_all_reduce_async(send, recv, count, datatype, op, comm_, nullptr, &request));
    return Request(request);
  }
  void broadcast(const void* send, void* recv, int64_t count, tutti_datatype_t datatype, int root,
                 tutti_stream_t stream = nullptr) {
    check(tutti_broadcast(send, recv, count, datatype, root, comm_, stream));
  }
  Request broadcast_async(const void* send, void* recv, int64_t count, tutti_datatype_t datatype, int root) {
    tutti_request_t request = nullptr;
    check(tutti_broadcast_async(send, recv, count, datatype, root, comm_, nullptr, &request));
    return Request(request);
  }

 private:
  explicit Communicator(tutti_comm_t comm) noexcept : comm_(comm) {}

  static tutti_comm_config_t to_c(const Config& config) {
    tutti_comm_config_t c = TUTTI_COMM_CONFIG_INIT;
    c.timeout_ns = static_cast<int64_t>(config.timeout.count());
    c.setup_timeout_ns = static_cast<int64_t>(config.setup_timeout.count());
    c.algorithm = config.algorithm.empty() ? nullptr : config.algorithm.c_str();
    c.device = config.device;
    c.devices = config.devices.empty() ? nullptr : config.devices.data();
    return c;
  }

  template <typename T>
  static int64_t count_of(std::span<T> data) noexcept {
    return static_cast<int64_t>(data.size());
  }

  template <typename T>
  static int64_t count_of(std::span<const T> send, std::span<T> recv) {
    if (send.size() != recv.size()) {
      throw Exception(TUTTI_INVALID_ARGUMENT, "send has " + std::to_string(send.size()) +
                                                  " elements and recv has " + std::to_string(recv.size()) +
                                                  ": both need the same number");
    }
    return count_of(recv);
  }

  template <typename T>
  int64_t root_count(std::span<const T> send, std::span<T> recv, int root) const {
    return rank() == root ? count_of(send, recv) : count_of(recv);
  }

  tutti_comm_t comm_ = nullptr;
};

}  // namespace api
}  // namespace tutti
