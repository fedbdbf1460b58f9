// How sizes and durations are read and written; both directions share one table of units.
#include "core/units.h"

#include <fmt/format.h>

#include <charconv>
#include <iterator>

namespace tutti {
namespace {

struct Unit {
  std::string_view name;
  uint64_t scale;
};

// Each table ascends, and its first entry is the unit of which the value counts.
constexpr Unit kSizeUnits[] = {
    {"", 1}, {"KiB", uint64_t{1} << 10}, {"MiB", uint64_t{1} << 20}, {"GiB", uint64_t{1} << 30}};
constexpr Unit kDurationUnits[] = {{"ns", 1},
                                   {"us", 1'000},
                                   {"ms", 1'000'000},
                                   {"s", 1'000'000'000},
                                   {"m", 60'000'000'000},
                                   {"h", 3'600'000'000'000}};

constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// "64KiB" into {64, "KiB"}; empty where there are no digits or too many.
std::optional<std::pair<uint64_t, std::string_view>> split(std::string_view text) noexcept {
  uint64_t number = 0;
  // from_chars of an unsigned type takes no sign, no blank and no prefix.
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return std::nullopt;
  return std::pair{number, text.substr(static_cast<size_t>(rest - text.data()))};
}

std::optional<uint64_t> scaled(uint64_t number, uint64_t scale) noexcept {
  uint64_t product = 0;
  if (__builtin_mul_overflow(number, scale, &product)) return std::nullopt;
  return product;
}

template <size_t N>
const Unit& largest_divisor(const Unit (&units)[N], uint64_t value) {
  size_t best = 0;
  for (size_t i = 1; i < N; ++i) {
    if (value % units[i].scale == 0) best = i;
  }
  return units[best];
}

/// True for "K", "k", "KiB" or "kib" where `unit` is "KiB".
bool names_size_unit(std::string_view text, std::string_view unit) noexcept {
  if (text.size() != unit.size() && text.size() != 1) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (lower(text[i]) != lower(unit[i])) return false;
  }
  return true;
}

}  // namespace

std::optional<uint64_t> parse_integer(std::string_view text) noexcept {
  const auto parts = split(text);
  if (!parts || !parts->second.empty()) return std::nullopt;
  return parts->first;
}

std::optional<uint64_t> parse_size(std::string_view text) noexcept {
  const auto parts = split(text);
  if (!parts) return std::nullopt;
  if (parts->second.empty()) return parts->first;
  for (const Unit& unit : kSizeUnits) {
    if (!unit.name.empty() && names_size_unit(parts->second, unit.name)) {
      return scaled(parts->first, unit.scale);
    }
  }
  return std::nullopt;
}

std::optional<uint64_t> parse_duration(std::string_view text) noexcept {
  const auto parts = split(text);
  if (!parts) return std::nullopt;
  const std::string_view name = parts->second.empty() ? "s" : parts->second;
  for (const Unit& unit : kDurationUnits) {
    if (name == unit.name) return scaled(parts->first, unit.scale);
  }
  return std::nullopt;
}

std::string format_size(uint64_t bytes) {
  if (bytes == 0) return "0";
  const Unit& unit = largest_divisor(kSizeUnits, bytes);
  return fmt::format("{}{}", bytes / unit.scale, unit.name);
}

std::string format_duration(uint64_t nanoseconds) {
  if (nanoseconds == 0) return "0s";
  const Unit& unit = largest_divisor(kDurationUnits, nanoseconds);
  return fmt::format("{}{}", nanoseconds / unit.scale, unit.name);
}

std::string format_duration_short(uint64_t nanoseconds) {
  if (nanoseconds < 1'000) return fmt::format("{}ns", nanoseconds);
  const Unit* unit = &kDurationUnits[3];
  // 999.5 is where three digits round up to 1000, which is 1.00 of the next unit.
  for (const Unit* smaller : {&kDurationUnits[1], &kDurationUnits[2]}) {
    if (static_cast<double>(nanoseconds) < 999.5 * static_cast<double>(smaller->scale)) {
      unit = smaller;
      break;
    }
  }
  const double value = static_cast<double>(nanoseconds) / static_cast<double>(unit->scale);
  const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f}{}", value, decimals, unit->name);
}

std::string printable(std::string_view text, size_t limit) {
  std::string out;
  for (const char c : text) {
    const bool plain = c >= ' ' && c <= '~' && c != '\\';
    if (out.size() + (plain ? 1 : 4) > limit) return out + "...";
    if (plain) {
      out += c;
    } else {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

}  // namespace tutti
