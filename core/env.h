// What the user said in TUTTI_* environment variables.
//
// One table (env.cpp) holds everything about every variable; parsing, error messages, tutti-info and
// docs/environment.md all come from it. Code asks by `Variable`, never by a name.
//
// An Environment is parsed as a whole when it is constructed and never changes afterwards: a malformed or
// out-of-range value throws Error(invalid_argument) then, naming the variable, the value and the range, and no
// getter fails later on account of what the user wrote. A variable that is set to nothing counts as not set.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tutti {

enum class Variable : uint8_t {
  algo,
  slice_bytes,
  credits,
  scratch_bytes,
  one_shot_bytes,
  timeout,
  warn_after,
  setup_timeout,
  spin,
  sleep_after,
  simd,
  log,
  log_file,
  stats,
  epoch_start,
  rank,
  size,
  unique_id,
  ifname,
  port_range,
  node_id,
  clock_offset,
  clock_drift,
  transport,
  ucx_put,
  ib_hca,
  ib_gid_index,
  ib_traffic_class,
  ib_timeout,
  ib_retry_count,
  cuda_library,
  device,
  ctas,
  device_comms,
  device_scratch_bytes,
};
inline constexpr size_t kVariables = static_cast<size_t>(Variable::device_scratch_bytes) + 1;

/// TUTTI_SIMD, in the order of its allowed values.
enum class SimdChoice : uint8_t { automatic, portable, avx2, avx512 };

/// TUTTI_TRANSPORT, in the order of its allowed values.
enum class TransportChoice : uint8_t { automatic, verbs, ucx, shm };

/// TUTTI_UCX_PUT, in the order of its allowed values.
enum class UcxPut : uint8_t { automatic, message, rma };

enum class VariableType : uint8_t { integer, size, duration, choice, text, boolean };

/// How a numeric variable leaves the decision to Tutti: not at all, by "0" or "auto" (value 0), or by "auto"
/// alone where 0 is a value of its own (value kAutomatic).
enum class Automatic : uint8_t { no, zero, word };
inline constexpr uint64_t kAutomatic = UINT64_MAX;

/// The value of "none" where a number may be refused by that word.
inline constexpr uint64_t kNone = UINT64_MAX - 1;

/// What a text may consist of.
enum class Charset : uint8_t {
  algorithm,  // letters, digits and _-=,:.+()
  name,       // printable ASCII without the blank
  path,       // anything
  hex,
};

/// One row of the table.
struct VariableSpec {
  Variable variable;
  const char* name;
  VariableType type;
  uint64_t low = 0;  // numbers: the range; texts: the number of characters
  uint64_t high = 0;
  const char* fallback = "";  // the default, written as a user would write it; "" = none
  const char* help = "";
  bool plan = false;  // affects the plan: must be equal on all ranks
  Automatic automatic = Automatic::no;
  const char* allowed = "";  // choices, separated by "|"
  Charset charset = Charset::name;
  bool secret = false;       // never printed
  bool may_be_none = false;  // numbers: the word "none" is allowed too
};

/// A parsed value. Numbers (a choice's position, a boolean's 0 or 1) are in `number`; `text` is the canonical
/// spelling, the same for "64K" and "65536", or the text itself.
struct VariableValue {
  uint64_t number = 0;
  std::string text;
};

const std::array<VariableSpec, kVariables>& variable_specs();

/// One value by its specification; throws Error(invalid_argument) as described above.
VariableValue parse_variable(const VariableSpec& spec, std::string_view value);

/// "an integer from 1 to 16, or 0 or auto for automatic".
std::string range_of(const VariableSpec& spec);

/// What tutti-info and the documentation show; every string is safe to print.
struct VariableDescription {
  std::string name;
  std::string type;
  std::string range;
  std::string default_value;  // "" = none
  std::string value;          // the one in effect
  std::string source;         // "default" or "environment"
  std::string help;
  bool plan;
};

class Environment {
 public:
  /// Parses a list of "NAME=value" that ends with a null pointer; of a name given twice the first one counts,
  /// as with getenv. Every malformed value is named in the one error thrown.
  explicit Environment(const char* const* list);

  /// The environment of this process, parsed on first use. Throws as the constructor does (each time).
  static const Environment& process();

  /// True where the user gave a value (equal to the default or not).
  bool is_set(Variable variable) const { return at(variable).set; }
  bool is_automatic(Variable variable) const;

  // The value in effect. Asking with the wrong type throws internal_error; asking for a variable that has no
  // default and is not set throws invalid_argument (a text is then empty instead).
  uint64_t integer(Variable variable) const { return number(variable, VariableType::integer); }
  uint64_t size(Variable variable) const { return number(variable, VariableType::size); }
  uint64_t duration_ns(Variable variable) const { return number(variable, VariableType::duration); }
  bool boolean(Variable variable) const { return number(variable, VariableType::boolean) != 0; }
  const std::string& text(Variable variable) const;

  /// `Choice` is an enum in the order of the allowed values: choice<SimdChoice>(Variable::simd).
  template <typename Choice>
  Choice choice(Variable variable) const {
    return static_cast<Choice>(number(variable, VariableType::choice));
  }

  /// (name, canonical value) of every plan-affecting variable, set or not, in the order of the table: equal
  /// lists mean equal plans.
  std::vector<std::pair<std::string, std::string>> plan_values() const;

  /// What is odd but harmless, e.g. a TUTTI_ name that does not exist; one line each.
  const std::vector<std::string>& warnings() const { return warnings_; }

  std::vector<VariableDescription> describe() const;

 private:
  struct Slot {
    VariableValue value;
    bool set = false;    // by the user
    bool known = false;  // set, or has a default
  };

  const Slot& at(Variable variable) const { return slots_[static_cast<size_t>(variable)]; }
  uint64_t number(Variable variable, VariableType type) const;
  void accept(std::string_view name, std::string_view value, std::vector<std::string>& errors);
  void check_combinations(std::vector<std::string>& errors) const;

  std::array<Slot, kVariables> slots_;
  std::vector<std::string> warnings_;
};

/// The text of docs/environment.md.
std::string environment_markdown();

}  // namespace tutti
