// Checks for rank threads and forked ranks, where Catch2's assertions must not be used: a failed one throws its text.
#pragma once

#include <fmt/format.h>
#include <tutti/tutti.h>

#include <stdexcept>
#include <string>
#include <string_view>

template <typename... Args>
void expect(bool holds, fmt::format_string<Args...> what, Args&&... args) {
  if (!holds) throw std::runtime_error(fmt::format(what, std::forward<Args>(args)...));
}

/// `where` says what was called.
inline void expect_result(tutti_result_t got, tutti_result_t wanted, std::string_view where) {
  if (got == wanted) return;
  const std::string text = tutti_last_error();
  throw std::runtime_error(fmt::format("{}: got '{}', expected '{}': {}", where, tutti_result_name(got),
                                       tutti_result_name(wanted), text));
}

inline void expect_success(tutti_result_t got, std::string_view where) {
  expect_result(got, TUTTI_SUCCESS, where);
}

/// The text of the last error names `part`.
inline void expect_text(std::string_view part, std::string_view where) {
  const std::string text = tutti_last_error();
  expect(text.find(part) != std::string::npos, "{}: the text does not name '{}': {}", where, part, text);
}
