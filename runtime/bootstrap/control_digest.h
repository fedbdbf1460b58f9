// The digest of settings that must be equal on all ranks: how two of them are compared.
#pragma once

#include <cstdint>
#include <string>

namespace tutti {

/// The first of the lines "name=value" that differs, as "NAME is 'A' on rank x but 'B' on rank y; it must be equal on all ranks";
/// empty when the two are equal.
std::string digest_difference(const std::string& mine, int my_rank, const std::string& theirs,
                              int their_rank);

/// Stands for a digest where the whole text is not needed.
uint64_t digest_hash(const std::string& digest);

}  // namespace tutti
