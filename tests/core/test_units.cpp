// Sizes and durations: what is read, what is refused, and that writing and reading are inverse.
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "core/units.h"
#include "tests/catch.h"

using namespace tutti;

namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

struct Reading {
  std::string text;
  std::optional<uint64_t> value;
};

/// Powers of two and of ten and their neighbours: where a unit or an overflow begins.
std::vector<uint64_t> corner_values() {
  std::vector<uint64_t> values = {0, kMax};
  for (int bit = 0; bit < 64; ++bit) {
    const uint64_t power = uint64_t{1} << bit;
    values.insert(values.end(), {power - 1, power, power + 1, power * 3});
  }
  for (uint64_t power = 1; power <= kMax / 10; power *= 10) {
    values.insert(values.end(), {power - 1, power, power + 1, power / 4, power * 6});
  }
  return values;
}

}  // namespace

TEST_CASE("sizes are read strictly") {
  const std::vector<Reading> table = {
      {"0", 0},
      {"64", 64},
      {"64K", 65536},
      {"64k", 65536},
      {"64KiB", 65536},
      {"64kib", 65536},
      {"1M", 1 << 20},
      {"1MiB", 1 << 20},
      {"1G", 1 << 30},
      {"1GiB", 1 << 30},
      {"007", 7},
      {"18446744073709551615", kMax},
      {"17179869183G", 17179869183ULL << 30},
      {"17179869184G", std::nullopt},  // 2^64
      {"18446744073709551616", std::nullopt},
      {"99999999999999999999999999999999", std::nullopt},
      {"", std::nullopt},
      {"K", std::nullopt},
      {"KiB", std::nullopt},
      {"64KB", std::nullopt},
      {"64Ki", std::nullopt},
      {"64B", std::nullopt},
      {"64KK", std::nullopt},
      {"64K ", std::nullopt},
      {" 64K", std::nullopt},
      {"64 K", std::nullopt},
      {"+64", std::nullopt},
      {"-1", std::nullopt},
      {"0x40", std::nullopt},
      {"1e3", std::nullopt},
      {"1.5M", std::nullopt},
      {"64\xff", std::nullopt},
      {std::string("64\0", 3), std::nullopt},
      {std::string("64K\0", 4), std::nullopt},
      {"64s", std::nullopt},
      {"1T", std::nullopt},
  };
  for (const Reading& row : table) {
    CAPTURE(printable(row.text));
    CHECK(parse_size(row.text) == row.value);
  }
}

TEST_CASE("durations are read strictly") {
  const std::vector<Reading> table = {
      {"0", 0},
      {"0s", 0},
      {"10", 10'000'000'000},
      {"10s", 10'000'000'000},
      {"250ms", 250'000'000},
      {"30us", 30'000},
      {"5ns", 5},
      {"5m", 300'000'000'000},
      {"2h", 7'200'000'000'000},
      {"18446744073709551615ns", kMax},
      {"18446744073s", 18'446'744'073'000'000'000ULL},
      {"18446744074s", std::nullopt},
      {"18446744074", std::nullopt},
      {"5124096h", std::nullopt},
      {"18446744073709551616ns", std::nullopt},
      {"", std::nullopt},
      {"s", std::nullopt},
      {"10S", std::nullopt},
      {"10M", std::nullopt},
      {"10min", std::nullopt},
      {"10sec", std::nullopt},
      {"10 s", std::nullopt},
      {"10s ", std::nullopt},
      {" 10s", std::nullopt},
      {"10ss", std::nullopt},
      {"1m30s", std::nullopt},
      {"-1s", std::nullopt},
      {"+1s", std::nullopt},
      {"1.5s", std::nullopt},
      {"10\xc2\xb5s", std::nullopt},
      {std::string("10s\0", 4), std::nullopt},
      {"64K", std::nullopt},
  };
  for (const Reading& row : table) {
    CAPTURE(printable(row.text));
    CHECK(parse_duration(row.text) == row.value);
  }
}

TEST_CASE("integers are read strictly") {
  const std::vector<Reading> table = {
      {"0", 0},
      {"12", 12},
      {"18446744073709551615", kMax},
      {"18446744073709551616", std::nullopt},
      {"", std::nullopt},
      {"-0", std::nullopt},
      {"+1", std::nullopt},
      {"1 ", std::nullopt},
      {"1K", std::nullopt},
      {"one", std::nullopt},
  };
  for (const Reading& row : table) {
    CAPTURE(row.text);
    CHECK(parse_integer(row.text) == row.value);
  }
}

TEST_CASE("what is written is read back as the same value") {
  for (const uint64_t value : corner_values()) {
    CAPTURE(value);
    CHECK(parse_size(format_size(value)) == value);
    CHECK(parse_duration(format_duration(value)) == value);
  }
}

TEST_CASE("values are written in the largest unit that divides them") {
  CHECK(format_size(0) == "0");
  CHECK(format_size(1000) == "1000");
  CHECK(format_size(1024) == "1KiB");
  CHECK(format_size(65536) == "64KiB");
  CHECK(format_size(1536 * 1024) == "1536KiB");
  CHECK(format_size(uint64_t{3} << 30) == "3GiB");
  CHECK(format_duration(0) == "0s");
  CHECK(format_duration(1) == "1ns");
  CHECK(format_duration(1'500'000) == "1500us");
  CHECK(format_duration(250'000'000) == "250ms");
  CHECK(format_duration(90'000'000'000) == "90s");
  CHECK(format_duration(600'000'000'000) == "10m");
  CHECK(format_duration(86'400'000'000'000) == "24h");
}

TEST_CASE("short durations have three digits") {
  const std::vector<std::pair<uint64_t, std::string>> table = {
      {0, "0ns"},
      {999, "999ns"},
      {1'000, "1.00us"},
      {1'234, "1.23us"},
      {9'994, "9.99us"},
      {9'996, "10.0us"},
      {12'345, "12.3us"},
      {99'960, "100us"},
      {999'499, "999us"},
      {999'500, "1.00ms"},
      {45'600'000, "45.6ms"},
      {10'000'000'000, "10.0s"},
      {600'000'000'000, "600s"},
      {86'400'000'000'000, "86400s"},
  };
  for (const auto& [value, text] : table) {
    CAPTURE(value);
    CHECK(format_duration_short(value) == text);
  }
}

TEST_CASE("text from outside is made printable and cut") {
  CHECK(printable("plain text 1") == "plain text 1");
  CHECK(printable("") == "");
  CHECK(printable("a\nb\t\x1b[31m") == "a\\x0ab\\x09\\x1b[31m");
  CHECK(printable("back\\slash") == "back\\x5cslash");
  CHECK(printable("\xff\x80\x7f") == "\\xff\\x80\\x7f");
  CHECK(printable(std::string("a\0b", 3)) == "a\\x00b");
  CHECK(printable(std::string(80, 'x')) == std::string(80, 'x'));
  CHECK(printable(std::string(81, 'x')) == std::string(80, 'x') + "...");
  CHECK(printable(std::string(1000, '\xff'), 10) == "\\xff\\xff...");  // an escape is never cut in two
}
