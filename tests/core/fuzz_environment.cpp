// Fuzz target: no list of environment entries makes Environment do anything but parse it or throw one
// Error(invalid_argument) that is fit to print.
//
// The input is a list of entries, each ended by a zero byte. libFuzzer drives this function where
// TUTTI_FUZZ=ON, test_fuzz_environment.cpp with a seeded generator everywhere.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "core/env.h"
#include "core/error.h"
#include "core/units.h"

namespace {

using namespace tutti;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz_environment: violated: %s\n", what);
  std::abort();
}

bool fit_to_print(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

std::vector<std::string> entries_of(const uint8_t* data, size_t size) {
  std::vector<std::string> entries(1);
  for (size_t i = 0; i < size; ++i) {
    if (data[i] == 0) {
      entries.emplace_back();
    } else {
      entries.back() += static_cast<char>(data[i]);
    }
  }
  return entries;
}

Environment parse(const std::vector<std::string>& entries) {
  std::vector<const char*> list;
  for (const std::string& entry : entries) list.push_back(entry.c_str());
  list.push_back(nullptr);
  return Environment(list.data());
}

uint64_t number_of(const Environment& environment, const VariableSpec& spec) {
  if (spec.type == VariableType::integer) return environment.integer(spec.variable);
  if (spec.type == VariableType::size) return environment.size(spec.variable);
  return environment.duration_ns(spec.variable);
}

void check_units(std::string_view text) {
  require(fit_to_print(printable(text)) && printable(text).size() <= 83,
          "printable text is printable and short");
  if (const auto size = parse_size(text)) require(parse_size(format_size(*size)) == size, "sizes round-trip");
  if (const auto duration = parse_duration(text)) {
    require(parse_duration(format_duration(*duration)) == duration, "durations round-trip");
    require(!format_duration_short(*duration).empty(), "every duration has a short form");
  }
}

void check_number(const Environment& environment, const VariableSpec& spec) {
  const bool has_value = environment.is_set(spec.variable) || *spec.fallback != '\0';
  if (!has_value || environment.is_automatic(spec.variable)) return;
  const uint64_t number = number_of(environment, spec);
  if (spec.may_be_none && number == kNone) return;
  require(number >= spec.low && number <= spec.high, "a number lies in its range");
}

void check_parsed(const Environment& environment) {
  for (const VariableSpec& spec : variable_specs()) {
    const bool is_number = spec.type == VariableType::integer || spec.type == VariableType::size ||
                           spec.type == VariableType::duration;
    if (is_number) check_number(environment, spec);
    if (spec.type == VariableType::text) {
      const std::string& text = environment.text(spec.variable);
      require(text.size() <= spec.high, "a text has at most its length");
      require(spec.charset == Charset::path || fit_to_print(text), "a text has only its characters");
    }
  }
  for (const std::string& warning : environment.warnings()) {
    require(fit_to_print(warning) && warning.size() < 200, "a warning is printable and short");
  }
  for (const VariableDescription& row : environment.describe()) {
    require(fit_to_print(row.value) && row.value.size() <= 83, "a described value is printable and short");
  }

  std::vector<std::string> canonical;
  for (const auto& [name, value] : environment.plan_values()) canonical.push_back(name + "=" + value);
  require(parse(canonical).plan_values() == environment.plan_values(), "plan values parse to themselves");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<std::string> entries = entries_of(data, size);
  for (const std::string& entry : entries) check_units(std::string_view(entry).substr(entry.find('=') + 1));
  try {
    check_parsed(parse(entries));
  } catch (const Error& error) {
    const std::string message = error.what();
    require(error.code() == Result::invalid_argument, "an error is an invalid argument");
    require(message.starts_with("TUTTI_") && fit_to_print(message),
            "an error names its variable and is printable");
    require(message.size() < 300 * kVariables, "an error is short");
  }
  return 0;
}
