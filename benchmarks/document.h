// Results as JSON: the document of --json, and the lines of --raw.
#pragma once

#include <string>
#include <vector>

#include "benchmarks/output.h"

namespace tutti::bench {

/// The text of a result file, schema tutti-bench/1.
std::string to_json(const CollectiveInfo& collective, const Machine& machine, const std::vector<Row>& rows,
                    bool was_interrupted);

/// The first line of a file of raw samples.
std::string raw_header(const CollectiveInfo& collective, const Machine& machine);
/// One row of the document, on one line.
std::string row_text(const CollectiveInfo& collective, const Row& row);

}  // namespace tutti::bench
