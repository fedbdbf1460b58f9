#include "runtime/device/registrations.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "collectives/executors/cuda/launch.h"
#include "core/error.h"

namespace tutti {

namespace {

/// What a parcel begins with; behind it a problem, or else what is shared.
struct Head {
  static constexpr uint32_t kMagic = 0x74726567;
  uint32_t magic = kMagic;
  uint32_t what = 0;
  uint64_t id = 0;
  uint64_t has_problem = 0;
};

constexpr uint32_t kShare = 1;
constexpr uint32_t kMapped = 2;
constexpr uint32_t kRelease = 3;
constexpr uint32_t kDropped = 4;

Parcel parcel_of(uint32_t what, uint64_t id, const std::string& problem) {
  Head head{.what = what, .id = id, .has_problem = problem.empty() ? 0U : 1U};
  Parcel parcel;
  parcel.bytes.assign(reinterpret_cast<const char*>(&head), sizeof(head));
  parcel.bytes += problem;
  return parcel;
}

Head head_of(const Parcel& parcel, size_t place) {
  Head head;
  if (parcel.bytes.size() >= sizeof(head)) std::memcpy(&head, parcel.bytes.data(), sizeof(head));
  if (parcel.bytes.size() < sizeof(head) || head.magic != Head::kMagic) {
    raise(Result::system_error, "local rank {} registers by {} bytes that are no such message", place,
          parcel.bytes.size());
  }
  return head;
}

std::string_view body_of(const Parcel& parcel) {
  return std::string_view(parcel.bytes).substr(sizeof(Head));
}

std::string name_of(uint32_t what, uint64_t id) {
  return fmt::format("{} buffer {}", what == kRelease || what == kDropped ? "deregisters" : "registers", id);
}

CUdeviceptr address_of(const void* at) {
  return reinterpret_cast<CUdeviceptr>(at);
}

}  // namespace

Registrations::Registrations(cuda::DevicePtr device, int place, int size, Exchange exchange)
    : device_(std::move(device)),
      place_(place),
      size_(static_cast<size_t>(size)),
      exchange_(std::move(exchange)),
      table_(device_, kMost * size_ * sizeof(uint64_t)) {
  table_.clear();
}

/// One round, in which all ranks must do the same.
std::vector<Parcel> Registrations::meet(Parcel mine, uint64_t id, uint32_t what) const {
  std::vector<Parcel> all = exchange_(std::move(mine));
  for (size_t p = 0; p < all.size(); ++p) {
    const Head head = head_of(all[p], p);
    if (head.what == what && head.id == id) continue;
    raise(
        Result::invalid_usage,
        "local rank {} {} where local rank {} {}; expected all ranks to register and deregister in the same "
        "order",
        place_, name_of(what, id), p, name_of(head.what, head.id));
  }
  return all;
}

/// The first problem that a rank has; empty where none has.
std::string Registrations::agree(uint64_t id, uint32_t what, const std::string& problem) const {
  const std::vector<Parcel> all = meet(parcel_of(what, id, problem), id, what);
  for (size_t p = 0; p < all.size(); ++p) {
    if (head_of(all[p], p).has_problem != 0) return fmt::format("local rank {}: {}", p, body_of(all[p]));
  }
  return "";
}

/// The problem; empty where all is mapped.
std::string Registrations::map_all(Entry& entry, const std::vector<Parcel>& parcels) const {
  for (size_t p = 0; p < parcels.size(); ++p) {
    if (head_of(parcels[p], p).has_problem != 0) return std::string(body_of(parcels[p]));
  }
  entry.others.resize(parcels.size());
  try {
    for (size_t p = 0; p < parcels.size(); ++p) {
      if (p == static_cast<size_t>(place_)) continue;
      entry.others[p] = cuda::Imported(device_, body_of(parcels[p]), parcels[p].descriptors,
                                       fmt::format("local rank {}", p));
    }
    write_row(entry);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void Registrations::write_row(const Entry& entry) const {
  std::vector<uint64_t> row(size_);
  for (size_t p = 0; p < size_; ++p) row[p] = entry.others[p].address();
  row[static_cast<size_t>(place_)] = entry.begin;
  table_.write(entry.row * size_ * sizeof(uint64_t), row.data(), size_ * sizeof(uint64_t));
}

/// The lowest one, as on all other ranks.
size_t Registrations::free_row() const {
  std::vector<bool> used(kMost);
  for (const auto& [id, entry] : entries_) used[entry.row] = true;
  return static_cast<size_t>(std::find(used.begin(), used.end(), false) - used.begin());
}

void Registrations::add(uint64_t id, const void* buffer, size_t bytes) {
  Entry entry{.begin = reinterpret_cast<uintptr_t>(buffer),
              .bytes = bytes,
              .row = free_row(),
              .why_not = {},
              .identity = {},
              .others = {}};
  if (entry.row == kMost) {
    raise(Result::unsupported, "{} buffers are registered already; expected at most as many at a time",
          kMost);
  }
  const bool empty = buffer == nullptr || bytes == 0;
  Parcel mine = parcel_of(kShare, id, empty ? "there is nothing in it" : "");
  if (!empty) {
    try {
      entry.identity = cuda::identify(*device_, address_of(buffer), bytes);
      cuda::Exported shared = cuda::export_memory(*device_, address_of(buffer), bytes);
      mine.bytes += shared.bytes;
      mine.descriptors = std::move(shared.descriptors);
    } catch (const Error& error) {
      mine = parcel_of(kShare, id, error.what());
    }
  }
  const std::string problem = map_all(entry, meet(std::move(mine), id, kShare));
  entry.why_not = agree(id, kMapped, problem);
  if (!entry.why_not.empty()) entry.others.clear();
  const Entry& kept = entries_.emplace(id, std::move(entry)).first->second;
  if (!kept.why_not.empty()) return;
  by_address_.emplace(kept.begin, &kept);
  longest_ = std::max(longest_, bytes);
}

void Registrations::remove(uint64_t id) {
  static_cast<void>(agree(id, kRelease, ""));
  const auto entry = entries_.find(id);
  if (entry != entries_.end()) {
    std::erase_if(by_address_, [&](const auto& known) { return known.second == &entry->second; });
    entries_.erase(entry);
  }
  static_cast<void>(agree(id, kDropped, ""));
}

/// One in place that holds all of the bytes; registrations may overlap.
const Registrations::Entry* Registrations::entry_of(const void* at, size_t bytes) const {
  const auto address = reinterpret_cast<uintptr_t>(at);
  for (auto i = by_address_.upper_bound(address); i != by_address_.begin();) {
    --i;
    const uint64_t offset = address - i->first;
    if (offset >= longest_) break;
    const Entry& entry = *i->second;
    if (offset < entry.bytes && bytes <= entry.bytes - offset) return &entry;
  }
  return nullptr;
}

uint64_t Registrations::lend(const void* at, size_t bytes) const {
  const Entry* entry = entry_of(at, bytes);
  if (entry == nullptr) return cuda::kNoLoan;
  return cuda::loan_of(entry->row, reinterpret_cast<uintptr_t>(at) - entry->begin);
}

bool Registrations::is_stale(const void* at, size_t bytes) const {
  const Entry* entry = entry_of(at, bytes);
  if (entry == nullptr) return false;
  try {
    return !(cuda::identify(*device_, entry->begin, entry->bytes) == entry->identity);
  } catch (const Error&) {
    return true;  // there is nothing at all
  }
}

std::string Registrations::describe(uint64_t calls) const {
  if (entries_.empty()) return "";
  const auto staged =
      std::find_if(entries_.begin(), entries_.end(), [](const auto& e) { return !e.second.why_not.empty(); });
  const auto in_place =
      std::count_if(entries_.begin(), entries_.end(), [](const auto& e) { return e.second.why_not.empty(); });
  std::string text = fmt::format("; {} registered buffers, {} used in place", entries_.size(), in_place);
  if (staged != entries_.end())
    text += fmt::format(" (buffer {} is not: {})", staged->first, staged->second.why_not);
  return text + fmt::format(", {} calls on them", calls);
}

}  // namespace tutti
