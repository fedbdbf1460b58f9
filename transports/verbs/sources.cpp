#include "transports/verbs/sources.h"

#include <algorithm>

namespace tutti::verbs {

Source::Source(std::span<const std::byte> memory, const std::vector<std::unique_ptr<Rail>>& rails)
    : memory_(memory) {
  regions_.reserve(rails.size());
  for (const auto& rail : rails) regions_.push_back({rail.get(), rail->register_source(memory)});
}

uint32_t Source::key(const Rail& rail) const {
  const auto of_rail = std::ranges::find(regions_, &rail, &OfRail::rail);
  return of_rail->region->lkey;
}

void Sources::add(uint64_t id, std::span<const std::byte> memory,
                  const std::vector<std::unique_ptr<Rail>>& rails) {
  auto source = std::make_unique<Source>(memory, rails);
  const auto place = std::ranges::upper_bound(entries_, source->begin(), {},
                                              [](const Entry& entry) { return entry.source->begin(); });
  entries_.insert(place, {id, std::move(source)});
}

void Sources::remove(uint64_t id) {
  std::erase_if(entries_, [id](const Entry& entry) { return entry.id == id; });
}

const Source* Sources::find(const std::byte* from, size_t bytes) const {
  const auto after =
      std::ranges::upper_bound(entries_, from, {}, [](const Entry& entry) { return entry.source->begin(); });
  if (after == entries_.begin()) return nullptr;
  const Source& source = *std::prev(after)->source;
  return source.holds(from, bytes) ? &source : nullptr;
}

}  // namespace tutti::verbs
