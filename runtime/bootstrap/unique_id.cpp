#include "runtime/bootstrap/unique_id.h"

#include <fmt/format.h>
#include <netdb.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/units.h"

namespace tutti {

namespace {

constexpr unsigned char kIdMagic[8] = {'t', 'u', 't', 't', 'i', 'i', 'd', '2'};

struct Waiting {
  std::array<unsigned char, UniqueId::kSecretBytes> name;
  Descriptor socket;
};

/// Never destroyed: threads may use it while static objects go.
struct Table {
  std::mutex mutex;
  std::vector<Waiting> waiting;  // the oldest first
};

Table& table() {
  static Table* const instance = std::make_unique<Table>().release();
  return *instance;
}

void keep(const UniqueId& id, Descriptor socket) {
  Table& all = table();
  const std::lock_guard lock(all.mutex);
  if (all.waiting.size() >= kMostWaiting) all.waiting.erase(all.waiting.begin());
  Waiting entry{{}, std::move(socket)};
  std::copy(std::begin(id.name), std::end(id.name), entry.name.begin());
  all.waiting.push_back(std::move(entry));
}

uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

/// 16 bytes that depend on every byte of the text and on the purpose.
void spread_over(std::string_view text, uint64_t purpose, unsigned char* bytes) {
  for (size_t half = 0; half < 2; ++half) {
    uint64_t state = mixed(purpose * 2 + half + 0x9e3779b97f4a7c15);
    for (const char c : text) state = mixed(state ^ static_cast<unsigned char>(c)) + 0x9e3779b97f4a7c15;
    state = mixed(state ^ text.size());
    for (size_t i = 0; i < 8; ++i) bytes[8 * half + i] = static_cast<unsigned char>(state >> (8 * i));
  }
}

void set_address(UniqueId& id, const IpAddress& address, uint16_t port) {
  std::memcpy(id.magic, kIdMagic, sizeof(id.magic));
  std::copy(address.bytes.begin(), address.bytes.end(), id.address);
  for (size_t i = 0; i < 4; ++i) id.scope[i] = static_cast<unsigned char>(address.scope >> (24 - 8 * i));
  id.port[0] = static_cast<unsigned char>(port >> 8);
  id.port[1] = static_cast<unsigned char>(port);
}

IpAddress resolve(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int problem = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (problem != 0 || found == nullptr) {
    raise(Result::system_error, "the address of rank 0's host '{}' is not known: {}", printable(host),
          gai_strerror(problem));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
  sockaddr_storage storage{};
  std::memcpy(&storage, found->ai_addr, std::min<size_t>(found->ai_addrlen, sizeof(storage)));
  return IpAddress::from(storage);
}

}  // namespace

UniqueId UniqueId::create(const std::string& interfaces, const std::string& ports) {
  const PortRange range = parse_port_range(ports);
  Listener listener = listen_at(choose_address(network_interfaces(), interfaces), range);
  UniqueId id{};
  set_address(id, listener.address, listener.port);
  if (getrandom(id.name, sizeof(id.name), 0) != kSecretBytes ||
      getrandom(id.secret, sizeof(id.secret), 0) != kSecretBytes) {
    raise_errno(errno, "random bytes for a unique id");
  }
  keep(id, std::move(listener.socket));
  return id;
}

UniqueId UniqueId::derive(const std::string& host, uint16_t port, const std::string& key) {
  if (port == 0)
    raise(Result::invalid_argument, "a unique id cannot be derived from port 0 of '{}'", printable(host));
  UniqueId id{};
  set_address(id, resolve(host), port);
  id.derived = 1;
  // Not from the address: hosts may know each other by different ones.
  const std::string text = fmt::format("{}\n{}", port, key);
  spread_over(text, 1, id.secret);
  spread_over(text, 2, id.name);
  return id;
}

void UniqueId::check() const {
  if (std::memcmp(magic, kIdMagic, sizeof(magic)) != 0 || port_number() == 0) {
    raise(Result::invalid_argument,
          "the unique id was not made by tutti_unique_id_create (or was not copied whole: it has {} bytes)",
          kBytes);
  }
}

std::string UniqueId::address_text() const {
  return ip().text_with(port_number());
}

IpAddress UniqueId::ip() const {
  IpAddress result;
  std::copy(std::begin(address), std::end(address), result.bytes.begin());
  for (const unsigned char byte : scope) result.scope = result.scope << 8 | byte;
  return result;
}

uint16_t UniqueId::port_number() const {
  return static_cast<uint16_t>(port[0] << 8 | port[1]);
}

bool UniqueId::has_secret(const unsigned char* bytes) const {
  volatile unsigned char different = 0;
  for (size_t i = 0; i < kSecretBytes; ++i)
    different = different | static_cast<unsigned char>(secret[i] ^ bytes[i]);
  return different == 0;
}

bool UniqueId::has_secret(std::string_view bytes) const {
  return bytes.size() == kSecretBytes && has_secret(reinterpret_cast<const unsigned char*>(bytes.data()));
}

Descriptor take_listener(const UniqueId& id) {
  Table& all = table();
  const std::lock_guard lock(all.mutex);
  const auto entry = std::find_if(all.waiting.begin(), all.waiting.end(), [&](const Waiting& w) {
    return std::equal(w.name.begin(), w.name.end(), id.name);
  });
  if (entry == all.waiting.end()) return {};
  Descriptor socket = std::move(entry->socket);
  all.waiting.erase(entry);
  return socket;
}

}  // namespace tutti
