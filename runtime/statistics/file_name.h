// The name of the file that TUTTI_STATS asks for.
//
// %r stands for the rank; without it only rank 0 writes. %c stands for the number of the communicator in its process (1, 2, ...);
// without it the second writes NAME.2, so that it does not overwrite the first.
#pragma once

#include <string>

namespace tutti {

/// Empty where this rank writes none.
std::string statistics_file(const std::string& pattern, int rank, int communicator);

}  // namespace tutti
