// Drives the fuzz target without libFuzzer: valid entries, mutated by a seeded generator. Every input depends
// on its number alone, so the number that is printed with a failure reproduces it.
#include <chrono>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "core/env.h"
#include "core/error.h"
#include "tests/catch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

using namespace tutti;

namespace {

class Generator {
 public:
  explicit Generator(uint64_t number) : random_(number) {}

  /// Some entries, each ended by a zero byte.
  std::string input() {
    std::string all;
    for (size_t n = below(6) + 1; n > 0; --n) {
      const VariableSpec& spec = variable_specs()[below(kVariables)];
      std::string name = spec.name;
      std::string value = value_for(spec);
      if (below(8) == 0) mutate(name);
      for (size_t changes = below(4); changes > 0; --changes) mutate(value);
      all += name + "=" + value + '\0';
    }
    return all;
  }

 private:
  size_t below(size_t limit) { return static_cast<size_t>(random_() % limit); }

  template <size_t N>
  const char* any(const char* const (&choices)[N]) {
    return choices[below(N)];
  }

  std::string value_for(const VariableSpec& spec) {
    switch (spec.type) {
      case VariableType::integer:
        return any({"0", "1", "7", "16", "auto", "none", "65535", "4611686018427387904"});
      case VariableType::size:
        return any({"0", "4096", "64K", "64KiB", "1M", "4MiB", "1G", "auto"});
      case VariableType::duration:
        return any({"0", "10", "10s", "250ms", "30us", "999999ns", "5m", "24h", "auto"});
      case VariableType::choice:
        return any({"auto", "avx2", "AVX512", "portable", "off", "warn", "debug"});
      case VariableType::boolean:
      case VariableType::text:
        break;
    }
    return any({"ring", "all_reduce=ring,broadcast=chain", "00ff", "/tmp/log-%r", "node-1"});
  }

  void mutate(std::string& text) {
    const size_t at = below(text.size() + 1);
    switch (below(8)) {
      case 0:
        text.insert(at, 1, static_cast<char>(below(255) + 1));
        break;
      case 1:
        if (at < text.size()) text.erase(at, 1);
        break;
      case 2:
        if (at < text.size()) text[at] = static_cast<char>(below(255) + 1);
        break;
      case 3:
        if (at + 1 < text.size()) std::swap(text[at], text[at + 1]);
        break;
      case 4:
        text.insert(at, std::string(below(400), static_cast<char>('0' + below(10))));
        break;
      case 5:
        text.insert(at, any({"18446744073709551615", "18446744073709551616", "-1", "+", " ", "\t", "=", "\n",
                             "\xff\xfe", "\xc2\xb5", "%s%n", "{}", "0x10", "1e9", "TUTTI_"}));
        break;
      case 6:
        text += any({"K", "KiB", "M", "G", "T", "s", "ms", "us", "ns", "m", "h", "B"});
        break;
      default:
        text += text.substr(0, at);
        break;
    }
  }

  std::mt19937_64 random_;
};

/// Accepted or refused, and nothing else: the target itself aborts otherwise.
bool is_accepted(const std::string& input) {
  std::vector<const char*> list;
  for (size_t at = 0; at < input.size(); at = input.find('\0', at) + 1) list.push_back(input.c_str() + at);
  list.push_back(nullptr);
  try {
    const Environment environment(list.data());
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

TEST_CASE("two seconds of mutated environments") {
  constexpr uint64_t kAtLeast = 2'000;  // also on the slowest sanitizer build
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  uint64_t accepted = 0;
  uint64_t number = 0;
  for (; number < kAtLeast || std::chrono::steady_clock::now() < end; ++number) {
    const std::string input = Generator(number).input();
    INFO("input number " << number);
    REQUIRE(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size()) == 0);
    if (number < kAtLeast && is_accepted(input)) ++accepted;
  }
  // A generator whose inputs all take the same path would test nothing.
  CHECK(accepted > kAtLeast / 20);
  CHECK(accepted < kAtLeast * 19 / 20);
}

TEST_CASE("the corner cases of the fuzz target's own format") {
  for (const std::string& input :
       {std::string(), std::string(1, '\0'), std::string(1000, '\0'), std::string("="),
        std::string("TUTTI_="), std::string("TUTTI_LOG\0TUTTI_LOG=\0", 21)}) {
    CHECK(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size()) == 0);
  }
}
