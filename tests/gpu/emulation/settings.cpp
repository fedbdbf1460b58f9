#include "tests/gpu/emulation/settings.h"

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace tutti::emulation {
namespace {

uint64_t number(const char* name, uint64_t preset, uint64_t least, uint64_t most) {
  const char* text = std::getenv(name);
  if (text == nullptr) return preset;
  const std::string_view view{text};
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  if (error != std::errc{} || end != view.data() + view.size() || value < least || value > most) {
    std::fprintf(stderr, "emulated CUDA: %s=%s: expected a number from %llu to %llu\n", name, text,
                 static_cast<unsigned long long>(least), static_cast<unsigned long long>(most));
    std::abort();
  }
  return value;
}

Settings read() {
  Settings s;
  s.devices = static_cast<int>(number("TUTTI_EMULATED_DEVICES", 1, 0, kMaxDevices));
  s.multiprocessors = static_cast<int>(number("TUTTI_EMULATED_MULTIPROCESSORS", 132, 1, 1024));
  s.threads = static_cast<unsigned>(number("TUTTI_EMULATED_THREADS", 2, 1, 64));
  s.memory = number("TUTTI_EMULATED_MEMORY", s.memory, 1, uint64_t{1} << 40);
  s.patience = std::chrono::milliseconds{number("TUTTI_EMULATED_PATIENCE_MS", 20'000, 1, 86'400'000)};
  return s;
}

}  // namespace

const Settings& settings() {
  static const Settings read_once = read();
  return read_once;
}

}  // namespace tutti::emulation
