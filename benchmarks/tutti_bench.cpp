// tutti-bench: any collective by its name; the same as the programs that bear a collective's name.
#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <string_view>

#include "benchmarks/collectives.h"
#include "benchmarks/launcher.h"
#include "benchmarks/options.h"
#include "benchmarks/program.h"
#include "core/units.h"

namespace {

using namespace tutti::bench;

std::string usage() {
  std::string text =
      "Usage: tutti-bench COLLECTIVE [OPTIONS]\n\n"
      "Measures a collective: latency percentiles, skew and service, CPU cost, bandwidth; results are "
      "verified.\n\n"
      "Collectives:\n";
  for (const CollectiveInfo& one : all_collectives())
    text += fmt::format("  {:<16} also as the program {}\n", one.name, one.program);
  return text +
         "\n'tutti-bench COLLECTIVE --help' lists the options.\n\nExit status: 0 all results are right, 1 a "
         "result is "
         "wrong or the run failed, 2 bad option, 130 interrupted.\n";
}

/// Where a launcher started many, one of them speaks.
void say(std::FILE* where, const std::string& text) {
  if (how_started().rank == 0) fmt::print(where, "{}", text);
}

int without_collective(std::string_view word) {
  if (word == "--help" || word == "-h") {
    say(stdout, usage());
    return 0;
  }
  if (word == "--version") {
    say(stdout, fmt::format("tutti-bench (tutti {})\n", library_version()));
    return 0;
  }
  std::string names;
  for (const CollectiveInfo& one : all_collectives())
    names += fmt::format("{}{}", names.empty() ? "" : ", ", one.name);
  const std::string problem =
      word.empty() ? "which collective?" : fmt::format("COLLECTIVE: '{}' is none,", tutti::printable(word));
  say(stderr, fmt::format("tutti-bench: {} allowed: {}\nTry 'tutti-bench --help'.\n", problem, names));
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view word = argc > 1 ? argv[1] : "";
  const CollectiveInfo* collective = find_collective(word);
  if (collective == nullptr) return without_collective(word);
  const std::string program = fmt::format("tutti-bench {}", collective->name);
  return run_program(as_part_of(*collective, program.c_str()), argc, argv, 2);
}
