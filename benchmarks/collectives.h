// The collectives that can be measured, and all that differs between them.
#pragma once

#include <span>
#include <string_view>

#include "benchmarks/collective.h"

namespace tutti::bench {

std::span<const CollectiveInfo> all_collectives();

/// Null where there is no such name.
const CollectiveInfo* find_collective(std::string_view name);

/// The same under another program's name: `program` is what messages and help begin with.
CollectiveInfo as_part_of(const CollectiveInfo& collective, const char* program);

}  // namespace tutti::bench
