#include "transports/ucx/library.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "core/error.h"
#include "core/log.h"

namespace tutti::ucx {

namespace {

/// A setting of UCX_<prefix><name>.
struct Setting {
  const char* prefix;
  const char* name;
  const char* value;
};

// What differs from UCX's defaults, where the user has not said otherwise in the environment.
constexpr Setting kSettings[] = {
    // Ranks of one node have their windows; UCX would find shared memory even between network namespaces.
    {"", "TLS", "^sm,self"},
    // Of an idle connection, whether the other end is still there.
    {"", "KEEPALIVE_INTERVAL", "4s"},
    // A message of kMessageBytes fits one segment in and out, so UCX never has to put it together again.
    {"TCP_", "TX_SEG_SIZE", "64k"},
    {"TCP_", "RX_SEG_SIZE", "256k"},
    // An idle connection whose other end has vanished is noticed within about ten seconds.
    {"TCP_", "KEEPIDLE", "4s"},
    {"TCP_", "KEEPINTVL", "2s"},
    {"TCP_", "KEEPCNT", "3"},
};

/// UCX complains of settings for a network that it was told not to use.
bool may_use_tcp() {
  const char* const networks = std::getenv("UCX_TLS");
  if (networks == nullptr) return true;
  const std::string_view list(networks);
  const bool is_named = list.find("tcp") != std::string_view::npos || list == "all";
  return list.starts_with('^') != is_named;
}

/// Before 1.17 ucp_config_modify() wants the names of a network's settings without their prefix.
bool wants_prefix() {
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;
  ucp_get_version(&major, &minor, &release);
  return major > 1 || minor >= 17;
}

class Config {
 public:
  Config() {
    require(ucp_config_read(nullptr, nullptr, &config_), "reading its configuration");
    const bool has_tcp = may_use_tcp();
    for (const Setting& setting : kSettings) {
      if (*setting.prefix == '\0' || has_tcp) apply(setting);
    }
  }
  ~Config() { ucp_config_release(config_); }
  Config(const Config&) = delete;
  Config& operator=(const Config&) = delete;
  ucp_config_t* get() const { return config_; }

 private:
  void apply(const Setting& setting) {
    const std::string full = std::string(setting.prefix) + setting.name;
    if (std::getenv(("UCX_" + full).c_str()) != nullptr) return;
    const char* const name = wants_prefix() ? full.c_str() : setting.name;
    const ucs_status_t status = ucp_config_modify(config_, name, setting.value);
    if (status != UCS_OK)
      log(Level::debug, "UCX does not take {}={}: {}", full, setting.value, ucs_status_string(status));
  }

  ucp_config_t* config_ = nullptr;
};

ucp_context_h make_context(int peers, bool one_sided) {
  const Config config;
  ucp_params_t params = {};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_ESTIMATED_NUM_EPS | UCP_PARAM_FIELD_NAME;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP | (one_sided ? UCP_FEATURE_RMA : 0);
  params.estimated_num_eps = static_cast<size_t>(std::max(peers, 1));
  params.name = "tutti";
  ucp_context_h context = nullptr;
  require(ucp_init(&params, config.get(), &context), "finding a network (UCX_TLS, UCX_NET_DEVICES)");
  return context;
}

}  // namespace

void require(ucs_status_t status, std::string_view what) {
  if (status != UCS_OK) raise(Result::system_error, "UCX: {}: {}", what, ucs_status_string(status));
}

Worker::Worker(int peers, bool one_sided) : context_(make_context(peers, one_sided)) {
  ucp_worker_params_t params = {};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  params.thread_mode = UCS_THREAD_MODE_SINGLE;
  ucs_status_t status = ucp_worker_create(context_, &params, &worker_);
  if (status == UCS_OK) status = ucp_worker_get_efd(worker_, &descriptor_);
  if (status == UCS_OK) return;
  if (worker_ != nullptr) ucp_worker_destroy(worker_);
  ucp_cleanup(context_);
  require(status, "creating a worker whose progress can be waited for");
}

Worker::~Worker() {
  ucp_worker_destroy(worker_);
  ucp_cleanup(context_);
}

std::string Worker::address() const {
  ucp_address_t* address = nullptr;
  size_t bytes = 0;
  require(ucp_worker_get_address(worker_, &address, &bytes), "packing this rank's address");
  std::string text(reinterpret_cast<const char*>(address), bytes);
  ucp_worker_release_address(worker_, address);
  return text;
}

Registration::Registration(ucp_context_h context, void* address, size_t bytes) : context_(context) {
  ucp_mem_map_params_t params = {};
  params.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH;
  params.address = address;
  params.length = bytes;
  require(ucp_mem_map(context_, &params, &memory_), "registering this rank's slots");
  void* rkey = nullptr;
  size_t rkey_bytes = 0;
  const ucs_status_t status = ucp_rkey_pack(context_, memory_, &rkey, &rkey_bytes);
  if (status != UCS_OK) {
    ucp_mem_unmap(context_, memory_);
    require(status, "packing the key of this rank's slots");
  }
  rkey_.assign(static_cast<const char*>(rkey), rkey_bytes);
  ucp_rkey_buffer_release(rkey);
}

Registration::~Registration() {
  ucp_mem_unmap(context_, memory_);
}

std::string route_in(std::string_view description) {
  std::string first;
  while (!description.empty()) {
    const size_t end = std::min(description.find('\n'), description.size());
    std::string_view line = description.substr(0, end);
    description.remove_prefix(std::min(end + 1, description.size()));
    const size_t lane = line.find("lane[");
    if (lane == std::string_view::npos) continue;
    line.remove_prefix(lane);
    // "lane[0]:  1:tcp/eth0.0 md[1]      -> md[1]/tcp/sysdev[255] am am_bw#0": the word with a slash that follows the second colon.
    const size_t slash = line.find('/');
    if (slash == std::string_view::npos) continue;
    const size_t begin = line.find_last_of(" :", slash) + 1;
    std::string_view word = line.substr(begin, std::min(line.find(' ', slash), line.size()) - begin);
    const size_t path = word.find_last_of('.');
    if (path != std::string_view::npos && path + 1 < word.size() &&
        word.find_first_not_of("0123456789", path + 1) == std::string_view::npos)
      word = word.substr(0, path);
    if (first.empty()) first = word;
    if (line.find(" am ", slash) != std::string_view::npos || line.ends_with(" am")) return std::string(word);
  }
  return first;
}

std::string describe(ucp_ep_h endpoint) {
  char* text = nullptr;
  size_t bytes = 0;
  FILE* const file = open_memstream(&text, &bytes);
  if (file == nullptr) return {};
  ucp_ep_print_info(endpoint, file);
  std::fclose(file);
  const std::unique_ptr<char, decltype(&std::free)> owner(text, &std::free);
  return {text, bytes};
}

bool is_one_sided(std::string_view route) {
  return std::ranges::any_of(std::initializer_list<std::string_view>{"rc", "dc", "ugni"},
                             [&](std::string_view name) { return route.starts_with(name); });
}

}  // namespace tutti::ucx
