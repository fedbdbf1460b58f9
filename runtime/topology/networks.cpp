#include "runtime/topology/networks.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sstream>
#include <string_view>

#include "runtime/version.h"

#if defined(TUTTI_HAVE_UCX) || defined(TUTTI_HAVE_VERBS)
#include "core/error.h"
#endif
#ifdef TUTTI_HAVE_UCX
#include "transports/ucx/library.h"
#endif
#ifdef TUTTI_HAVE_VERBS
#include <fmt/format.h>

#include "transports/verbs/devices.h"
#endif

namespace tutti {

std::vector<std::string> parse_ucx_resources(const std::string& text) {
  constexpr size_t kMost = 256;
  constexpr std::string_view kMark = " -- ";
  std::vector<std::string> resources;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line) && resources.size() < kMost;) {
    const size_t mark = line.find(kMark);
    if (line.find(" resource ") == std::string::npos || mark == std::string::npos) continue;
    std::string name = line.substr(mark + kMark.size());
    while (!name.empty() && (name.back() == ' ' || name.back() == '\r')) name.pop_back();
    const bool fine = std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c <= '~'; });
    if (!name.empty() && fine) resources.push_back(name);
  }
  return resources;
}

bool leads_elsewhere(const std::string& resource) {
  const size_t slash = resource.find('/');
  const std::string device = slash == std::string::npos ? "" : resource.substr(slash + 1);
  return !device.empty() && device.rfind("memory", 0) != 0 && device != "lo";
}

#ifdef TUTTI_HAVE_UCX

namespace {

struct FreeText {
  void operator()(char* text) const { std::free(text); }
};
struct CloseFile {
  void operator()(FILE* file) const { std::fclose(file); }
};

/// UCX has no call that lists what a context uses, but prints it.
std::string printed(ucp_context_h context) {
  char* text = nullptr;
  size_t size = 0;
  std::unique_ptr<FILE, CloseFile> file(::open_memstream(&text, &size));
  if (!file) return {};
  ucp_context_print_info(context, file.get());
  file.reset();
  const std::unique_ptr<char, FreeText> owner(text);
  return {text, size};
}

}  // namespace

UcxReport look_at_ucx() {
  UcxReport report;
  report.built = true;
  report.version = ucp_get_version_string();
  try {
    // As the transport opens it.
    const ucx::Worker worker(1, true);
    report.resources = parse_ucx_resources(printed(worker.context()));
  } catch (const Error& e) {
    report.problem = e.what();
    return report;
  }
  report.usable = std::any_of(report.resources.begin(), report.resources.end(), leads_elsewhere);
  if (!report.usable) report.problem = "it finds no network device that leads to other machines";
  return report;
}

#else

UcxReport look_at_ucx() {
  UcxReport report;
  report.problem = std::string("version ") + kVersionText + " was built without it";
  return report;
}

#endif

#ifdef TUTTI_HAVE_VERBS

namespace {

std::string text_of(const verbs::RailInfo& rail) {
  return fmt::format("{} ({}{}{:.3g} Gbit/s, {}, {})", rail.name, rail.network,
                     rail.network.empty() ? "" : ", ", rail.gbits, verbs::gid_text(rail.gid),
                     verbs::name_of(rail.sort));
}

}  // namespace

VerbsReport look_at_verbs(const std::string& wanted, int gid_index) {
  VerbsReport report;
  report.built = true;
  const std::vector<verbs::RailInfo> all = verbs::list_rails(gid_index);
  std::vector<verbs::RailInfo> chosen;
  try {
    chosen = verbs::choose_rails(all, wanted);
  } catch (const Error& e) {
    report.problem = e.what();
  }
  if (chosen.size() > verbs::kMostRails) chosen.resize(verbs::kMostRails);
  report.usable = !chosen.empty();
  for (size_t i = 0; i < chosen.size(); ++i)
    report.rails.push_back(fmt::format("rail {}: {}", i, text_of(chosen[i])));
  for (const verbs::RailInfo& rail : all) {
    if (std::ranges::any_of(chosen, [&](const auto& c) { return c.name == rail.name; })) continue;
    report.rails.push_back(rail.problem.empty() ? fmt::format("not used: {}", text_of(rail))
                                                : fmt::format("{}: {}", rail.name, rail.problem));
  }
  return report;
}

#else

VerbsReport look_at_verbs(const std::string& /*wanted*/, int /*gid_index*/) {
  VerbsReport report;
  report.problem = std::string("version ") + kVersionText + " was built without it";
  return report;
}

#endif

}  // namespace tutti
