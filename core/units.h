// Sizes and durations as people write them: "64K", "1MiB", "250ms", "10s".
//
// Reading is strict (the whole text must be one number and one unit, nothing wraps around) and writing is
// exact: what format_* prints, parse_* reads back to the same value. Numbers are whole; a size unit is a
// power of 1024, and a number without a unit counts bytes or seconds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tutti {

/// Digits only: no sign, no blank, no prefix. Empty where `text` is anything else or exceeds 64 bits.
std::optional<uint64_t> parse_integer(std::string_view text) noexcept;

/// Bytes of "64", "64K", "64KiB", "1M", "1MiB", "1G", "1GiB"; the letters may be lower case.
std::optional<uint64_t> parse_size(std::string_view text) noexcept;

/// Nanoseconds of "10" (seconds), "10s", "250ms", "30us", "5ns", "5m" (minutes), "2h".
std::optional<uint64_t> parse_duration(std::string_view text) noexcept;

/// The value in the largest unit that divides it: "64KiB", "1000".
std::string format_size(uint64_t bytes);

/// The value in the largest unit that divides it: "250ms", "10m", "1500us", "0s".
std::string format_duration(uint64_t nanoseconds);

/// Three significant digits for people, e.g. in a log line or a table: "1.23us", "45.6ms", "10.0s".
std::string format_duration_short(uint64_t nanoseconds);

/// `text` from outside, made safe to print: one line of printable ASCII, everything else and the backslash as
/// \xNN, cut (and marked with "...") after `limit` characters.
std::string printable(std::string_view text, size_t limit = 80);

}  // namespace tutti
